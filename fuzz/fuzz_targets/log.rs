//! The records of a stream do not depend on its chunks, every line is in one record, and nothing is held for
//! longer than a second. The input is [sizes of chunks](chunks::sizes) and a stream.

#![no_main]

mod chunks;

use libfuzzer_sys::fuzz_target;
use telemetry_sidecar::exporter::log::{Assembler, MAX_HELD_NS, Record};

/// An additional chunk size, so that reading ends if all others are zero.
const LAST_SIZE: usize = 64;

fuzz_target!(|data: &[u8]| {
    let (mut sizes, stream) = chunks::sizes(data);
    let whole = records(stream, &[usize::MAX]);
    let lines: u64 = whole.iter().map(|record| record.lines).sum();
    let newlines = u64::try_from(stream.split(|byte| *byte == b'\n').count()).unwrap_or(u64::MAX);
    assert!(lines <= newlines, "{lines} lines of {newlines}");
    for record in &whole {
        assert!(!record.body.is_empty() && record.lines > 0, "{record:?}");
        assert!(record.severity.as_ref().is_none_or(|severity| (1..=24).contains(&severity.number)));
        assert!(record.attributes.len() <= 64, "{record:?}");
    }
    sizes.push(LAST_SIZE);
    assert_eq!(records(stream, &sizes), whole, "in {sizes:?}");
    slowly(stream, &sizes);
});

/// The records of a stream that is read at once.
fn records(stream: &[u8], sizes: &[usize]) -> Vec<Record> {
    let (mut assembler, mut records) = (Assembler::default(), Vec::new());
    for chunk in Chunks::new(stream, sizes) {
        assembler.push(chunk, 0, &mut records);
    }
    assembler.finish(&mut records);
    records
}

/// Reads a chunk each third of a second.
fn slowly(stream: &[u8], sizes: &[usize]) {
    let (mut assembler, mut records, mut now_ns) = (Assembler::default(), Vec::new(), 0);
    for chunk in Chunks::new(stream, sizes) {
        assembler.push(chunk, now_ns, &mut records);
        if let Some(deadline) = assembler.deadline_ns() {
            assert!((now_ns..=now_ns + MAX_HELD_NS).contains(&deadline), "{deadline} at {now_ns}");
        }
        now_ns += MAX_HELD_NS / 3;
    }
    assembler.expire(now_ns + MAX_HELD_NS, &mut records);
    assert_eq!(assembler.deadline_ns(), None);
}

/// Chunks of these sizes, again and again.
struct Chunks<'a, 'b> {
    rest: &'a [u8],
    sizes: std::iter::Cycle<std::slice::Iter<'b, usize>>,
}

impl<'a, 'b> Chunks<'a, 'b> {
    fn new(rest: &'a [u8], sizes: &'b [usize]) -> Self {
        Self { rest, sizes: sizes.iter().cycle() }
    }
}

impl<'a> Iterator for Chunks<'a, '_> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let (chunk, rest) = self.rest.split_at((*self.sizes.next()?).min(self.rest.len()));
        self.rest = rest;
        Some(chunk)
    }
}
