//! The splitter against a model that sees the whole input at once: every chunking finds the same, nothing is
//! lost, and nothing is held or kept longer than it has to be.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

#[path = "support/events.rs"]
mod events;

use bytes::{Bytes, BytesMut};
use events::properties;
use proptest::{collection::vec, prelude::*, sample::select};
use std::ops::Range;
use telemetry_sidecar::{
    batch::BatchBuilder,
    decode::Decoder,
    splitter::{Embedded, Handler, PREFIX, Splitter},
};

const MARKER: &[u8] = b"TELEMETRY:{";
const MODES: [Embedded; 3] = [Embedded::Copy, Embedded::Strip, Embedded::Ignore];
const EVENT: &[u8] = b"TELEMETRY:{\"event\":\"a\"}";

type Checked = Result<(), TestCaseError>;

/// What is found in a stream, however it is cut.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Found {
    telemetry_lines: usize,
    decoded: usize,
    malformed: usize,
    oversized: usize,
    embedded: usize,
    /// What decoded, in order.
    events: Vec<Bytes>,
    /// What was taken out, in order.
    removed: Vec<Bytes>,
    /// What passed.
    output: BytesMut,
}

/// Whether it is an event, by the real decoder.
fn decodes(line: &[u8]) -> bool {
    Decoder::default().decode(&line[PREFIX.len()..], 0, &mut BatchBuilder::default()).is_ok()
}

/// What has to be found in a stream: line by line, as the design has it.
fn model(mode: Embedded, max: usize, stream: &[u8]) -> Found {
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

/// How many bytes at the end of an unfinished line may still be taken out, so must be held; no others may.
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

/// A reader with a splitter, as the pipeline is one. Every read is checked.
struct Reader {
    mode: Embedded,
    max: usize,
    splitter: Splitter,
    buffer: Vec<u8>,
    /// Of the line that the stream stands in.
    line: Vec<u8>,
    found: Found,
}

/// What the splitter finds in one buffer.
struct Sink<'a> {
    found: &'a mut Found,
    buffer: &'a [u8],
    /// Everything before it was passed or removed.
    position: usize,
    /// Whether all ranges followed one another.
    in_order: bool,
}

impl Handler for Sink<'_> {
    fn telemetry_line(&mut self, line: &[u8]) -> bool {
        let decodes = decodes(line);
        self.found.telemetry_lines += 1;
        self.found.decoded += usize::from(decodes);
        self.found.malformed += usize::from(!decodes);
        self.found.events.extend(decodes.then(|| Bytes::copy_from_slice(line)));
        decodes
    }

    fn oversized_line(&mut self) {
        self.found.telemetry_lines += 1;
        self.found.oversized += 1;
    }

    fn embedded(&mut self, candidate: &[u8]) -> bool {
        let decodes = decodes(candidate);
        self.found.embedded += usize::from(decodes);
        self.found.events.extend(decodes.then(|| Bytes::copy_from_slice(candidate)));
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
    fn new(mode: Embedded, max: usize) -> Self {
        let splitter = Splitter::new(mode, max);
        Self { mode, max, splitter, buffer: Vec::new(), line: Vec::new(), found: Found::default() }
    }

    /// Reads some bytes, perhaps the stream's last. Ranges in order, from the first byte to those held, make
    /// what passed and what was removed the whole input.
    fn read(&mut self, bytes: &[u8], end: bool) -> Checked {
        let position = self.buffer.len() - self.splitter.held(self.buffer.len());
        self.buffer.extend_from_slice(bytes);
        let buffer = &self.buffer;
        let mut sink = Sink { found: &mut self.found, buffer, position, in_order: true };
        let done = self.splitter.split(buffer, end, &mut sink);
        let (position, in_order) = (sink.position, sink.in_order);
        let held = self.splitter.held(buffer.len() - done);
        prop_assert!(in_order, "a range was passed out of order");
        prop_assert_eq!(position + held, buffer.len(), "what is not passed is held");
        prop_assert!(done <= position, "{} bytes are done with, {} passed", done, position);
        self.buffer.drain(..done);

        self.line.extend_from_slice(bytes);
        let start_of_line = self.line.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        self.line.drain(..if end { self.line.len() } else { start_of_line });
        let to_hold = if self.line.is_empty() { 0 } else { to_hold(self.mode, self.max, &self.line) };
        prop_assert_eq!(held, to_hold, "held after {:?}", Bytes::copy_from_slice(&self.line));
        // A telemetry line or a candidate within the limit, or a prefix of one: however much is read at a time.
        let kept = self.buffer.len();
        prop_assert!(kept <= self.max.max(PREFIX.len()), "{} bytes kept", kept);
        prop_assert!(!end || kept == 0, "{} bytes kept at the end", kept);
        Ok(())
    }

    /// Reads a stream in chunks of these sizes, over and over; the end comes with the last or after it.
    fn read_in_chunks(&mut self, stream: &[u8], sizes: &[usize], end_apart: bool) -> Checked {
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

    /// What has passed since the last call.
    #[track_caller]
    fn after(&mut self, bytes: &[u8]) -> BytesMut {
        self.read(bytes, false).unwrap();
        self.found.output.split()
    }

    /// What has passed since the last call, at the end of the stream.
    #[track_caller]
    fn at_end(&mut self) -> BytesMut {
        self.read(b"", true).unwrap();
        self.found.output.split()
    }
}

/// A telemetry line without newline, so many bytes long, that is an event.
fn event_of(length: usize) -> Vec<u8> {
    let padding = length.saturating_sub(EVENT.len());
    [b"TELEMETRY:{\"event\":\"a", "b".repeat(padding).as_bytes(), b"\"}"].concat()
}

const TEXT: &[&[u8]] = &[
    b"text",
    b"T",
    b"{",
    b"}",
    b" ",
    b"\t",
    b"\"}",
    b"{\"event\":\"a\"}",
    b"\r 50%|###  |",
    b"\0",
    b"\xc3\xa9",
    b"\xff\xfe",
];
const LINE_ENDS: &[&[u8]] = &[b"\n", b"\n", b"\n", b"\n\n", b"\r\n", b"\r"];
/// What follows a prefix in an event.
const DECODES: &[&[u8]] = &[
    b"{\"event\":\"a\"}",
    b"  {\"event\" : \"b.c\"}\t",
    b"{\"event\":\"TELEMETRY:{\"}",
    b"{\"event\":\"\\ud800\xff\"}",
];
const DOES_NOT: &[&[u8]] = &[
    b"{",
    b"{}",
    b"[]",
    b"{\"event\":\"\"}",
    b"{\"event\":\"a\"",
    b" text",
    b"TELEMETRY:",
    b"{\"event\":\"a\"}x",
];

/// Pieces that streams are made of.
fn piece(max: usize) -> impl Strategy<Value = Vec<u8>> {
    let telemetry = |json: &[u8]| [PREFIX, json].concat();
    prop_oneof![
        4 => select(TEXT).prop_map(Vec::from),
        4 => select(LINE_ENDS).prop_map(Vec::from),
        3 => (1..=MARKER.len()).prop_map(|length| MARKER[..length].to_vec()),
        4 => select(DECODES).prop_map(telemetry),
        2 => select(DOES_NOT).prop_map(telemetry),
        1 => (0..max * 2).prop_map(|length| vec![b'x'; length]),
        2 => (0..4usize).prop_map(move |less| event_of((max + 1).saturating_sub(less))),
        1 => (0..12usize).prop_map(|times| MARKER.repeat(times)),
    ]
}

/// A line limit, and streams to read with it.
fn streams() -> impl Strategy<Value = (usize, Vec<Bytes>)> {
    prop_oneof![1 => 1..24usize, 9 => 24..200usize].prop_flat_map(|max| {
        let stream = vec(piece(max), 0..16).prop_map(|pieces| Bytes::from(pieces.concat()));
        (Just(max), vec(stream, 1..3))
    })
}

proptest! {
    #![proptest_config(properties())]

    #[test]
    fn every_chunking_finds_what_the_model_finds(
        (max, streams) in streams(),
        mut sizes in vec(0..60usize, 0..6),
        end_apart: bool,
    ) {
        sizes.push(7);
        for mode in MODES {
            for sizes in [&[usize::MAX], &[1], &sizes[..]] {
                let mut reader = Reader::new(mode, max);
                for stream in &streams {
                    reader.found = Found::default();
                    reader.read_in_chunks(stream, sizes, end_apart)?;
                    prop_assert_eq!(&reader.found, &model(mode, max, stream), "{:?}, in {:?}", mode, sizes);
                }
            }
        }
    }

    #[test]
    fn ignoring_and_copying_differ_in_embedded_events_only((max, streams) in streams()) {
        for stream in &streams {
            let mut copied = Reader::new(Embedded::Copy, max);
            let mut ignored = Reader::new(Embedded::Ignore, max);
            copied.read(stream, true)?;
            ignored.read(stream, true)?;
            prop_assert_eq!(&copied.found.output, &ignored.found.output);
            prop_assert_eq!(&copied.found.removed, &ignored.found.removed);
            prop_assert_eq!(&ignored.found.events, &ignored.found.removed);
        }
    }
}

#[test]
fn a_line_end_may_be_read_in_two_pieces() {
    for mode in MODES {
        let mut reader = Reader::new(mode, 200);
        assert_eq!(reader.after(b"one\r"), "one\r");
        assert_eq!(reader.after(b"\nTELEMETRY:{\"event\":\"a\"}\r"), "\n");
        assert_eq!(reader.after(b"\ntwo\r\n"), "two\r\n");
        assert_eq!(reader.found.events, ["TELEMETRY:{\"event\":\"a\"}\r\n"]);
    }
}

#[test]
fn what_may_become_telemetry_is_held_until_the_next_byte_or_the_end() {
    for mode in MODES {
        let mut reader = Reader::new(mode, 200);
        assert_eq!(reader.after(b"TELEM"), "");
        assert_eq!(reader.after(b"P"), "TELEMP");
        assert_eq!(reader.after(b"\nTELEM"), "\n");
        assert_eq!(reader.at_end(), "TELEM");
        assert_eq!(reader.after(b"TELEM"), "", "another stream starts with a line of its own");
        assert_eq!(reader.after(b"ETRY: text"), "");
        assert_eq!(reader.after(b"\n"), "TELEMETRY: text\n");
        assert_eq!(reader.found.malformed, 1);
    }
}

#[test]
fn a_progress_bar_appears_at_once() {
    for mode in MODES {
        let mut reader = Reader::new(mode, 200);
        for bar in [&b"\r 50%|#####     |"[..], b"\r 51%", b"|##### ", b"    |", b"\r"] {
            assert_eq!(reader.after(bar), bar);
        }
    }
}

#[test]
fn an_event_behind_a_progress_bar_is_held_by_strip_alone() {
    for (mode, expected) in [
        (Embedded::Copy, ["\r 50% TELEM", "ETRY:{\"event\"", ":\"a\"}", "\n\r 60%"]),
        (Embedded::Strip, ["\r 50% ", "", "", "\r 60%"]),
        (Embedded::Ignore, ["\r 50% TELEM", "ETRY:{\"event\"", ":\"a\"}", "\n\r 60%"]),
    ] {
        let mut reader = Reader::new(mode, 200);
        let reads = ["\r 50% TELEM", "ETRY:{\"event\"", ":\"a\"}", "\n\r 60%"];
        let output = reads.map(|read| reader.after(read.as_bytes()));
        assert_eq!(output, expected, "{mode:?}");
        assert_eq!(reader.found.embedded, usize::from(mode != Embedded::Ignore));
    }
}

#[test]
fn the_newline_counts_towards_the_limit() {
    for mode in MODES {
        for (length, newline, oversized) in [(49, "\n", 0), (50, "\n", 1), (50, "", 0), (51, "", 1)] {
            let mut reader = Reader::new(mode, 50);
            let line = [&event_of(length)[..], newline.as_bytes()].concat();
            let expected = if oversized == 1 { &line[..] } else { b"" };
            let output = [reader.after(&line), reader.at_end()].concat();
            assert_eq!(output, expected, "{length} bytes and {newline:?}");
            let found = &reader.found;
            assert_eq!(
                (found.telemetry_lines, found.decoded, found.oversized),
                (1, 1 - oversized, oversized)
            );
        }
    }
}

#[test]
fn a_line_over_the_limit_appears_before_it_ends() {
    let mut reader = Reader::new(Embedded::Copy, 50);
    assert_eq!(reader.after(&event_of(50)), "");
    assert_eq!(reader.after(b" "), [&event_of(50)[..], b" "].concat()[..]);
    assert_eq!(reader.after(b"more"), "more");
}

#[test]
fn eight_markers_of_a_line_are_tried() {
    for (before, embedded) in [(7, 1), (8, 0)] {
        let mut reader = Reader::new(Embedded::Strip, 1000);
        let broken = MARKER.repeat(before);
        reader.read(&[b"at ", &broken[..], EVENT, b"\n"].concat(), false).unwrap();
        assert_eq!(reader.found.embedded, embedded, "{before} broken ones before it");
    }
}
