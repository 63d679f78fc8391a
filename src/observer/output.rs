//! The last lines of a worker's stderr, as text for people.

use crate::system::visible::one_line;

/// The most lines.
const MAX_LINES: usize = 20;

/// The most bytes of the text, and of stderr that it is made of.
pub const MAX_BYTES: usize = 8 * 1024;

/// Marks a first line whose start was cut off.
const CUT: &str = "…";

/// The last lines of these bytes, which are the end of a stream. `is_cut`: there were others before them.
///
/// Escape sequences are removed and other control characters escaped, a tab is four spaces, and of a line
/// that was redrawn with carriage returns the last state stays. Bytes that are no UTF-8 are replaced. If the
/// first line was cut, it begins with "…".
pub(super) fn last_lines(bytes: &[u8], is_cut: bool) -> String {
    // Without the rest of a character.
    let rest = bytes.iter().take(3).take_while(|byte| is_cut && **byte & 0xC0 == 0x80).count();
    let text = String::from_utf8_lossy(bytes.get(rest..).unwrap_or_default());
    // Blank lines at the end would take the place of lines with text.
    let lines = text.rsplit('\n').map(shown).skip_while(String::is_empty);
    let mut lines: Vec<_> = lines.take(MAX_LINES + 1).collect();
    let is_cut = is_cut && lines.len() <= MAX_LINES;
    lines.truncate(MAX_LINES);
    lines.reverse();
    let lines = lines.join("\n");
    let room = MAX_BYTES - if is_cut { CUT.len() } else { 0 };
    if lines.len() <= room {
        return if is_cut { CUT.to_owned() + &lines } else { lines };
    }
    let first = lines.len() - (MAX_BYTES - CUT.len());
    let first = (first..lines.len()).find(|at| lines.is_char_boundary(*at)).unwrap_or(lines.len());
    CUT.to_owned() + lines.get(first..).unwrap_or_default()
}

/// A line as a terminal would show it in the end.
fn shown(line: &str) -> String {
    let line = without_escape_sequences(line);
    let state = line.rsplit('\r').find(|state| !state.trim().is_empty()).unwrap_or_default();
    one_line(&state.replace('\t', "    "))
}

fn without_escape_sequences(line: &str) -> String {
    let mut kept = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('\u{1B}') {
        kept.push_str(before);
        let sequence = sequence_length(after.as_bytes()).and_then(|length| after.get(length..));
        if sequence.is_none() {
            kept.push('\u{1B}');
        }
        rest = sequence.unwrap_or(after);
    }
    kept + rest
}

/// The length of an escape sequence, given what follows its ESC: one that controls the terminal (CSI), a
/// string (OSC and others: titles, links) up to its terminator, or a short one. None if it is incomplete.
fn sequence_length(after: &[u8]) -> Option<usize> {
    let run = |from: usize, first: u8, last: u8| {
        let bytes = after.get(from..).unwrap_or_default();
        from + bytes.iter().take_while(|byte| (first..=last).contains(*byte)).count()
    };
    let ends_with = |at: usize, first: u8| (first..=0x7E).contains(after.get(at)?).then_some(at + 1);
    match after.first()? {
        b'[' => ends_with(run(run(1, 0x30, 0x3F), 0x20, 0x2F), 0x40),
        b']' | b'P' | b'X' | b'^' | b'_' => {
            let end = after.iter().position(|byte| matches!(byte, 0x07 | 0x1B))?;
            match after.get(end..)? {
                [0x07, ..] => Some(end + 1),
                [_, b'\\', ..] => Some(end + 2),
                _ => None,
            }
        }
        _ => ends_with(run(0, 0x20, 0x2F), 0x30),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(bytes: impl AsRef<[u8]>) -> String {
        last_lines(bytes.as_ref(), false)
    }

    #[test]
    fn the_last_twenty_lines_stay() {
        assert_eq!(text(""), "");
        assert_eq!(text("a\n"), "a");
        assert_eq!(text("a\n\nb"), "a\n\nb");
        assert_eq!(text(format!("error\n{}\u{1b}[0m\n \r\n", "\n".repeat(30))), "error");
        assert_eq!(text("\n \n\n"), "");
        let lines: Vec<_> = (0..30).map(|number| format!("line {number}")).collect();
        assert_eq!(text(lines.join("\n") + "\n"), lines[10..].join("\n"));
        assert_eq!(text(lines.join("\n")), lines[10..].join("\n"));
    }

    #[test]
    fn a_first_line_that_was_cut_says_so() {
        assert_eq!(last_lines("\u{e9}\nb".as_bytes(), true), "…é\nb");
        assert_eq!(last_lines(&"€a\nb\n".as_bytes()[1..], true), "…a\nb");
        let lines = "x\n".repeat(30);
        assert_eq!(last_lines(lines.as_bytes(), true), "x\n".repeat(20).trim_end());
        // Escapes take more room than what they stand for.
        let long = text("\u{1}".repeat(MAX_BYTES));
        assert!(long.starts_with("…") && long.ends_with("\\u{1}") && long.len() <= MAX_BYTES, "{long}");
        let long = text("€".repeat(MAX_BYTES));
        assert!(long.len() <= MAX_BYTES && long.starts_with("…€"), "{long}");
    }

    #[test]
    fn escape_sequences_go_and_control_characters_are_escaped() {
        for (line, expected) in [
            ("\u{1b}[31mred\u{1b}[0m", "red"),
            ("\u{1b}[38;2;1;2;3mtext\u{1b}(B\u{1b}[m", "text"),
            ("\u{1b}]0;title\u{7}a\u{1b}]8;;http://x\u{1b}\\link\u{1b}]8;;\u{1b}\\", "alink"),
            ("\u{1b}M\u{1b}7\u{1b}=x", "x"),
            ("a\u{1b}", "a\\u{1b}"),
            ("a\u{1b}[3", "a\\u{1b}[3"),
            ("a\u{1b}]0;title", "a\\u{1b}]0;title"),
            ("a\u{1b}]0;t\u{1b}[1mb", "a\\u{1b}]0;tb"),
            ("\u{7}\u{0}\u{9b}1m\u{202e}", "\\u{7}\\u{0}\\u{9b}1m\\u{202e}"),
            ("\tat com.example", "    at com.example"),
            ("text\r", "text"),
            (" 10%\r 50%\r100%", "100%"),
            (" 10%\r 50%\r", " 50%"),
            ("100%\r    \r", "100%"),
        ] {
            assert_eq!(text(line), expected, "{line:?}");
        }
        assert_eq!(text(b"a\xFFb\xE2\x82"), "a\u{fffd}b\u{fffd}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_short_text_without_control_characters(
            bytes in proptest::collection::vec(any::<u8>(), 0..9_000),
            is_cut in any::<bool>(),
        ) {
            let text = last_lines(&bytes, is_cut);
            prop_assert!(text.len() <= MAX_BYTES);
            prop_assert!(text.lines().count() <= MAX_LINES);
            prop_assert!(!text.contains(|c: char| c.is_control() && c != '\n'));
        }
    }
}
