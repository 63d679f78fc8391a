//! Compares the splitter with a model that sees the whole input at once: every chunking gives the same
//! result, nothing is lost, and nothing is held or kept longer than necessary.

use crate::support::{
    events::properties,
    reader::{Found, MODES, PREFIX, Reader, model},
};
use bytes::{Bytes, BytesMut};
use proptest::{collection::vec, prelude::*, sample::select};
use telemetry_sidecar::input::splitter::Embedded;

impl Reader {
    /// Reads `bytes` and returns the output that this causes.
    #[track_caller]
    fn after(&mut self, bytes: &[u8]) -> BytesMut {
        self.read(bytes, false).unwrap();
        self.found.output.split()
    }

    /// Ends the stream and returns the output that this causes.
    #[track_caller]
    fn at_end(&mut self) -> BytesMut {
        self.read(b"", true).unwrap();
        self.found.output.split()
    }
}

/// The shortest marker of an embedded event.
const MARKER: &[u8] = b"TELEMETRY:{";

const EVENT: &[u8] = b"TELEMETRY:{\"event\":\"a\"}";

/// A telemetry line of this length without newline that is an event.
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
    b"\x1b[32m",
    b"\x1b[0m",
    b"\x1b(B",
    b"\x1b[2K",
    b"\x1b[1;2",
    b"\x1b",
];
const LINE_ENDS: &[&[u8]] = &[b"\n", b"\n", b"\n", b"\n\n", b"\r\n", b"\r"];
/// The part of an event after a prefix.
const DECODES: &[&[u8]] = &[
    b"{\"event\":\"a\"}",
    b"{\"event\":\"a\"}",
    b"{\"event\":\"a\"}\x1b[0m",
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

/// Pieces of streams.
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
                    reader.read_in_chunks(stream, sizes, end_apart).map_err(TestCaseError::fail)?;
                    prop_assert_eq!(&reader.found, &model(mode, max, stream), "{:?}, in {:?}", mode, sizes);
                }
            }
        }
    }

    #[test]
    fn ignore_and_copy_differ_only_in_embedded_events((max, streams) in streams()) {
        for stream in &streams {
            let mut copied = Reader::new(Embedded::Copy, max);
            let mut ignored = Reader::new(Embedded::Ignore, max);
            copied.read(stream, true).map_err(TestCaseError::fail)?;
            ignored.read(stream, true).map_err(TestCaseError::fail)?;
            prop_assert_eq!(&copied.found.output, &ignored.found.output);
            prop_assert_eq!(&copied.found.removed, &ignored.found.removed);
            prop_assert_eq!(&ignored.found.events.concat(), &ignored.found.removed);
        }
    }
}

#[test]
fn crlf_may_be_split_between_two_reads() {
    for mode in MODES {
        let mut reader = Reader::new(mode, 200);
        assert_eq!(reader.after(b"one\r"), "one\r");
        assert_eq!(reader.after(b"\nTELEMETRY:{\"event\":\"a\"}\r"), "\n");
        assert_eq!(reader.after(b"\ntwo\r\n"), "two\r\n");
        assert_eq!(reader.found.events, ["TELEMETRY:{\"event\":\"a\"}\r\n"]);
    }
}

#[test]
fn possible_telemetry_is_held_until_the_next_byte_or_the_end() {
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
fn a_progress_bar_passes_without_delay() {
    for mode in MODES {
        let mut reader = Reader::new(mode, 200);
        for bar in [&b"\r 50%|#####     |"[..], b"\r 51%", b"|##### ", b"    |", b"\r"] {
            assert_eq!(reader.after(bar), bar);
        }
    }
}

#[test]
fn only_strip_and_auto_hold_an_event_after_a_progress_bar() {
    for (mode, expected) in [
        (Embedded::Copy, ["\r 50% TELEM", "ETRY:{\"event\"", ":\"a\"}", "\n\r 60%"]),
        (Embedded::Strip, ["\r 50% ", "", "", "\r 60%"]),
        (Embedded::Auto, ["\r 50% ", "", "", "\r 60%"]),
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
fn an_oversized_line_passes_before_its_newline() {
    let mut reader = Reader::new(Embedded::Copy, 50);
    assert_eq!(reader.after(&event_of(50)), "");
    assert_eq!(reader.after(b" "), [&event_of(50)[..], b" "].concat()[..]);
    assert_eq!(reader.after(b"more"), "more");
}

#[test]
fn at_most_eight_markers_of_a_line_are_decoded() {
    for (before, embedded) in [(7, 1), (8, 0)] {
        let mut reader = Reader::new(Embedded::Strip, 1000);
        let broken = MARKER.repeat(before);
        reader.read(&[b"at ", &broken[..], EVENT, b"\n"].concat(), false).unwrap();
        assert_eq!(reader.found.embedded, embedded, "{before} broken ones before it");
    }
}
