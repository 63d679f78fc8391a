//! The path for lines as workers usually print them: one pass that writes wire bytes as it reads.
//!
//! It accepts known keys, each once, in any order; strings of valid UTF-8, with escapes only in metadata;
//! integers that fit an int64; decimals; true, false and null. For anything else it returns [`None`], and the
//! slow path starts again from the beginning of the line.
#![allow(
    clippy::inline_always,
    reason = "measured: positions stay in registers only if everything is one function"
)]

use super::{
    cursor::{Cursor, Key},
    entry::{self, out_of_line},
    keys::{EventKeys, MapKeys},
    message::{Fields, Reject, message_capacity},
    prefix::Map,
    wire::Writer,
};
use crate::{
    event::batch::BatchBuilder,
    input::dialect::{Dialect, EventKey},
};
use std::ops::Range;

/// What a value belongs to.
#[derive(Clone, Copy)]
pub(super) enum Field<'a> {
    Event,
    Measurement(Key<'a>),
    /// A string in metadata.
    Metadata(Key<'a>),
    /// A number, true, false or null in metadata.
    MetadataScalar(Key<'a>),
    /// The string in metadata that is used if the event object itself has no correlation id.
    MetadataCorrelationId(Key<'a>),
    Timestamp,
    CorrelationId,
}

/// Receives the positions of all values.
pub(super) trait Observer {
    /// `at` is the content of a string, or the whole text of a measurement or another scalar.
    fn value(&mut self, field: Field<'_>, at: Range<usize>);
}

/// Ignores the positions.
impl Observer for () {
    fn value(&mut self, _: Field<'_>, _: Range<usize>) {}
}

/// The last name and its wire bytes: the next line often has the same name.
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

/// A line, and what the decoder adds to it.
#[derive(Clone, Copy)]
pub(super) struct Input<'a> {
    pub(super) dialect: &'static Dialect,
    pub(super) json: &'a [u8],
    pub(super) extra_metadata: &'a [(String, String)],
    pub(super) now_ns: i64,
}

/// Decodes a line, or returns [`None`] to leave it to the slow path.
pub(super) fn decode(
    input: &Input<'_>,
    batch: &mut BatchBuilder,
    last_name: &mut LastName,
    observer: &mut impl Observer,
) -> Option<Result<usize, Reject>> {
    let Input { dialect, json, extra_metadata, now_ns } = *input;
    let mut cursor = Cursor::new(json);
    let mut event_keys = EventKeys::default();
    let mut metadata_keys = MapKeys::default();
    let (mut name, mut correlation_id, mut metadata_correlation_id) = (&[][..], &[][..], &[][..]);
    let mut timestamp_ns = None;

    let mut out = Writer::new(batch.spare(message_capacity(json, extra_metadata)));
    cursor.open(b'{')?;
    loop {
        match event_keys.next(&mut cursor, dialect)? {
            EventKey::Event => {
                cursor.byte(b'"')?;
                name = entry::rest_of_id(&mut cursor)?;
                last_name.write_parts_of(name, &mut out)?;
                observer.value(Field::Event, cursor.content(name));
            }
            EventKey::Measurements => {
                let mut keys = MapKeys::default();
                let mut more = cursor.open_map()?;
                while more {
                    let key = cursor.key()?;
                    keys.add(key.text)?;
                    let start = cursor.at();
                    match key.prefix(Map::Measurements) {
                        Some(prefix) => entry::measurement(&mut cursor, &mut out, &prefix)?,
                        None => out_of_line(&mut cursor, &mut out, |cursor, out| {
                            out.measurement(key.text, cursor.measurement()?)
                        })?,
                    }
                    observer.value(Field::Measurement(key), start..cursor.at());
                    more = !cursor.next_or_close(b'}')?;
                }
            }
            EventKey::Metadata => {
                let mut more = cursor.open_map()?;
                while more {
                    let key = cursor.key()?;
                    metadata_keys.add(key.text)?;
                    if key.text == dialect.metadata_correlation_id.as_bytes() {
                        // Values other than strings are rare here, and null means that there is none.
                        out_of_line(&mut cursor, &mut out, |cursor, out| {
                            metadata_correlation_id = cursor.quoted()?;
                            out.metadata(key.text, metadata_correlation_id)
                        })?;
                        let at = cursor.content(metadata_correlation_id);
                        observer.value(Field::MetadataCorrelationId(key), at);
                    } else if cursor.byte(b'"').is_some() {
                        let start = cursor.at();
                        match key.prefix(Map::Metadata) {
                            Some(prefix) => entry::rest_of_metadata(&mut cursor, &mut out, &prefix)?,
                            None => out_of_line(&mut cursor, &mut out, |cursor, out| {
                                out.metadata_of(key.text, |out| cursor.copy_rest_of_string(out))
                            })?,
                        }
                        observer.value(Field::Metadata(key), start..cursor.at() - 1);
                    } else {
                        let start = cursor.at();
                        out_of_line(&mut cursor, &mut out, |cursor, out| {
                            out.metadata(key.text, cursor.scalar()?)
                        })?;
                        observer.value(Field::MetadataScalar(key), start..cursor.at());
                    }
                    more = !cursor.next_or_close(b'}')?;
                }
            }
            EventKey::TimestampNs => {
                let start = cursor.at();
                timestamp_ns = Some(cursor.integer()?);
                observer.value(Field::Timestamp, start..cursor.at());
            }
            // A correlation id of null is the same as none.
            EventKey::CorrelationId if cursor.peek()? == b'n' => cursor.literal(b"null")?,
            EventKey::CorrelationId => {
                cursor.byte(b'"')?;
                correlation_id = entry::rest_of_id(&mut cursor)?;
                observer.value(Field::CorrelationId, cursor.content(correlation_id));
            }
        }
        if cursor.next_or_close(b'}')? {
            break;
        }
    }
    let length = cursor.end(dialect)?;
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
    Some(fields.add(message_bytes, now_ns, batch).map(|()| length))
}
