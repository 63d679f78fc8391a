//! Whether the events of the current line are removed.

use super::Embedded;
use crate::input::escape_sequence::{self, ESCAPE, Start};
use memchr::memchr2;

/// The current line. With [`Embedded::Auto`] the bytes before its first marker in mid-line decide.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line {
    /// None if it is not decided.
    stripped: Option<bool>,
    /// Whether the line is redrawn, as far as it was looked at.
    redrawn: bool,
    /// Everything before it was looked at.
    looked_at: usize,
}

impl Line {
    /// The line that starts at this offset.
    pub(super) fn new(embedded: Embedded, start: usize) -> Self {
        let stripped = match embedded {
            Embedded::Auto => None,
            Embedded::Strip => Some(true),
            Embedded::Copy | Embedded::Ignore => Some(false),
        };
        Self { stripped, redrawn: false, looked_at: start }
    }

    /// Whether events that start here are removed.
    pub(super) fn is_stripped(&self) -> bool {
        self.stripped.unwrap_or(self.redrawn)
    }

    /// The first marker is here.
    pub(super) fn decide(&mut self) {
        self.stripped = Some(self.is_stripped());
    }

    /// Looks for what redraws the line before `to`, if that is not known. Returns `to`, or the start of an
    /// escape sequence that the buffer does not contain to its end.
    pub(super) fn look_at(&mut self, buffer: &[u8], to: usize) -> usize {
        while self.stripped.is_none() && !self.redrawn && self.looked_at < to {
            let Some(found) = memchr2(b'\r', ESCAPE, &buffer[self.looked_at..to]) else { break };
            let at = self.looked_at + found;
            self.looked_at = at + 1;
            match escape_sequence::start_of(&buffer[at..]) {
                Start::Sequence { length, colours } => {
                    self.redrawn = !colours;
                    self.looked_at = at + length;
                }
                Start::Partial => {
                    self.looked_at = at;
                    return at;
                }
                Start::Other => self.redrawn = buffer[at] == b'\r',
            }
        }
        self.looked_at = to.max(self.looked_at);
        to
    }

    /// Removes `done` bytes at the front of the buffer.
    pub(super) fn forget(&mut self, done: usize) {
        self.looked_at = self.looked_at.saturating_sub(done);
    }
}
