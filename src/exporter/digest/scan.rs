//! Reads of an encoded event what a digest needs, without an allocation for each event.
//!
//! Wire format: <https://protobuf.dev/programming-guides/encoding/>. The field numbers are those of
//! `proto/snakepit_bridge.proto`. Metadata is skipped.

use crate::exporter::{event::Phase, number::Number};
use std::ops::Range;

const EVENT_PARTS: u64 = 1;
const MEASUREMENTS: u64 = 2;
const TIMESTAMP_NS: u64 = 4;
const KEY: u64 = 1;
const VALUE: u64 = 2;
const INT_VALUE: u64 = 1;
const FLOAT_VALUE: u64 = 2;
const STRING_VALUE: u64 = 3;

/// Larger buffers are not kept for the next event: in bytes of the name, and in measurements.
const KEPT_NAME_BYTES: usize = 4096;
const KEPT_MEASUREMENTS: usize = 256;

/// Buffers for the parts of one event. They are used again for the next one.
#[derive(Debug, Clone, Default)]
pub(super) struct Scanner {
    name: String,
    /// The positions of the keys in the message.
    measurements: Vec<(Range<usize>, Option<Number>)>,
}

/// What a digest needs of an event.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scanned<'a> {
    pub(super) name: &'a str,
    pub(super) phase: Phase,
    pub(super) timestamp_ns: i64,
    message: &'a [u8],
    measurements: &'a [(Range<usize>, Option<Number>)],
}

impl<'a> Scanned<'a> {
    /// The measurements that are numbers, each key once, in the order of the keys.
    pub(super) fn numbers(self) -> impl Iterator<Item = (&'a str, Number)> + Clone {
        self.measurements.iter().filter_map(move |(key, number)| {
            Some((std::str::from_utf8(self.message.get(key.clone())?).ok()?, (*number)?))
        })
    }
}

impl Scanner {
    /// Reads a message. None if it is not a valid `TelemetryEvent`, as far as this reads it.
    pub(super) fn scan<'a>(&'a mut self, message: &'a [u8]) -> Option<Scanned<'a>> {
        self.name.clear();
        self.name.shrink_to(KEPT_NAME_BYTES);
        self.measurements.clear();
        self.measurements.shrink_to(KEPT_MEASUREMENTS);
        let (mut parts, mut last, mut timestamp_ns) = (0, "", 0);
        let mut fields = Fields { message, at: 0, end: message.len() };
        while !fields.is_done() {
            let (number, field) = fields.next()?;
            match (number, field) {
                (EVENT_PARTS, Field::Bytes(range)) => {
                    last = std::str::from_utf8(message.get(range)?).ok()?;
                    if parts > 0 {
                        self.name.push('.');
                    }
                    self.name.push_str(last);
                    parts += 1;
                }
                (MEASUREMENTS, Field::Bytes(range)) => self.measurements.push(entry(message, range)?),
                (TIMESTAMP_NS, Field::Varint(value)) => timestamp_ns = value.cast_signed(),
                (EVENT_PARTS | MEASUREMENTS | TIMESTAMP_NS, _) => return None,
                _ => {}
            }
        }
        sort(message, &mut self.measurements);
        let phase = Phase::of(parts, last);
        Some(Scanned { name: &self.name, phase, timestamp_ns, message, measurements: &self.measurements })
    }
}

/// Sorts entries by their keys. Of equal keys the last one counts.
fn sort(message: &[u8], entries: &mut Vec<(Range<usize>, Option<Number>)>) {
    let key = |range: &Range<usize>| message.get(range.clone()).unwrap_or_default();
    // Usually there are few, in order already.
    if !entries.is_sorted_by(|(one, _), (next, _)| key(one) < key(next)) {
        entries.sort_by(|(one, _), (next, _)| key(one).cmp(key(next)));
        entries.dedup_by(|next, kept| {
            let same = key(&next.0) == key(&kept.0);
            if same {
                std::mem::swap(next, kept);
            }
            same
        });
    }
}

/// The key of an entry, and its value if that is a number.
fn entry(message: &[u8], range: Range<usize>) -> Option<(Range<usize>, Option<Number>)> {
    let (mut key, mut value) = (0..0, None);
    let mut fields = Fields { message, at: range.start, end: range.end };
    while !fields.is_done() {
        let (number, field) = fields.next()?;
        match (number, field) {
            (KEY, Field::Bytes(range)) => {
                std::str::from_utf8(message.get(range.clone())?).ok()?;
                key = range;
            }
            (VALUE, Field::Bytes(range)) => {
                let mut fields = Fields { message, at: range.start, end: range.end };
                while !fields.is_done() {
                    let (number, field) = fields.next()?;
                    match (number, field) {
                        (INT_VALUE, Field::Varint(int)) => value = Some(Number::Int(int.cast_signed())),
                        (FLOAT_VALUE, Field::Fixed64(bits)) => {
                            value = Some(Number::Float(f64::from_bits(bits)));
                        }
                        (STRING_VALUE, Field::Bytes(_)) => value = None,
                        (INT_VALUE | FLOAT_VALUE | STRING_VALUE, _) => return None,
                        _ => {}
                    }
                }
            }
            (KEY | VALUE, _) => return None,
            _ => {}
        }
    }
    Some((key, value))
}

/// The content of a field.
enum Field {
    Varint(u64),
    Fixed64(u64),
    /// Its position in the message.
    Bytes(Range<usize>),
    Fixed32,
}

/// The fields in a part of a message.
struct Fields<'a> {
    message: &'a [u8],
    at: usize,
    end: usize,
}

impl Fields<'_> {
    fn is_done(&self) -> bool {
        self.at == self.end
    }

    /// The number and the content of the next field; none if it is not valid. Groups, which no current
    /// protocol uses, are not read.
    fn next(&mut self) -> Option<(u64, Field)> {
        let tag = self.varint()?;
        let field = match tag & 7 {
            0 => Field::Varint(self.varint()?),
            1 => {
                let range = self.take(8)?;
                Field::Fixed64(u64::from_le_bytes(*self.message.get(range)?.first_chunk()?))
            }
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Field::Bytes(self.take(length)?)
            }
            5 => {
                self.take(4)?;
                Field::Fixed32
            }
            _ => return None,
        };
        Some((tag >> 3, field))
    }

    fn take(&mut self, length: usize) -> Option<Range<usize>> {
        let start = self.at;
        let end = start.checked_add(length).filter(|end| *end <= self.end)?;
        self.at = end;
        Some(start..end)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let range = self.take(1)?;
            let byte = *self.message.get(range.start)?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }
}
