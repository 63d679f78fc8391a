//! Characters that a terminal obeys instead of showing them: text of workers and peers must not contain them
//! where a person reads it.

use memchr::memchr3;
use std::io::Write as _;

/// Whether this is a control character (C0, DEL, C1), or one that changes the direction of text.
fn is_hidden(char: char) -> bool {
    char.is_control() || matches!(char, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// A text as a part of one line, with these characters written as escapes, such as `\n` and `\u{1b}`.
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for char in text.chars() {
        if is_hidden(char) {
            line.extend(char.escape_default());
        } else {
            line.push(char);
        }
    }
    line
}

/// Replaces these characters in lines of JSON by its escapes, such as `\u009b`. Where JSON has escaped C0 it
/// stays as it is; newlines end the lines.
pub fn escape_in_json(lines: &mut Vec<u8>) {
    // DEL, or the first byte of the others in UTF-8.
    let first_bytes = |text: &[u8]| memchr3(0x7F, 0xC2, 0xE2, text);
    let Some(first) = first_bytes(lines) else { return };
    let rest = lines.split_off(first);
    let text = String::from_utf8_lossy(&rest);
    let mut text = &*text;
    while let Some((before, from)) = first_bytes(text.as_bytes()).and_then(|at| text.split_at_checked(at)) {
        lines.extend_from_slice(before.as_bytes());
        let mut chars = from.chars();
        let first = chars.next().unwrap_or_default();
        text = chars.as_str();
        if is_hidden(first) {
            // Writing to a Vec does not fail.
            let _ = write!(lines, "\\u{:04x}", u32::from(first));
        } else {
            lines.extend_from_slice(first.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
    lines.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    const HIDDEN: &str = "a\u{1b}\u{7f}\u{80}\u{9b}\u{9f}\u{202a}\u{202e}\u{2066}\u{2069}";
    const SHOWN: &str = "\u{a0}é\u{2029}\u{202f}\u{2065}\u{206a}—😀";

    #[test]
    fn a_line_shows_control_characters_and_changes_of_direction() {
        let expected =
            "a\\u{1b}\\u{7f}\\u{80}\\u{9b}\\u{9f}\\u{202a}\\u{202e}\\u{2066}\\u{2069}\\n".to_owned() + SHOWN;
        assert_eq!(one_line(&format!("{HIDDEN}\n{SHOWN}")), expected);
    }

    #[test]
    fn json_keeps_its_meaning() {
        let value = serde_json::Value::from(format!("{HIDDEN}\n{SHOWN}"));
        let mut lines = format!("{value}\n{value}\n").into_bytes();
        escape_in_json(&mut lines);
        let lines = String::from_utf8(lines).unwrap();
        let escaped =
            "\"a\\u001b\\u007f\\u0080\\u009b\\u009f\\u202a\\u202e\\u2066\\u2069\\n".to_owned() + SHOWN;
        assert_eq!(lines, format!("{escaped}\"\n{escaped}\"\n"));
        assert!(lines.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).unwrap() == value));
    }
}
