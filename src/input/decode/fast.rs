//! The path for what workers usually print: one pass that writes wire bytes as it reads.
//!
//! It takes known keys, each once, in any order; strings of valid UTF-8, with escapes only in metadata; integers that
//! fit an int64; decimals; true, false and null. At anything else it gives up ([`None`]) and the slow path starts
//! anew: it is never wrong, only incomplete.
#![allow(
    clippy::inline_always,
    reason = "measured: positions stay in registers only where all of it is one function"
)]

use super::{
    Fields, Reject,
    cursor::{Cursor, Key, Literal},
    entry::{self, apart},
    head::Map,
    room_for,
    wire::Writer,
};
use crate::event::batch::BatchBuilder;
use std::ops::Range;

/// Keys of one map that are remembered to find repeated ones; a map with more goes the slow way.
const MAX_KEYS: usize = 16;

/// The key in `metadata` that stands in for an event's own.
pub(super) const CORRELATION_ID: &[u8] = b"correlation_id";

/// What a value is for.
#[derive(Clone, Copy)]
pub(super) enum Field<'a> {
    /// The name.
    Event,
    /// The measurement of this key.
    Measurement(Key<'a>),
    /// The metadata of this key, a string.
    Metadata(Key<'a>),
    /// The same, but not a string.
    MetadataScalar(Key<'a>),
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

/// The name that came last and what it is on the wire: the next line is likely to have the same.
#[derive(Debug, Default)]
pub(super) struct LastName {
    name: Vec<u8>,
    parts: Vec<u8>,
}

impl LastName {
    fn write_parts_of(&mut self, name: &[u8], out: &mut Writer<'_>) -> Option<()> {
        if self.name == name {
            return out.bytes(&self.parts);
        }
        let start = out.written();
        out.event_parts(name)?;
        self.name.clear();
        self.parts.clear();
        self.name.extend_from_slice(name);
        self.parts.extend_from_slice(out.since(start));
        Some(())
    }
}

/// Decodes, or gives up.
pub(super) fn decode(
    json: &[u8],
    extra_metadata: &[(String, String)],
    now_ns: i64,
    batch: &mut BatchBuilder,
    last_name: &mut LastName,
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
        match seen.next(&mut cursor)? {
            Known::Event => {
                cursor.byte(b'"')?;
                name = entry::rest_of_id(&mut cursor)?;
                last_name.write_parts_of(name, &mut out)?;
                observer.value(Field::Event, cursor.content(name));
            }
            Known::Measurements => {
                let mut keys = Keys::default();
                let mut more = cursor.open_map()?;
                while more {
                    let key = cursor.key()?;
                    keys.add(key.text)?;
                    let start = cursor.at();
                    match key.head(Map::Measurements) {
                        Some(head) => entry::measurement(&mut cursor, &mut out, &head)?,
                        None => apart(&mut cursor, &mut out, |cursor, out| {
                            out.measurement(key.text, cursor.measurement()?)
                        })?,
                    }
                    observer.value(Field::Measurement(key), start..cursor.at());
                    more = !cursor.next_or_close(b'}')?;
                }
            }
            Known::Metadata => {
                let mut more = cursor.open_map()?;
                while more {
                    let key = cursor.key()?;
                    metadata_keys.add(key.text)?;
                    if key.text == CORRELATION_ID {
                        // Of others than strings, null is none: rare.
                        apart(&mut cursor, &mut out, |cursor, out| {
                            metadata_correlation_id = cursor.quoted()?;
                            out.metadata(key.text, metadata_correlation_id)
                        })?;
                        observer.value(Field::Metadata(key), cursor.content(metadata_correlation_id));
                    } else if cursor.byte(b'"').is_some() {
                        let start = cursor.at();
                        match key.head(Map::Metadata) {
                            Some(head) => entry::rest_of_metadata(&mut cursor, &mut out, &head)?,
                            None => apart(&mut cursor, &mut out, |cursor, out| {
                                out.metadata_of(key.text, |out| cursor.copy_rest_of_string(out))
                            })?,
                        }
                        observer.value(Field::Metadata(key), start..cursor.at() - 1);
                    } else {
                        let start = cursor.at();
                        apart(&mut cursor, &mut out, |cursor, out| out.metadata(key.text, cursor.scalar()?))?;
                        observer.value(Field::MetadataScalar(key), start..cursor.at());
                    }
                    more = !cursor.next_or_close(b'}')?;
                }
            }
            Known::Timestamp => {
                let start = cursor.at();
                timestamp_ns = Some(cursor.integer()?);
                observer.value(Field::Timestamp, start..cursor.at());
            }
            // Null and missing are the same.
            Known::CorrelationId if cursor.peek()? == b'n' => cursor.literal(b"null")?,
            Known::CorrelationId => {
                cursor.byte(b'"')?;
                correlation_id = entry::rest_of_id(&mut cursor)?;
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
    let fields = Fields { name, correlation_id, timestamp_ns };
    let message_bytes = fields.write(&mut out, now_ns)?;
    Some(fields.add(message_bytes, now_ns, batch))
}

/// The known keys, in the order in which workers usually write them.
#[derive(Clone, Copy)]
enum Known {
    Event,
    Measurements,
    Metadata,
    Timestamp,
    CorrelationId,
}

/// As Python and nearly everybody writes them.
const USUAL: [(Option<Literal>, Known); 5] = [
    (Literal::new(br#""event": "#), Known::Event),
    (Literal::new(br#""measurements": "#), Known::Measurements),
    (Literal::new(br#""metadata": "#), Known::Metadata),
    (Literal::new(br#""timestamp_ns": "#), Known::Timestamp),
    (Literal::new(br#""correlation_id": "#), Known::CorrelationId),
];

/// Which of the known keys have come.
#[derive(Default)]
struct Seen {
    /// A bit for each.
    keys: u8,
    /// Which one is likely to come next.
    next: usize,
}

impl Seen {
    /// Reads a key. It gives up at an unknown one and at one that came before.
    #[inline(always)]
    fn next(&mut self, cursor: &mut Cursor<'_>) -> Option<Known> {
        let usual = USUAL.get(self.next).and_then(|(text, key)| {
            cursor.short_literal(text.as_ref()?)?;
            Some(*key)
        });
        let key = match usual {
            Some(key) => key,
            None => match cursor.key()?.text {
                b"event" => Known::Event,
                b"measurements" => Known::Measurements,
                b"metadata" => Known::Metadata,
                b"timestamp_ns" => Known::Timestamp,
                b"correlation_id" => Known::CorrelationId,
                _ => return None,
            },
        };
        let bit = 1 << key as u8;
        let first = self.keys & bit == 0;
        self.keys |= bit;
        self.next = key as usize + 1;
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
