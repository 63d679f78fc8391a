//! Terminal escape sequences, as loggers that colour and progress bars write them.

/// Starts a sequence.
pub(super) const ESCAPE: u8 = 0x1B;

/// A longer sequence counts as ordinary text, so that little is kept of one that does not end.
pub(super) const MAX_BYTES: usize = 64;

/// What a text starts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// No sequence that is known here.
    Other,
    /// A sequence that the text does not contain to its end.
    Partial,
    /// A sequence of this length. Unless it only colours, it moves the cursor or erases.
    Sequence { length: usize, colours: bool },
}

/// Recognises control sequences (CSI: `ESC [`, parameters, intermediate bytes and a final byte, which is `m`
/// for colours) and the choice of a character set (`ESC ( B`), which `tput sgr0` writes.
pub(super) fn start_of(text: &[u8]) -> Start {
    let text = text.get(..MAX_BYTES).unwrap_or(text);
    let Some((&ESCAPE, rest)) = text.split_first() else { return Start::Other };
    let (parameters, is_control) = match rest.strip_prefix(b"[") {
        Some(rest) => (run(rest, |byte| (0x30..=0x3F).contains(&byte)) + 1, true),
        None => (0, false),
    };
    let rest = rest.get(parameters..).unwrap_or_default();
    let intermediates = run(rest, |byte| (0x20..=0x2F).contains(&byte));
    let final_byte = rest.get(intermediates).copied();
    let length = 1 + parameters + intermediates + 1;
    match final_byte {
        None if text.len() < MAX_BYTES => Start::Partial,
        Some(byte @ 0x40..=0x7E) if is_control => Start::Sequence { length, colours: byte == b'm' },
        Some(0x30..=0x7E) if !is_control && intermediates > 0 => Start::Sequence { length, colours: true },
        _ => Start::Other,
    }
}

/// How many bytes at the start satisfy the condition.
fn run(text: &[u8], condition: impl Fn(u8) -> bool) -> usize {
    text.iter().take_while(|byte| condition(**byte)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_differ_from_sequences_that_move_or_erase() {
        let colour = |length| Start::Sequence { length, colours: true };
        let other = |length| Start::Sequence { length, colours: false };
        for (text, expected) in [
            (&b"\x1b[0mtext"[..], colour(4)),
            (b"\x1b[m", colour(3)),
            (b"\x1b[38;2;1;2;3mtext", colour(13)),
            (b"\x1b(B\x1b[m", colour(3)),
            (b"\x1b[2K", other(4)),
            (b"\x1b[?25l", other(6)),
            (b"\x1b[1 q", other(5)),
            (b"\x1b", Start::Partial),
            (b"\x1b[", Start::Partial),
            (b"\x1b[3", Start::Partial),
            (b"\x1b(", Start::Partial),
            (b"", Start::Other),
            (b"text", Start::Other),
            (b"\x1b\x1b[0m", Start::Other),
            (b"\x1bM", Start::Other),
            (b"\x1b[\n", Start::Other),
            (b"\x1b[0\xc3", Start::Other),
        ] {
            assert_eq!(start_of(text), expected, "{}", text.escape_ascii());
        }
        let long = |digits| [b"\x1b[", &vec![b'1'; digits][..], b"m"].concat();
        assert_eq!(start_of(&long(MAX_BYTES - 3)), colour(MAX_BYTES));
        assert_eq!(start_of(&long(MAX_BYTES - 2)), Start::Other);
        assert_eq!(start_of(&long(MAX_BYTES - 3)[..MAX_BYTES - 1]), Start::Partial);
    }
}
