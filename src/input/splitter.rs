//! Telemetry lines out of a byte stream: pure, incremental, and the same for every chunking of the input.
//!
//! The caller owns a buffer with the bytes that are not done with, appends what it reads, and calls
//! [`Splitter::split`]. The splitter says through a [`Handler`] which ranges of the buffer pass through, and
//! hands over whole telemetry lines and candidates for embedded events; the handler decodes them and answers
//! whether they are events. What `split` returns may be cut off the front of the buffer.
//!
//! Bytes are held back only while they may still be telemetry: the start of a line as long as it is a prefix of
//! `TELEMETRY:…` up to its newline and, with [`Embedded::Strip`], the same from a `TELEMETRY:{` in mid-line on.
//! With [`Embedded::Copy`] bytes in mid-line pass at once; the buffer merely keeps a copy of them from the
//! marker on. Either way nothing longer than the line limit is kept.
//!
//! One search for `TELEMETRY:` finds line starts and markers in mid-line alike, so that ordinary bytes cost one
//! vectorised search and are never looked at line by line.

use memchr::{memchr, memmem};
use std::{ops::Range, sync::LazyLock};

/// What a telemetry line starts with.
pub const PREFIX: &[u8] = b"TELEMETRY:";

/// What an embedded event starts with.
const MARKER: &[u8] = b"TELEMETRY:{";

/// How many markers of a line are tried. Torn and glued writes leave two or three; more are not telemetry.
const MAX_MARKERS: usize = 8;

static PREFIX_FINDER: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(PREFIX));
static MARKER_FINDER: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(MARKER));

/// What to do with an event that starts in mid-line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Embedded {
    /// Deliver the event, pass the line through unchanged.
    #[default]
    Copy,
    /// Deliver the event, take its bytes and its newline out of the line.
    Strip,
    /// Only line starts count.
    Ignore,
}

/// What the splitter finds, in the order of the stream.
pub trait Handler {
    /// A line that starts with [`PREFIX`], its newline (if it has one) included. True if it is an event: then
    /// it is taken out, otherwise it passes through.
    fn telemetry_line(&mut self, line: &[u8]) -> bool;

    /// A line that starts with [`PREFIX`] is longer than the limit and passes through.
    fn oversized_line(&mut self);

    /// A piece of a line from a `TELEMETRY:{` in mid-line to the line's end, newline included. True if it is an
    /// event.
    fn embedded(&mut self, candidate: &[u8]) -> bool;

    /// This range of the buffer passes through.
    fn pass(&mut self, range: Range<usize>);

    /// So many bytes of telemetry were taken out.
    fn removed(&mut self, bytes: usize);
}

/// Where in the stream the byte at [`Splitter::scanned`] stands.
#[derive(Debug, Clone, Copy)]
enum State {
    /// It is the first of a line.
    LineStart,
    /// It belongs to a line that starts with [`PREFIX`] at `start`.
    Telemetry { start: usize },
    /// It is in mid-line, and nothing before it in this line is of interest.
    Text,
    /// It is in mid-line, behind a [`MARKER`] at `start`.
    Window { start: usize },
}

/// The incremental splitter. Offsets are into the caller's buffer.
#[derive(Debug)]
pub struct Splitter {
    embedded: Embedded,
    max_line_bytes: usize,
    state: State,
    /// Everything before it has been passed or removed.
    passed: usize,
    /// Everything before it has been searched.
    scanned: usize,
}

impl Splitter {
    /// A splitter at the start of a stream. Telemetry longer than `max_line_bytes`, prefix and newline counted,
    /// passes through undecoded.
    pub fn new(embedded: Embedded, max_line_bytes: usize) -> Self {
        Self { embedded, max_line_bytes, state: State::LineStart, passed: 0, scanned: 0 }
    }

    /// Works through the buffer: what the last call left of it (all but the bytes it returned), followed by
    /// newly read bytes. `end` says that the stream ends here; the splitter is then ready for another stream.
    ///
    /// Returns how many bytes at the front of the buffer are done with. Of the others,
    /// [`held`](Self::held) many have not been passed yet.
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

    /// How many bytes at the end of a buffer of this length (after what `split` returned is cut off) are held
    /// back.
    pub fn held(&self, buffer_len: usize) -> usize {
        buffer_len.saturating_sub(self.passed)
    }

    fn line_start(&mut self, buffer: &[u8], end: bool, handler: &mut impl Handler) -> bool {
        let line = &buffer[self.scanned..];
        if line.starts_with(PREFIX) {
            self.state = State::Telemetry { start: self.scanned };
            self.scanned += PREFIX.len();
            true
        } else if line.is_empty() || (!end && PREFIX.starts_with(line)) {
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
            } else if handler.telemetry_line(line) {
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
        let found = PREFIX_FINDER.find(&buffer[self.scanned..]).map(|at| self.scanned + at);
        let at = match found {
            Some(at) => at,
            None if end => buffer.len(),
            None => buffer.len() - partial_prefix(&buffer[self.scanned..]),
        };
        // The byte at `scanned` itself is in mid-line: that is what this state means.
        if at > self.scanned && buffer[at - 1] == b'\n' {
            self.next_line(at);
            return true;
        }
        self.scanned = at;
        match (self.embedded, buffer.get(at + PREFIX.len())) {
            (Embedded::Copy | Embedded::Strip, Some(b'{')) => {
                self.state = State::Window { start: at };
                self.scanned += MARKER.len();
                true
            }
            (_, Some(_)) => {
                self.scanned += PREFIX.len();
                true
            }
            // The buffer ends within what may be a marker.
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

    /// The end of the line that `scanned` stands in, if it is known.
    fn line_end(&mut self, buffer: &[u8], end: bool) -> Option<usize> {
        let found = memchr(b'\n', &buffer[self.scanned..]).map(|at| self.scanned + at + 1);
        self.scanned = buffer.len();
        found.or(end.then_some(buffer.len()))
    }

    /// What starts at `start` has grown longer than the limit with no newline in sight: go on with the next
    /// marker that the buffer has, if any.
    fn slide(&mut self, buffer: &[u8], start: usize) {
        let from = start + 1;
        let next = match self.embedded {
            Embedded::Ignore => None,
            Embedded::Copy | Embedded::Strip => MARKER_FINDER.find(&buffer[from..]),
        };
        if let Some(at) = next {
            self.state = State::Window { start: from + at };
        } else {
            // The end of the buffer may hold the start of one.
            self.state = State::Text;
            self.scanned = from.max(buffer.len().saturating_sub(PREFIX.len()));
        }
    }

    /// Tries the markers between `from` and the line's end, leftmost first, and acts on the first event.
    fn try_markers(&mut self, buffer: &[u8], from: usize, line_end: usize, handler: &mut impl Handler) {
        if self.embedded == Embedded::Ignore {
            return;
        }
        // A marker further left starts something longer than the limit.
        let from = from.max(line_end.saturating_sub(self.max_line_bytes)).min(line_end);
        let found = MARKER_FINDER
            .find_iter(&buffer[from..line_end])
            .take(MAX_MARKERS)
            .map(|at| from + at)
            .find(|&at| handler.embedded(&buffer[at..line_end]));
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

/// How many bytes at the end of `text` may be the start of a [`PREFIX`] (less than all of it).
fn partial_prefix(text: &[u8]) -> usize {
    (1..PREFIX.len().min(text.len() + 1)).rev().find(|&n| text.ends_with(&PREFIX[..n])).unwrap_or(0)
}
