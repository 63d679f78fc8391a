//! Finds telemetry lines in a byte stream. The result is the same for every chunking of the input.
//!
//! The caller owns a buffer with the bytes that are still needed, appends what it reads, and calls
//! [`Splitter::split`]. The splitter reports to a [`Handler`] which ranges of the buffer pass through, and
//! gives it telemetry lines and candidates for embedded events; the handler decodes them and returns whether
//! they are events. `split` returns how many bytes the caller may remove from the front of the buffer.
//!
//! Bytes are held back only while they may still be telemetry: a line that starts with a part of the
//! dialect's prefix, or with all of it, up to its newline; and with [`Embedded::Strip`] also the bytes from a
//! marker (the prefix and a `{`) in mid-line up to the newline. With [`Embedded::Copy`] such bytes pass at
//! once, and the buffer keeps a copy of them. In both cases nothing longer than the line limit is kept.
//!
//! One vectorised search for the prefix finds line starts and markers alike. Other bytes are not split into
//! lines.

use super::dialect::Dialect;
use memchr::{memchr, memmem};
use std::ops::Range;

/// Starts the event object. The prefix and this byte are the marker of an embedded event.
const OBJECT_START: u8 = b'{';

/// What to do with an event that starts in mid-line. The comments are the values' help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Embedded {
    /// Deliver the event and pass the line through unchanged
    #[default]
    Copy,
    /// Deliver the event and remove its bytes and its newline from the line
    Strip,
    /// Find events only at the start of a line
    Ignore,
}

/// Receives what the splitter finds, in the order of the stream.
pub trait Handler {
    /// A line starts with the prefix; `json` is the rest of it, with the newline if there is one. If the
    /// handler returns true (it is an event), the line is removed; otherwise it passes through.
    fn telemetry_line(&mut self, json: &[u8]) -> bool;

    /// A line that starts with the prefix is longer than the limit and passes through.
    fn oversized_line(&mut self);

    /// A marker is in mid-line; `json` follows the prefix, up to and with the newline. The handler returns
    /// whether it is an event.
    fn embedded(&mut self, json: &[u8]) -> bool;

    /// This range of the buffer passes through.
    fn pass(&mut self, range: Range<usize>);

    /// This many bytes of telemetry were removed.
    fn removed(&mut self, bytes: usize);
}

/// The position of the byte at [`Splitter::scanned`].
#[derive(Debug, Clone, Copy)]
enum State {
    /// At the start of a line.
    LineStart,
    /// In a line that starts with the prefix at `start`.
    Telemetry { start: usize },
    /// In mid-line. No byte before it in this line is needed any more.
    Text,
    /// In mid-line, after a marker at `start`.
    Window { start: usize },
}

/// The incremental splitter. Offsets are into the caller's buffer.
#[derive(Debug)]
pub struct Splitter {
    dialect: &'static Dialect,
    prefixes: memmem::Finder<'static>,
    markers: memmem::Finder<'static>,
    embedded: Embedded,
    max_line_bytes: usize,
    state: State,
    /// Everything before it has been passed or removed.
    passed: usize,
    /// Everything before it has been searched.
    scanned: usize,
}

impl Splitter {
    /// A splitter at the start of a stream. Telemetry longer than `max_line_bytes`, counted with prefix and
    /// newline, passes through undecoded.
    pub fn new(dialect: &'static Dialect, embedded: Embedded, max_line_bytes: usize) -> Self {
        let marker = [dialect.prefix, &[OBJECT_START]].concat();
        Self {
            dialect,
            prefixes: memmem::Finder::new(dialect.prefix),
            markers: memmem::Finder::new(&marker).into_owned(),
            embedded,
            max_line_bytes,
            state: State::LineStart,
            passed: 0,
            scanned: 0,
        }
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
                State::Window { start } => self.window(buffer, start, end, handler),
            };
            if !proceed {
                break;
            }
        }
        let done = match self.state {
            State::LineStart | State::Text => self.scanned,
            State::Telemetry { start } | State::Window { start } => start,
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

    fn line_start(&mut self, buffer: &[u8], end: bool, handler: &mut impl Handler) -> bool {
        let line = &buffer[self.scanned..];
        if line.starts_with(self.dialect.prefix) {
            self.state = State::Telemetry { start: self.scanned };
            self.scanned += self.dialect.prefix.len();
            true
        } else if line.is_empty() || (!end && self.dialect.prefix.starts_with(line)) {
            self.pass_to(self.scanned, handler);
            false
        } else {
            self.state = State::Text;
            true
        }
    }

    fn telemetry(&mut self, buffer: &[u8], start: usize, end: bool, handler: &mut impl Handler) -> bool {
        if let Some(line_end) = self.line_end(buffer, end) {
            let line = &buffer[start..line_end];
            if line.len() > self.max_line_bytes {
                handler.oversized_line();
                self.try_markers(buffer, start + 1, line_end, handler);
            } else if handler.telemetry_line(line.get(self.dialect.prefix.len()..).unwrap_or_default()) {
                self.remove(start, line_end, handler);
            } else {
                self.try_markers(buffer, start + 1, line_end, handler);
            }
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
        let found = self.prefixes.find(&buffer[self.scanned..]).map(|at| self.scanned + at);
        let at = match found {
            Some(at) => at,
            None if end => buffer.len(),
            None => buffer.len() - partial_length(self.dialect.prefix, &buffer[self.scanned..]),
        };
        // In this state the byte at `scanned` itself is in mid-line.
        if at > self.scanned && buffer[at - 1] == b'\n' {
            self.next_line(at);
            return true;
        }
        self.scanned = at;
        let prefix_len = self.dialect.prefix.len();
        match (self.embedded, buffer.get(at + prefix_len)) {
            (Embedded::Copy | Embedded::Strip, Some(&OBJECT_START)) => {
                self.state = State::Window { start: at };
                self.scanned += prefix_len + 1;
                true
            }
            (_, Some(_)) => {
                self.scanned += prefix_len;
                true
            }
            // The bytes at the end of the buffer may be the start of a marker.
            (Embedded::Strip, None) if !end => {
                self.pass_to(at, handler);
                false
            }
            (Embedded::Copy, None) if !end => {
                self.pass_to(buffer.len(), handler);
                false
            }
            _ => {
                self.scanned = buffer.len();
                self.pass_to(self.scanned, handler);
                self.end_stream(end);
                false
            }
        }
    }

    fn window(&mut self, buffer: &[u8], start: usize, end: bool, handler: &mut impl Handler) -> bool {
        if let Some(line_end) = self.line_end(buffer, end) {
            self.try_markers(buffer, start, line_end, handler);
            self.next_line(line_end);
            true
        } else if buffer.len() - start > self.max_line_bytes {
            self.slide(buffer, start);
            true
        } else {
            let copied = self.embedded == Embedded::Copy;
            self.pass_to(if copied { buffer.len() } else { start }, handler);
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
        let next = match self.embedded {
            Embedded::Ignore => None,
            Embedded::Copy | Embedded::Strip => self.markers.find(&buffer[from..]),
        };
        if let Some(at) = next {
            self.state = State::Window { start: from + at };
        } else {
            // The end of the buffer may be the start of a marker.
            self.state = State::Text;
            self.scanned = from.max(buffer.len().saturating_sub(self.dialect.prefix.len()));
        }
    }

    /// Tries the markers between `from` and the end of the line from left to right, up to the first event.
    fn try_markers(&mut self, buffer: &[u8], from: usize, line_end: usize, handler: &mut impl Handler) {
        if self.embedded == Embedded::Ignore {
            return;
        }
        // A candidate that starts further left is longer than the limit.
        let from = from.max(line_end.saturating_sub(self.max_line_bytes)).min(line_end);
        let Dialect { prefix, max_candidates, .. } = self.dialect;
        let found = self
            .markers
            .find_iter(&buffer[from..line_end])
            .take(*max_candidates)
            .map(|at| from + at)
            .find(|&at| handler.embedded(&buffer[at + prefix.len()..line_end]));
        if let (Some(at), Embedded::Strip) = (found, self.embedded) {
            self.remove(at, line_end, handler);
        }
    }

    fn next_line(&mut self, at: usize) {
        self.state = State::LineStart;
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
        handler.removed(to - self.passed);
        self.passed = to;
    }

    fn end_stream(&mut self, end: bool) {
        if end {
            self.state = State::LineStart;
        }
    }

    fn forget(&mut self, done: usize) {
        self.passed -= done;
        self.scanned -= done;
        if let State::Telemetry { start } | State::Window { start } = &mut self.state {
            *start -= done;
        }
    }
}

/// How many bytes at the end of `text` are the start of an incomplete prefix.
fn partial_length(prefix: &[u8], text: &[u8]) -> usize {
    (1..prefix.len().min(text.len() + 1)).rev().find(|&n| text.ends_with(&prefix[..n])).unwrap_or(0)
}
