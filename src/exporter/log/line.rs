//! One line as a terminal would show it in the end: redrawn states, escape sequences and control characters
//! are removed.

use super::assembler::MAX_HELD_NS;
use memchr::memchr;
use std::mem;

/// The most bytes of a line that are kept.
pub const MAX_LINE_BYTES: usize = 64 * 1024;

/// Larger buffers are not kept for the next line.
const KEPT_BYTES: usize = 4096;

/// A complete line, or one that was not completed in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shown {
    /// Without trailing white space; empty if the line is blank.
    pub(super) text: String,
    /// When its first byte was read.
    pub(super) observed_ns: i64,
    /// Bytes that were cut off.
    pub(super) cut_bytes: u64,
}

/// A line that is being read.
#[derive(Debug, Clone, Default)]
pub(super) struct Line {
    state: State,
    /// The last state that was not blank before a carriage return.
    previous: State,
    /// A carriage return was read: the next character starts a new state.
    returned: bool,
    escape: Escape,
}

/// What the line shows between two carriage returns.
#[derive(Debug, Clone, Default)]
struct State {
    text: Vec<u8>,
    /// Bytes that are not white space.
    visible: usize,
    cut_bytes: u64,
    /// When its first byte was read that is not white space.
    since_ns: i64,
}

/// The position in an escape sequence.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Escape {
    /// In no sequence.
    #[default]
    None,
    /// After ESC.
    Start,
    /// After ESC and intermediate bytes, as in `ESC ( B`.
    Intermediate,
    /// After `ESC [`, with the parameters as far as they matter: a number below 10, or [`OTHER_PARAMETER`].
    Control(u8),
    /// After `ESC ]` or another introducer of a string, which ends with BEL or `ESC \`.
    String,
    /// In a string, after ESC.
    StringEnd,
}

/// No parameter.
const NO_PARAMETER: u8 = 10;

/// Parameters that are not a single digit.
const OTHER_PARAMETER: u8 = 11;

impl Line {
    /// Adds a part of the line: no newline is in it.
    pub(super) fn push(&mut self, mut bytes: &[u8], now_ns: i64) {
        loop {
            let plain = if self.escape == Escape::None { plain_prefix(bytes) } else { 0 };
            let (text, rest) = bytes.split_at_checked(plain).unwrap_or((bytes, &[]));
            self.show(text, now_ns);
            let Some((byte, rest)) = rest.split_first() else { return };
            self.obey(*byte, now_ns);
            bytes = rest;
        }
    }

    /// Ends the line at a newline.
    pub(super) fn finish(&mut self, now_ns: i64) -> Shown {
        self.escape = Escape::None;
        self.returned = false;
        self.take().unwrap_or_else(|| {
            self.clear();
            Shown { text: String::new(), observed_ns: now_ns, cut_bytes: 0 }
        })
    }

    /// Takes what the line shows so far, unless it is blank.
    pub(super) fn take(&mut self) -> Option<Shown> {
        if self.state.is_blank() {
            mem::swap(&mut self.state, &mut self.previous);
        }
        if self.state.is_blank() {
            return None;
        }
        let text = self.state.take();
        self.clear();
        Some(text)
    }

    /// Whether nothing of a line was read.
    pub(super) fn is_empty(&self) -> bool {
        self.escape == Escape::None
            && !self.returned
            && self.state.text.is_empty()
            && self.previous.text.is_empty()
    }

    /// Until when the line may wait for its end; none if it is blank.
    pub(super) fn deadline_ns(&self) -> Option<i64> {
        let shown = [&self.state, &self.previous].into_iter().find(|state| !state.is_blank())?;
        Some(shown.since_ns.saturating_add(MAX_HELD_NS))
    }

    fn clear(&mut self) {
        self.state.clear();
        self.previous.clear();
    }

    /// Adds text without control characters.
    fn show(&mut self, text: &[u8], now_ns: i64) {
        if text.is_empty() {
            return;
        }
        if mem::take(&mut self.returned) {
            if !self.state.is_blank() {
                mem::swap(&mut self.state, &mut self.previous);
            }
            self.state.clear();
        }
        if self.state.is_blank() {
            self.state.since_ns = now_ns;
        }
        self.state.add(text);
    }

    /// Processes a byte of an escape sequence, or a control character.
    fn obey(&mut self, byte: u8, now_ns: i64) {
        self.escape = match (self.escape, byte) {
            (Escape::String, 0x1B) => Escape::StringEnd,
            (Escape::String, 0x07) | (Escape::StringEnd, b'\\') => Escape::None,
            (Escape::String | Escape::StringEnd, _) | (Escape::Start, b']' | b'P' | b'X' | b'^' | b'_') => {
                Escape::String
            }
            (_, 0x1B) => Escape::Start,
            (Escape::Start, b'[') => Escape::Control(NO_PARAMETER),
            (Escape::Start | Escape::Intermediate, 0x20..=0x2F) => Escape::Intermediate,
            (Escape::Control(NO_PARAMETER), b'0'..=b'9') => Escape::Control(byte - b'0'),
            (Escape::Control(_), 0x20..=0x3F) => Escape::Control(OTHER_PARAMETER),
            (Escape::Control(parameter), 0x40..=0x7E) => {
                // To the first column, or the whole line is erased: the next state is drawn.
                self.returned |= matches!((byte, parameter), (b'G', 0 | 1 | NO_PARAMETER) | (b'K', 2));
                Escape::None
            }
            (_, b'\r') => {
                self.returned = true;
                Escape::None
            }
            (_, 0x08) => {
                self.state.erase();
                Escape::None
            }
            (Escape::Start | Escape::Intermediate | Escape::Control(_), b'\t' | 0x80..) => {
                // No sequence after all.
                self.show(&[byte], now_ns);
                Escape::None
            }
            // The end of a sequence, or a character without a meaning here.
            _ => Escape::None,
        };
    }
}

impl State {
    fn add(&mut self, text: &[u8]) {
        let free = MAX_LINE_BYTES.saturating_sub(self.text.len());
        let (kept, cut) = text.split_at_checked(free).unwrap_or((text, &[]));
        self.text.extend_from_slice(kept);
        self.visible += kept.iter().filter(|byte| !byte.is_ascii_whitespace()).count();
        self.cut_bytes = self.cut_bytes.saturating_add(cut.len() as u64);
    }

    /// Removes the last character.
    fn erase(&mut self) {
        while let Some(byte) = self.text.pop() {
            self.visible -= usize::from(!byte.is_ascii_whitespace());
            if byte & 0xC0 != 0x80 {
                break;
            }
        }
    }

    fn is_blank(&self) -> bool {
        self.visible == 0
    }

    fn clear(&mut self) {
        self.text.clear();
        self.text.shrink_to(KEPT_BYTES);
        self.visible = 0;
        self.cut_bytes = 0;
    }

    fn take(&mut self) -> Shown {
        if self.cut_bytes > 0 {
            // A character that was cut in two.
            let partial = partial_character(&self.text);
            self.text.truncate(self.text.len() - partial);
            self.cut_bytes += partial as u64;
        }
        Shown { text: shown(&self.text), observed_ns: self.since_ns, cut_bytes: self.cut_bytes }
    }
}

/// The length of the incomplete character at the end of a text.
fn partial_character(text: &[u8]) -> usize {
    let end = text.iter().rev().take(3).position(|byte| *byte >= 0xC0).map_or(0, |at| at + 1);
    let start = text.len() - end;
    let rest = text.get(start..).unwrap_or_default();
    let is_partial = std::str::from_utf8(rest).is_err_and(|error| error.error_len().is_none());
    if is_partial { end } else { 0 }
}

/// How many bytes at the start have no meaning to a terminal.
pub(super) fn plain_prefix(bytes: &[u8]) -> usize {
    let is_control = |byte: &u8| (*byte < b' ' && *byte != b'\t') || *byte == 0x7F;
    // Whole blocks first: the compiler makes them fast.
    let blocks =
        bytes.chunks_exact(32).take_while(|block| !block.iter().fold(false, |c, b| c | is_control(b)));
    let start = blocks.count() * 32;
    let rest = bytes.get(start..).unwrap_or_default();
    start + rest.iter().position(is_control).unwrap_or(rest.len())
}

/// The text of a line: valid UTF-8 without control characters and without trailing white space.
pub(super) fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes.trim_ascii_end()).into_owned();
    // C1, in UTF-8.
    if memchr(0xC2, text.as_bytes()).is_some() {
        text.replace(|c: char| c.is_control() && c != '\t', "")
    } else {
        text
    }
}
