//! A reader with a splitter that checks every read, and a model that sees the whole input at once. Property
//! tests and a fuzz target share them.

use super::checked::{Checked, ensure, equal};
use bytes::{Bytes, BytesMut};
use std::ops::Range;
use telemetry_sidecar::{
    event::batch::BatchBuilder,
    input::{
        decode::Decoder,
        dialect,
        splitter::{Embedded, Handler, Splitter},
    },
};

/// Starts a telemetry line.
pub const PREFIX: &[u8] = b"TELEMETRY:";

/// Starts an embedded event.
pub const MARKER: &[u8] = b"TELEMETRY:{";

/// All modes.
pub const MODES: [Embedded; 3] = [Embedded::Copy, Embedded::Strip, Embedded::Ignore];

/// The result of a stream, independent of the chunks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    pub telemetry_lines: usize,
    pub decoded: usize,
    pub malformed: usize,
    pub oversized: usize,
    pub embedded: usize,
    /// The decoded events, in order.
    pub events: Vec<Bytes>,
    /// The removed bytes, in order.
    pub removed: Vec<Bytes>,
    /// The bytes that passed.
    pub output: BytesMut,
}

/// Whether the decoder accepts the line.
fn decodes(line: &[u8]) -> bool {
    Decoder::default().decode(&line[PREFIX.len()..], 0, &mut BatchBuilder::default()).is_ok()
}

/// The expected result of a stream, line by line as in the design.
pub fn model(mode: Embedded, max: usize, stream: &[u8]) -> Found {
    let mut found = Found::default();
    for line in stream.split_inclusive(|byte| *byte == b'\n') {
        let mut telemetry_at = None;
        if line.starts_with(PREFIX) {
            found.telemetry_lines += 1;
            if line.len() > max {
                found.oversized += 1;
            } else if decodes(line) {
                found.decoded += 1;
                telemetry_at = Some(0);
            } else {
                found.malformed += 1;
            }
        }
        let mut taken_out = telemetry_at.is_some();
        if telemetry_at.is_none() && mode != Embedded::Ignore {
            let mut candidates = (1..line.len())
                .filter(|&at| line[at..].starts_with(MARKER) && line.len() - at <= max)
                .take(8);
            telemetry_at = candidates.find(|&at| decodes(&line[at..]));
            found.embedded += usize::from(telemetry_at.is_some());
            taken_out = telemetry_at.is_some() && mode == Embedded::Strip;
        }
        let telemetry = &line[telemetry_at.unwrap_or(line.len())..];
        if telemetry_at.is_some() {
            found.events.push(Bytes::copy_from_slice(telemetry));
        }
        if taken_out {
            found.removed.push(Bytes::copy_from_slice(telemetry));
            found.output.extend_from_slice(&line[..line.len() - telemetry.len()]);
        } else {
            found.output.extend_from_slice(line);
        }
    }
    found
}

/// The number of bytes at the end of an unfinished line that may still be removed; exactly these must be
/// held.
fn to_hold(mode: Embedded, max: usize, line: &[u8]) -> usize {
    let may_be = |tail: &[u8], start: &[u8]| {
        if tail.len() < start.len() {
            start.starts_with(tail)
        } else {
            tail.starts_with(start) && tail.len() <= max
        }
    };
    let in_mid_line = || match mode {
        Embedded::Strip => (1..line.len()).map(|at| &line[at..]).find(|tail| may_be(tail, MARKER)),
        Embedded::Copy | Embedded::Ignore => None,
    };
    if may_be(line, PREFIX) { line.len() } else { in_mid_line().map_or(0, <[u8]>::len) }
}

/// A reader with a splitter, like the pipeline. Every read is checked.
pub struct Reader {
    mode: Embedded,
    max: usize,
    splitter: Splitter,
    buffer: Vec<u8>,
    /// The unfinished line so far.
    line: Vec<u8>,
    /// The results since they were last taken.
    pub found: Found,
}

/// The results of one buffer.
struct Sink<'a> {
    found: &'a mut Found,
    buffer: &'a [u8],
    /// All bytes before it were passed or removed.
    position: usize,
    /// Whether all ranges were in order without gaps.
    in_order: bool,
}

impl Handler for Sink<'_> {
    fn telemetry_line(&mut self, json: &[u8]) -> bool {
        let line = [PREFIX, json].concat();
        let decodes = decodes(&line);
        self.found.telemetry_lines += 1;
        self.found.decoded += usize::from(decodes);
        self.found.malformed += usize::from(!decodes);
        self.found.events.extend(decodes.then(|| line.into()));
        decodes
    }

    fn oversized_line(&mut self) {
        self.found.telemetry_lines += 1;
        self.found.oversized += 1;
    }

    fn embedded(&mut self, json: &[u8]) -> bool {
        let candidate = [PREFIX, json].concat();
        let decodes = decodes(&candidate);
        self.found.embedded += usize::from(decodes);
        self.found.events.extend(decodes.then(|| candidate.into()));
        decodes
    }

    fn pass(&mut self, range: Range<usize>) {
        self.in_order &= range.start == self.position;
        self.found.output.extend_from_slice(&self.buffer[range.clone()]);
        self.position = range.end;
    }

    fn removed(&mut self, bytes: usize) {
        let removed = &self.buffer[self.position..self.position + bytes];
        self.found.removed.push(Bytes::copy_from_slice(removed));
        self.position += bytes;
    }
}

impl Reader {
    /// A reader at the start of a stream.
    pub fn new(mode: Embedded, max: usize) -> Self {
        let splitter = Splitter::new(&dialect::SNAKEPIT, mode, max);
        Self { mode, max, splitter, buffer: Vec::new(), line: Vec::new(), found: Found::default() }
    }

    /// Reads some bytes, possibly the last of the stream. The passed and removed ranges, in order, must cover
    /// the whole input up to the held bytes.
    pub fn read(&mut self, bytes: &[u8], end: bool) -> Checked {
        let position = self.buffer.len() - self.splitter.held(self.buffer.len());
        self.buffer.extend_from_slice(bytes);
        let buffer = &self.buffer;
        let mut sink = Sink { found: &mut self.found, buffer, position, in_order: true };
        let done = self.splitter.split(buffer, end, &mut sink);
        let (position, in_order) = (sink.position, sink.in_order);
        let held = self.splitter.held(buffer.len() - done);
        ensure(in_order, || "a range was passed out of order".into())?;
        equal("what is passed and what is held", &buffer.len(), &(position + held))?;
        ensure(done <= position, || format!("{done} bytes are done with, {position} passed"))?;
        self.buffer.drain(..done);

        self.line.extend_from_slice(bytes);
        let start_of_line = self.line.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        self.line.drain(..if end { self.line.len() } else { start_of_line });
        let to_hold = if self.line.is_empty() { 0 } else { to_hold(self.mode, self.max, &self.line) };
        ensure(held == to_hold, || {
            format!("{held} bytes held, not {to_hold}, after {}", self.line.escape_ascii())
        })?;
        // A telemetry line or a candidate within the limit, or a prefix of one, independent of the read size.
        let kept = self.buffer.len();
        ensure(kept <= self.max.max(PREFIX.len()), || format!("{kept} bytes kept"))?;
        ensure(!end || kept == 0, || format!("{kept} bytes kept at the end"))
    }

    /// Reads a stream in chunks of these sizes, repeatedly; the end comes with the last chunk or after it.
    pub fn read_in_chunks(&mut self, stream: &[u8], sizes: &[usize], end_apart: bool) -> Checked {
        let mut rest = stream;
        for &size in sizes.iter().cycle() {
            let (chunk, after) = rest.split_at(size.min(rest.len()));
            rest = after;
            let last = rest.is_empty();
            self.read(chunk, last && !end_apart)?;
            if last {
                break;
            }
        }
        if end_apart { self.read(b"", true) } else { Ok(()) }
    }
}
