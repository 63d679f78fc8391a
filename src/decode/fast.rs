//! The path for what workers usually print: one pass that writes wire bytes as it reads.
//!
//! It takes known keys, each once, in any order; strings of valid UTF-8, with escapes only in metadata; integers that
//! fit an int64; decimals; true, false and null. At anything else it gives up ([`None`]) and the slow path starts
//! anew: it is never wrong, only incomplete.

use super::{
    Fields, Reject,
    cursor::Cursor,
    room_for,
    wire::{Head, Measurement, Writer},
};
use crate::batch::BatchBuilder;
use std::ops::Range;

/// Keys of one map that are remembered to find repeated ones; a map with more goes the slow way.
const MAX_KEYS: usize = 16;

/// The key in `metadata` that stands in for an event's own.
pub(super) const CORRELATION_ID: &[u8] = b"correlation_id";

/// What a value is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field<'a> {
    /// The name.
    Event,
    /// The measurement of this key.
    Measurement(&'a [u8]),
    /// The metadata of this key, a string.
    Metadata(&'a [u8]),
    /// The same, but not a string.
    MetadataScalar(&'a [u8]),
    /// The time.
    Timestamp,
    /// The correlation id.
    CorrelationId,
}

/// Is told where values are.
pub(super) trait Observer {
    /// There is a value here: of a string its content, of measurements all of its text.
    fn value(&mut self, field: Field<'_>, at: Range<usize>);
}

/// Nobody wants to know.
impl Observer for () {
    fn value(&mut self, _: Field<'_>, _: Range<usize>) {}
}

/// Decodes, or gives up.
pub(super) fn decode(
    json: &[u8],
    extra_metadata: &[(String, String)],
    now_ns: i64,
    batch: &mut BatchBuilder,
    observer: &mut impl Observer,
) -> Option<Result<(), Reject>> {
    let mut cursor = Cursor::new(json);
    let mut seen = Seen::default();
    let mut metadata_keys = Keys::default();
    let (mut name, mut correlation_id, mut metadata_correlation_id) = (&[][..], &[][..], &[][..]);
    let mut timestamp_ns = None;

    let mut out = Writer::new(batch.room(room_for(json, extra_metadata)));
    cursor.open(b'{')?;
    loop {
        match seen.first_time(cursor.key()?)? {
            Key::Event => {
                name = cursor.quoted()?;
                out.event_parts(name)?;
                observer.value(Field::Event, cursor.content(name));
            }
            Key::Measurements => {
                let mut keys = Keys::default();
                map(&mut cursor, &mut keys, |cursor, key| {
                    let start = cursor.at();
                    match Head::of_measurement(key) {
                        Some(head) => measurement(cursor, &mut out, &head)?,
                        None => out.measurement(key, cursor.measurement()?)?,
                    }
                    observer.value(Field::Measurement(key), start..cursor.at());
                    Some(())
                })?;
            }
            Key::Metadata => map(&mut cursor, &mut metadata_keys, |cursor, key| {
                if key == CORRELATION_ID {
                    // Of others than strings, null is none: rare.
                    metadata_correlation_id = cursor.quoted()?;
                    out.metadata(key, metadata_correlation_id)?;
                    observer.value(Field::Metadata(key), cursor.content(metadata_correlation_id));
                } else if cursor.literal(b"\"").is_some() {
                    let start = cursor.at();
                    match Head::of_metadata(key) {
                        Some(head) => rest_of_metadata(cursor, &mut out, &head)?,
                        None => out.metadata_of(key, |out| cursor.copy_rest_of_string(out))?,
                    }
                    observer.value(Field::Metadata(key), start..cursor.at() - 1);
                } else {
                    let value = cursor.scalar()?;
                    out.metadata(key, value)?;
                    observer.value(Field::MetadataScalar(key), cursor.before(value));
                }
                Some(())
            })?,
            Key::Timestamp => {
                let start = cursor.at();
                timestamp_ns = Some(cursor.integer()?);
                observer.value(Field::Timestamp, start..cursor.at());
            }
            // Null and missing are the same.
            Key::CorrelationId if cursor.peek()? == b'n' => cursor.literal(b"null")?,
            Key::CorrelationId => {
                correlation_id = cursor.quoted()?;
                observer.value(Field::CorrelationId, cursor.content(correlation_id));
            }
        }
        if cursor.next_or_close(b'}')? {
            break;
        }
    }
    cursor.end()?;
    if name.is_empty() {
        return None;
    }
    for (key, value) in extra_metadata {
        if !metadata_keys.contains(key.as_bytes()) {
            out.metadata(key.as_bytes(), value.as_bytes())?;
        }
    }
    if correlation_id.is_empty() {
        correlation_id = metadata_correlation_id;
    }
    let name = str::from_utf8(name).ok()?;
    let fields = Fields { name, correlation_id, timestamp_ns };
    let message_bytes = fields.write(&mut out, now_ns)?;
    Some(fields.add(message_bytes, now_ns, batch))
}

/// Writes a measurement.
#[inline]
pub(super) fn measurement(cursor: &mut Cursor<'_>, out: &mut Writer<'_>, head: &Head) -> Option<()> {
    match cursor.measurement()? {
        Measurement::Int(int) => out.int_entry(head, int),
        Measurement::Float(float) => out.float_entry(head, float),
        other => out.entry_of(head, |out| out.telemetry_value(other)),
    }
}

/// Writes a string of metadata, from behind its opening quote.
#[inline]
pub(super) fn rest_of_metadata(cursor: &mut Cursor<'_>, out: &mut Writer<'_>, head: &Head) -> Option<()> {
    if let Some((chunk, length)) = cursor.rest_of_short_string() {
        return out.short_text_entry(head, chunk, length);
    }
    out.entry_of(head, |out| cursor.copy_rest_of_string(out))
}

/// The known keys, a bit for each.
#[derive(Clone, Copy)]
enum Key {
    Event = 1,
    Measurements = 2,
    Metadata = 4,
    Timestamp = 8,
    CorrelationId = 16,
}

/// Which of the known keys have come.
#[derive(Default)]
struct Seen(u8);

impl Seen {
    /// Gives up at an unknown key and at one that came before.
    #[inline]
    fn first_time(&mut self, key: &[u8]) -> Option<Key> {
        let key = match key {
            b"event" => Key::Event,
            b"measurements" => Key::Measurements,
            b"metadata" => Key::Metadata,
            b"timestamp_ns" => Key::Timestamp,
            b"correlation_id" => Key::CorrelationId,
            _ => return None,
        };
        let first = self.0 & key as u8 == 0;
        self.0 |= key as u8;
        first.then_some(key)
    }
}

/// The keys of a map.
#[derive(Default)]
struct Keys<'a> {
    keys: [&'a [u8]; MAX_KEYS],
    len: usize,
}

impl<'a> Keys<'a> {
    fn contains(&self, key: &[u8]) -> bool {
        self.keys.iter().take(self.len).any(|known| *known == key)
    }

    fn add(&mut self, key: &'a [u8]) -> Option<()> {
        if self.contains(key) {
            return None;
        }
        *self.keys.get_mut(self.len)? = key;
        self.len += 1;
        Some(())
    }
}

/// Reads an object of scalars, entry by entry; null is an empty one.
fn map<'a>(
    cursor: &mut Cursor<'a>,
    keys: &mut Keys<'a>,
    mut value: impl FnMut(&mut Cursor<'a>, &'a [u8]) -> Option<()>,
) -> Option<()> {
    if cursor.peek()? == b'n' {
        return cursor.literal(b"null");
    }
    cursor.open(b'{')?;
    if cursor.peek()? == b'}' {
        return cursor.literal(b"}");
    }
    loop {
        let key = cursor.key()?;
        keys.add(key)?;
        value(cursor, key)?;
        if cursor.next_or_close(b'}')? {
            return Some(());
        }
    }
}
