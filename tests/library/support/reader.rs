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

/// All modes.
pub const MODES: [Embedded; 4] = [Embedded::Auto, Embedded::Copy, Embedded::Strip, Embedded::Ignore];

/// At most this many markers in mid-line are tried.
const MARKERS_TRIED: usize = 8;

/// A marker has at most this much white space.
const MARKER_SPACE: usize = 64;

/// The result of a stream, independent of the chunks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    pub telemetry_lines: usize,
    pub decoded: usize,
    pub malformed: usize,
    pub oversized: usize,
    pub embedded: usize,
    pub embedded_malformed: usize,
    /// The decoded events, in order, with white space behind them.
    pub events: Vec<Bytes>,
    /// The removed bytes.
    pub removed: BytesMut,
    /// The bytes that passed.
    pub output: BytesMut,
}

/// An event at the start of a candidate: its bytes with those of the gap behind it that are no escape
/// sequences, and where the gap ends.
fn event(candidate: &[u8]) -> Option<(Bytes, usize)> {
    let json = &candidate[PREFIX.len()..];
    let length = Decoder::default().decode(json, 0, &mut BatchBuilder::default()).ok()?;
    let mut end = PREFIX.len() + length;
    let mut event = candidate[..end].to_vec();
    while let Some(&byte) = candidate.get(end) {
        if let Some((length, _)) = sequence(&candidate[end..]) {
            end += length;
        } else if b" \t\r\n".contains(&byte) {
            event.push(byte);
            end += 1;
        } else {
            break;
        }
    }
    Some((event.into(), end))
}

/// The length of the escape sequence at the start of a text, and whether it redraws.
fn sequence(text: &[u8]) -> Option<(usize, bool)> {
    let length = text
        .iter()
        .skip(2)
        .position(|byte| (0x30..=0x7E).contains(byte) && !b"0123456789:;<=>?".contains(byte));
    let control = |length: usize| {
        let between = &text[2..length - 1];
        let parameters = between.iter().take_while(|byte| (0x30..=0x3F).contains(*byte)).count();
        between[parameters..].iter().all(|byte| (0x20..=0x2F).contains(byte))
    };
    match text {
        [0x1B, b'[', ..] => {
            let length = length? + 3;
            (length <= 64 && control(length)).then(|| (length, text[length - 1] != b'm'))
        }
        [0x1B, 0x20..=0x2F, rest @ ..] => {
            let between = rest.iter().take_while(|byte| (0x20..=0x2F).contains(*byte)).count();
            let last = rest.get(between).filter(|byte| (0x30..=0x7E).contains(*byte));
            (last.is_some() && between + 3 <= 64).then_some((between + 3, false))
        }
        _ => None,
    }
}

/// The length of the escape sequences at a line's start.
fn leading(line: &[u8]) -> usize {
    let mut length = 0;
    while let Some((sequence, _)) = sequence(&line[length..]) {
        length += sequence;
    }
    length
}

/// Whether something before this position redraws the line.
fn is_redrawn(line: &[u8], before: usize) -> bool {
    let mut at = 0;
    while at < before {
        match sequence(&line[at..]) {
            Some((_, true)) => return true,
            Some((length, false)) => at += length,
            None if line[at] == b'\r' => return true,
            None => at += 1,
        }
    }
    false
}

/// Whether a text starts with a marker. None if more bytes may make it one.
fn marker(text: &[u8]) -> Option<bool> {
    let Some(rest) = text.strip_prefix(PREFIX) else {
        return if PREFIX.starts_with(text) { None } else { Some(false) };
    };
    let space = rest.iter().take_while(|byte| b" \t\r".contains(byte)).count();
    match rest.get(space) {
        _ if space > MARKER_SPACE => Some(false),
        None => None,
        Some(&byte) => Some(byte == b'{'),
    }
}

/// The expected result of a stream, line by line as in the design.
pub fn model(mode: Embedded, max: usize, stream: &[u8]) -> Found {
    let mut found = Found::default();
    for line in stream.split_inclusive(|byte| *byte == b'\n') {
        model_line(mode, max, line, &mut found);
    }
    found
}

fn model_line(mode: Embedded, max: usize, line: &[u8], found: &mut Found) {
    let (mut at, mut tries) = (leading(line), MARKERS_TRIED);
    let mut passed = 0;
    let mut remove = |found: &mut Found, from: usize, event: &Bytes, to: usize| {
        found.output.extend_from_slice(&line[passed..from]);
        found.removed.extend_from_slice(event);
        let mut gap = &line[from..to];
        while let Some(escape) = gap.iter().position(|byte| *byte == 0x1B) {
            let (length, _) = sequence(&gap[escape..]).expect("only sequences are in a gap");
            found.output.extend_from_slice(&gap[escape..escape + length]);
            gap = &gap[escape + length..];
        }
        passed = to;
    };

    if line[at..].starts_with(PREFIX) {
        found.telemetry_lines += 1;
        let mut first = true;
        loop {
            let candidate = &line[at..];
            let event = event(candidate).filter(|_| !first || candidate.len() <= max);
            match (&event, first) {
                (Some(_), true) => found.decoded += 1,
                (None, true) if candidate.len() > max => found.oversized += 1,
                (None, true) => found.malformed += 1,
                (Some(_), false) => found.embedded += 1,
                (None, false) => found.embedded_malformed += 1,
            }
            let Some((event, end)) = event else { break };
            found.events.push(event.clone());
            remove(found, at, &event, at + end);
            at += end;
            if at == line.len() || tries == 0 {
                tries = 0;
                break;
            }
            tries -= 1;
            first = false;
        }
    }

    let next_marker = |from: usize| (from..line.len()).find(|&at| marker(&line[at..]) == Some(true));
    let mut next = if mode == Embedded::Ignore { None } else { next_marker(at + 1) };
    let strips = match mode {
        Embedded::Auto => next.is_some_and(|first| is_redrawn(line, first)),
        Embedded::Strip => true,
        Embedded::Copy | Embedded::Ignore => false,
    };
    while let Some(start) = next.filter(|_| tries > 0) {
        let mut end = start + 1;
        if line.len() - start > max {
            found.embedded_malformed += 1;
        } else if let Some((event, length)) = event(&line[start..]) {
            tries -= 1;
            found.embedded += 1;
            found.events.push(event.clone());
            end = start + length;
            if strips {
                remove(found, start, &event, end);
            }
        } else {
            tries -= 1;
            found.embedded_malformed += 1;
        }
        next = next_marker(end);
    }
    found.output.extend_from_slice(&line[passed..]);
}

/// The number of bytes at the end of an unfinished line that may still be removed; exactly these must be
/// held.
fn to_hold(mode: Embedded, max: usize, line: &[u8]) -> usize {
    let start = leading(line);
    let body = &line[start..];
    if (body.len() < PREFIX.len() && PREFIX.starts_with(body))
        || (body.starts_with(PREFIX) && body.len() <= max)
    {
        return body.len();
    }
    let mut markers = (start + 1..line.len()).filter(|&at| marker(&line[at..]) != Some(false)).peekable();
    let strips = markers.peek().is_some_and(|&first| match mode {
        Embedded::Auto => is_redrawn(line, first),
        Embedded::Strip => true,
        Embedded::Copy | Embedded::Ignore => false,
    });
    let mut markers = markers.filter(|_| strips).map(|at| &line[at..]);
    markers.find(|tail| marker(tail).is_none() || tail.len() <= max).map_or(0, <[u8]>::len)
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

impl Sink<'_> {
    /// The length that the decoder returns for what follows the prefix, if that is an event.
    fn decode(&mut self, json: &[u8]) -> Option<usize> {
        let (event, _) = event(&[PREFIX, json].concat())?;
        self.found.events.push(event);
        Decoder::default().decode(json, 0, &mut BatchBuilder::default()).ok()
    }
}

impl Handler for Sink<'_> {
    fn telemetry_line(&mut self, json: &[u8]) -> Option<usize> {
        let length = self.decode(json);
        self.found.telemetry_lines += 1;
        self.found.decoded += usize::from(length.is_some());
        self.found.malformed += usize::from(length.is_none());
        length
    }

    fn oversized_line(&mut self) {
        self.found.telemetry_lines += 1;
        self.found.oversized += 1;
    }

    fn embedded(&mut self, json: &[u8]) -> Option<usize> {
        let length = self.decode(json);
        self.found.embedded += usize::from(length.is_some());
        self.found.embedded_malformed += usize::from(length.is_none());
        length
    }

    fn oversized_embedded(&mut self) {
        self.found.embedded_malformed += 1;
    }

    fn pass(&mut self, range: Range<usize>) {
        self.in_order &= range.start == self.position;
        self.found.output.extend_from_slice(&self.buffer[range.clone()]);
        self.position = range.end;
    }

    fn removed(&mut self, bytes: usize) {
        let removed = &self.buffer[self.position..self.position + bytes];
        self.found.removed.extend_from_slice(removed);
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
        // A telemetry line or a candidate within the limit, or a part of a marker or of an escape sequence,
        // independent of the read size.
        let kept = self.buffer.len();
        ensure(kept <= self.max.max(PREFIX.len() + MARKER_SPACE), || format!("{kept} bytes kept"))?;
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
