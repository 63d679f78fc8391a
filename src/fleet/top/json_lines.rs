//! Lines that `decode` has printed, beside what workers print.

use crate::input::{dialect, splitter::MAX_LINE_BYTES};
use serde::{Deserialize, de::IgnoredAny};

/// What each line of `decode` has. Lines of structured logs often have an `event`, but not all of these.
#[derive(Deserialize)]
#[allow(dead_code, reason = "only its presence counts")]
struct Decoded {
    event: IgnoredAny,
    measurements: IgnoredAny,
    metadata: IgnoredAny,
    timestamp_ns: IgnoredAny,
    correlation_id: IgnoredAny,
}

/// Puts the prefix in front of lines that `decode` has printed. Others stay as they are.
#[derive(Default)]
pub(super) struct JsonLines {
    /// The start of a line that may be one of these.
    line: Vec<u8>,
    /// Whether the rest of the line stays as it is.
    is_other: bool,
    /// How many lines `decode` has printed.
    pub(super) decoded: u64,
    /// How many other lines there are that are not blank.
    pub(super) others: u64,
}

impl JsonLines {
    /// Edits the next bytes.
    pub(super) fn edit(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let ends = part.ends_with(b"\n");
            if self.is_other {
                out.extend_from_slice(part);
                self.is_other = !ends;
            } else if self.line.is_empty() && !part.starts_with(b"{") {
                self.others += u64::from(!part.trim_ascii().is_empty());
                out.extend_from_slice(part);
                self.is_other = !ends;
            } else {
                self.line.extend_from_slice(part);
                if ends {
                    self.finish(out);
                } else if self.line.len() > MAX_LINE_BYTES {
                    self.others += 1;
                    out.append(&mut self.line);
                    self.is_other = true;
                }
            }
        }
    }

    /// Ends the line.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        if self.line.is_empty() {
            return;
        }
        if serde_json::from_slice::<Decoded>(&self.line).is_ok() {
            self.decoded += 1;
            out.extend_from_slice(dialect::SNAKEPIT.prefix);
        } else {
            self.others += 1;
        }
        out.append(&mut self.line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &str = concat!(
        r#"{"event": "a", "measurements": {"x": 1}, "metadata": {}, "#,
        r#""timestamp_ns": null, "correlation_id": ""}"#
    );

    fn edited(text: &str, size: usize) -> (String, u64, u64) {
        let (mut lines, mut out) = (JsonLines::default(), Vec::new());
        text.as_bytes().chunks(size).for_each(|part| lines.edit(part, &mut out));
        lines.finish(&mut out);
        (String::from_utf8(out).unwrap(), lines.decoded, lines.others)
    }

    #[test]
    fn lines_that_decode_has_printed_get_the_prefix_however_they_are_cut() {
        let text = format!("{EVENT}\n\ntext {EVENT}\n{EVENT}");
        for size in 1..=text.len() {
            let expected = format!("TELEMETRY:{EVENT}\n\ntext {EVENT}\nTELEMETRY:{EVENT}");
            assert_eq!(edited(&text, size), (expected, 2, 1));
        }
    }

    #[test]
    fn other_json_lines_stay_as_they_are() {
        let text =
            "{\"level\":\"info\"}\n{\"event\":\"GET /\",\"status\":200}\n{\nTELEMETRY:{\"event\":\"a\"}\n";
        for size in 1..=text.len() {
            assert_eq!(edited(text, size), (text.into(), 0, 4));
        }
    }
}
