//! Finds telemetry lines in a byte stream. The result is the same for every chunking of the input.
//!
//! The caller owns a buffer with the bytes that are still needed, appends what it reads, and calls
//! [`Splitter::split`]. The splitter reports to a [`Handler`] which ranges of the buffer pass through, and
//! gives it telemetry lines and candidates for embedded events; the handler decodes them and returns the
//! length of what is an event. `split` returns how many bytes the caller may remove from the front of the
//! buffer.
//!
//! Escape sequences at a line's start pass at once and do not count: what follows is still at its start.
//!
//! Bytes are held back only while they may still be telemetry: a line that starts with a part of the
//! dialect's prefix, or with all of it, up to its newline; and where a line is stripped also the bytes from a
//! marker (the prefix, white space and a `{`) in mid-line up to the newline. Where it is copied such bytes
//! pass at once, and the buffer keeps a copy of them. In both cases nothing longer than the line limit is
//! kept.
//!
//! One vectorised search for the prefix finds line starts and markers alike. Other bytes are not split into
//! lines.

mod events;
mod line;

use super::{
    dialect::{Dialect, Marker},
    escape_sequence::{self, ESCAPE, Start},
};
use crate::event::batch::MAX_MESSAGE_BYTES;
use line::Line;
use memchr::{memchr, memmem, memrchr};
use std::{cell::OnceCell, ops::Range};

/// The longest telemetry line by default, in bytes: it is about as long as its message.
pub const MAX_LINE_BYTES: usize = MAX_MESSAGE_BYTES;

/// What to do with an event that starts in mid-line. The comments are the values' help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Embedded {
    /// `strip` if the line is redrawn (before the event it has a carriage return, or an escape sequence that
    /// moves the cursor or erases), else `copy`
    #[default]
    Auto,
    /// Deliver the event and pass the line through unchanged
    Copy,
    /// Deliver the event and remove its bytes and its newline from the line
    Strip,
    /// Find events only at the start of a line
    Ignore,
}

/// Receives what the splitter finds, in the order of the stream.
pub trait Handler {
    /// A line starts with the prefix; `json` is the rest of it, with the newline if there is one. If it
    /// starts with an event, the handler returns the event's length.
    fn telemetry_line(&mut self, json: &[u8]) -> Option<usize>;

    /// A line that starts with the prefix is longer than the limit and passes through.
    fn oversized_line(&mut self);

    /// A marker is in mid-line; `json` follows the prefix, up to and with the newline. If it starts with an
    /// event, the handler returns the event's length.
    fn embedded(&mut self, json: &[u8]) -> Option<usize>;

    /// A marker is in mid-line, and from there on the line is longer than the limit.
    fn oversized_embedded(&mut self);

    /// This range of the buffer passes through.
    fn pass(&mut self, range: Range<usize>);

    /// This many bytes of telemetry were removed.
    fn removed(&mut self, bytes: usize);
}

/// The position of the byte at [`Splitter::scanned`].
#[derive(Debug, Clone, Copy)]
enum State {
    /// At the start of a line, or behind escape sequences there.
    LineStart,
    /// In a line that starts with the prefix at `start`.
    Telemetry { start: usize },
    /// In mid-line. No byte before it in this line is needed any more.
    Text,
    /// In mid-line, after the prefix at `start` and white space.
    Prefix { start: usize },
    /// In mid-line, after a marker at `start`.
    Window { start: usize },
}

/// The incremental splitter. Offsets are into the caller's buffer.
#[derive(Debug)]
pub struct Splitter {
    dialect: &'static Dialect,
    /// Made at the first search, which is not while the worker starts: it asks which instructions the
    /// processor has, which is slow in virtual machines.
    prefixes: OnceCell<memmem::Finder<'static>>,
    embedded: Embedded,
    max_line_bytes: usize,
    state: State,
    line: Line,
    /// Everything before it has been passed or removed.
    passed: usize,
    /// Everything before it has been searched.
    scanned: usize,
}

impl Splitter {
    /// A splitter at the start of a stream. Telemetry longer than `max_line_bytes`, counted with prefix and
    /// newline, passes through undecoded.
    pub fn new(dialect: &'static Dialect, embedded: Embedded, max_line_bytes: usize) -> Self {
        Self {
            dialect,
            prefixes: OnceCell::new(),
            embedded,
            max_line_bytes,
            state: State::LineStart,
            line: Line::new(embedded, 0),
            passed: 0,
            scanned: 0,
        }
    }

    fn prefixes(&self) -> &memmem::Finder<'static> {
        self.prefixes.get_or_init(|| memmem::Finder::new(self.dialect.prefix))
    }

    /// Processes the buffer: the bytes that the last call left, followed by newly read bytes. `end` means
    /// that the stream ends here; the splitter is then ready for another stream.
    ///
    /// Returns how many bytes at the front of the buffer are no longer needed. Of the others,
    /// [`held`](Self::held) bytes have not been passed yet.
    pub fn split(&mut self, buffer: &[u8], end: bool, handler: &mut impl Handler) -> usize {
        loop {
            let proceed = match self.state {
                State::LineStart => self.line_start(buffer, end, handler),
                State::Telemetry { start } => self.telemetry(buffer, start, end, handler),
                State::Text => self.text(buffer, end, handler),
                State::Prefix { start } => self.prefix(buffer, start, end, handler),
                State::Window { start } => self.window(buffer, start, end, handler),
            };
            if !proceed {
                break;
            }
        }
        if end {
            self.next_line(buffer.len());
        }
        let done = match self.state {
            State::LineStart | State::Text => self.scanned,
            State::Telemetry { start } | State::Prefix { start } | State::Window { start } => start,
        }
        .min(self.passed);
        self.forget(done);
        done
    }

    /// How many bytes are held back at the end of a buffer of this length, which the bytes that `split`
    /// returned were removed from.
    pub fn held(&self, buffer_len: usize) -> usize {
        buffer_len.saturating_sub(self.passed)
    }

    /// Whether the next bytes start a line.
    pub fn is_at_line_start(&self) -> bool {
        matches!(self.state, State::LineStart)
    }

    /// Whether bytes that start a line look like telemetry lines without anything else. Whether these decode
    /// is not known then.
    pub fn are_telemetry_lines(&self, bytes: &[u8]) -> bool {
        let is_line = |line: &[u8]| line.starts_with(self.dialect.prefix) && line.ends_with(b"}");
        let mut start = 0;
        let all = memchr::memchr_iter(b'\n', bytes).all(|end| {
            let line = bytes.get(start..end);
            start = end + 1;
            line.is_some_and(is_line)
        });
        all && start > 0 && start == bytes.len()
    }

    fn line_start(&mut self, buffer: &[u8], end: bool, handler: &mut impl Handler) -> bool {
        let line = &buffer[self.scanned..];
        if line.starts_with(self.dialect.prefix) {
            self.state = State::Telemetry { start: self.scanned };
            self.scanned += self.dialect.prefix.len();
            return true;
        }
        if line.is_empty() || (!end && self.dialect.prefix.starts_with(line)) {
            self.pass_to(self.scanned, handler);
            return false;
        }
        match escape_sequence::start_of(line) {
            Start::Sequence { length, .. } => {
                self.scanned += length;
                self.line.look_at(buffer, self.scanned);
            }
            Start::Partial if !end => {
                self.pass_to(buffer.len(), handler);
                return false;
            }
            Start::Partial | Start::Other => self.state = State::Text,
        }
        true
    }

    fn telemetry(&mut self, buffer: &[u8], start: usize, end: bool, handler: &mut impl Handler) -> bool {
        if let Some(line_end) = self.line_end(buffer, end) {
            self.telemetry_line(buffer, start, line_end, handler);
            self.next_line(line_end);
            true
        } else if buffer.len() - start > self.max_line_bytes {
            handler.oversized_line();
            self.slide(buffer, start);
            true
        } else {
            self.pass_to(start, handler);
            false
        }
    }

    fn text(&mut self, buffer: &[u8], end: bool, handler: &mut impl Handler) -> bool {
        let from = self.scanned;
        let found = self.prefixes().find(&buffer[from..]).map(|at| from + at);
        let at = match found {
            Some(at) => at,
            None if end => buffer.len(),
            None => buffer.len() - partial_length(self.dialect.prefix, &buffer[from..]),
        };
        // In this state the byte at `scanned` itself is in mid-line.
        if at > from && buffer[at - 1] == b'\n' {
            self.next_line(at);
            return true;
        }
        if let Some(newline) = memrchr(b'\n', &buffer[from..at]) {
            let line_start = from + newline + 1;
            self.line = Line::new(self.embedded, line_start);
            if buffer[line_start] == ESCAPE {
                // The prefix, or what comes with the next read, may be at the start of this line.
                self.next_line(line_start);
                return true;
            }
        }
        self.scanned = self.line.look_at(buffer, at);
        match (self.embedded, found) {
            (Embedded::Ignore, Some(_)) => {
                self.scanned += self.dialect.prefix.len();
                true
            }
            (_, Some(start)) => {
                self.state = State::Prefix { start };
                self.scanned += self.dialect.prefix.len();
                true
            }
            (_, None) if end => {
                self.pass_to(buffer.len(), handler);
                false
            }
            // The bytes at the end of the buffer may be the start of a marker.
            (_, None) => {
                self.pass_to(if self.line.is_stripped() { at } else { buffer.len() }, handler);
                false
            }
        }
    }

    fn prefix(&mut self, buffer: &[u8], start: usize, end: bool, handler: &mut impl Handler) -> bool {
        match self.dialect.marker(&buffer[start..]) {
            Marker::Whole(length) => {
                self.line.decide();
                self.state = State::Window { start };
                self.scanned = start + length;
            }
            Marker::Partial if !end => {
                self.pass_to(if self.line.is_stripped() { start } else { buffer.len() }, handler);
                return false;
            }
            Marker::Partial | Marker::None => {
                self.state = State::Text;
                self.scanned = start + 1;
            }
        }
        true
    }

    fn window(&mut self, buffer: &[u8], start: usize, end: bool, handler: &mut impl Handler) -> bool {
        if let Some(line_end) = self.line_end(buffer, end) {
            self.try_markers(buffer, start, line_end, self.dialect.max_candidates, handler);
            self.next_line(line_end);
            true
        } else if buffer.len() - start > self.max_line_bytes {
            handler.oversized_embedded();
            self.slide(buffer, start);
            true
        } else {
            self.pass_to(if self.line.is_stripped() { start } else { buffer.len() }, handler);
            false
        }
    }

    /// The end of the line at `scanned`. None if the buffer does not contain it.
    fn line_end(&mut self, buffer: &[u8], end: bool) -> Option<usize> {
        let found = memchr(b'\n', &buffer[self.scanned..]).map(|at| self.scanned + at + 1);
        self.scanned = buffer.len();
        found.or(end.then_some(buffer.len()))
    }

    /// The candidate at `start` is longer than the limit and its line has not ended: continue with the next
    /// marker in the buffer.
    fn slide(&mut self, buffer: &[u8], start: usize) {
        let from = start + 1;
        if let Some((at, marker)) = self.next_marker(buffer, from) {
            self.line.look_at(buffer, at);
            if marker == Marker::Partial {
                self.state = State::Prefix { start: at };
            } else {
                self.line.decide();
                self.state = State::Window { start: at };
            }
        } else {
            // The end of the buffer may be the start of a marker.
            let searched = from.max(buffer.len().saturating_sub(self.dialect.prefix.len() - 1));
            self.state = State::Text;
            self.scanned = self.line.look_at(buffer, searched);
        }
    }

    fn next_line(&mut self, at: usize) {
        self.state = State::LineStart;
        self.line = Line::new(self.embedded, at);
        self.scanned = at;
    }

    fn pass_to(&mut self, to: usize, handler: &mut impl Handler) {
        if to > self.passed {
            handler.pass(self.passed..to);
            self.passed = to;
        }
    }

    fn remove(&mut self, from: usize, to: usize, handler: &mut impl Handler) {
        self.pass_to(from, handler);
        if to > from {
            handler.removed(to - from);
            self.passed = to;
        }
    }

    fn forget(&mut self, done: usize) {
        self.passed -= done;
        self.scanned -= done;
        self.line.forget(done);
        if let State::Telemetry { start } | State::Prefix { start } | State::Window { start } =
            &mut self.state
        {
            *start -= done;
        }
    }
}

/// How many bytes at the end of `text` are the start of an incomplete prefix.
fn partial_length(prefix: &[u8], text: &[u8]) -> usize {
    (1..prefix.len().min(text.len() + 1)).rev().find(|&n| text.ends_with(&prefix[..n])).unwrap_or(0)
}
