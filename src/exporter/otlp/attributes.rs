//! Metadata and measurements of events as OpenTelemetry's attributes: metadata as strings, measurements with
//! their types. They are encoded as they are set.
//!
//! An event can have 4 MiB, and servers refuse larger requests, so the number and size of attributes are
//! bounded. The number of dropped attributes is exported where the protocol has a field for it.

use super::wire;
use crate::{
    event::view::{self, View},
    exporter::event::cut,
};
use prost::encoding::encoded_len_varint;

/// The most attributes of a span or a span's event: the specification's default,
/// <https://opentelemetry.io/docs/specs/otel/common/#attribute-limits>.
pub const MAX_ATTRIBUTES: usize = 128;

/// The longest value, in bytes: enough for a traceback. Longer values are truncated.
pub const MAX_VALUE_BYTES: usize = 16 * 1024;

/// The longest name, in bytes. An attribute with a longer name is dropped; other names are truncated.
pub const MAX_NAME_BYTES: usize = 256;

/// The largest size of all attributes of a span or a span's event, in bytes.
pub const MAX_BYTES: usize = 128 * 1024;

/// The size of an attribute without its text, in bytes: more than its encoding adds.
const OVERHEAD_BYTES: usize = 16;

/// The correlation id as the worker wrote it.
pub const CORRELATION_ID: &str = "snakepit.correlation_id";

/// The fields of `KeyValue`.
const KEY: u8 = 1;
const VALUE: u8 = 2;

/// The fields of `AnyValue`.
const STRING: u8 = 1;
const BOOL: u8 = 2;
const INT: u8 = 3;
const DOUBLE: u8 = 4;

/// What attributes belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// A span.
    Span,
    /// An event of a span.
    Event,
    /// A log record.
    Record,
}

impl Owner {
    /// The field of the attributes in the owner's message.
    fn field(self) -> u8 {
        match self {
            Self::Span => 9,
            Self::Event => 3,
            Self::Record => 6,
        }
    }
}

/// The value of an attribute.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// A string.
    Text(&'a str),
    /// An integer.
    Int(i64),
    /// A double.
    Float(f64),
    /// A boolean.
    Bool(bool),
}

/// Attributes with unique names, in the order in which they were first set.
#[derive(Debug, Clone, PartialEq)]
pub struct Attributes {
    owner: Owner,
    /// Encoded as fields of their owner.
    encoded: Vec<u8>,
    places: Vec<Place>,
    dropped: u32,
    /// The approximate encoded size.
    bytes: usize,
}

/// Where an attribute is in the encoding. It ends where the next one starts.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Place {
    start: u32,
    key: u32,
    key_bytes: u32,
    /// The approximate encoded size.
    bytes: u32,
}

impl Attributes {
    /// No attributes yet.
    pub fn new(owner: Owner) -> Self {
        Self { owner, encoded: Vec::new(), places: Vec::new(), dropped: 0, bytes: 0 }
    }

    /// Removes all of them, and keeps the memory.
    pub fn clear(&mut self) {
        self.encoded.clear();
        self.places.clear();
        (self.dropped, self.bytes) = (0, 0);
    }

    /// Becomes equal to others of the same owner, and keeps the memory.
    pub fn copy(&mut self, other: &Self) {
        self.encoded.clone_from(&other.encoded);
        self.places.clone_from(&other.places);
        (self.owner, self.dropped, self.bytes) = (other.owner, other.dropped, other.bytes);
    }

    /// Gives back memory that is not used.
    pub fn shrink(&mut self) {
        self.encoded.shrink_to_fit();
        self.places.shrink_to_fit();
    }

    /// Sets an attribute to a string.
    pub fn text(&mut self, key: &str, text: &str) {
        self.set(key, Value::Text(cut(text, MAX_VALUE_BYTES)));
    }

    /// Sets an attribute.
    pub fn set(&mut self, key: &str, value: Value<'_>) {
        self.set_among(self.places.len(), key, value);
    }

    /// Sets an attribute whose name can only be among this many of the first ones.
    fn set_among(&mut self, first: usize, key: &str, value: Value<'_>) {
        let bytes = key.len() + value.bytes() + OVERHEAD_BYTES;
        let existing = self.find(first, key);
        let replaced = existing.and_then(|at| self.places.get(at)).map_or(0, |place| place.bytes as usize);
        let fits =
            self.bytes - replaced + bytes <= MAX_BYTES && !key.is_empty() && key.len() <= MAX_NAME_BYTES;
        // The limits are far below 4 GiB.
        let size = u32::try_from(bytes).unwrap_or(u32::MAX);
        match existing {
            Some(at) if fits => self.replace(at, key, value, size),
            None if fits && self.places.len() < MAX_ATTRIBUTES => {
                let place = self.append(key, value, size);
                self.places.push(place);
            }
            _ => {
                self.dropped += 1;
                return;
            }
        }
        self.bytes = self.bytes - replaced + bytes;
    }

    /// How many were dropped.
    pub fn dropped(&self) -> u32 {
        self.dropped
    }

    /// All of them, encoded as fields of their owner.
    pub fn encoded(&self) -> &[u8] {
        &self.encoded
    }

    /// The approximate size in memory, in bytes.
    pub fn memory(&self) -> usize {
        self.encoded.capacity() + self.places.capacity() * size_of::<Place>()
    }

    /// Adds an event's correlation id, its metadata, without what is exported elsewhere (by key and value),
    /// and its measurements. Metadata takes precedence over measurements with the same key.
    pub fn add_event(&mut self, event: &View<'_>, exported_elsewhere: impl Fn(&str, &str) -> bool) {
        if !event.correlation_id().is_empty() {
            self.text(CORRELATION_ID, event.correlation_id());
        }
        // An event has each key once.
        let first = self.places.len();
        let metadata = event.metadata().iter();
        for (key, value) in metadata.filter(|(key, value)| !exported_elsewhere(key, value)) {
            self.set_among(first, key, Value::Text(cut(value, MAX_VALUE_BYTES)));
        }
        for (key, value) in event.measurements() {
            if event.metadatum(key).is_some() {
                self.dropped += 1;
                continue;
            }
            let value = match *value {
                view::Value::Int(int) => Value::Int(int),
                view::Value::Float(float) => Value::Float(float),
                view::Value::Text(text) => Value::Text(cut(text, MAX_VALUE_BYTES)),
                view::Value::Null => continue,
            };
            self.set_among(first, key, value);
        }
    }

    /// The position of a name, if it is among the first ones.
    fn find(&self, first: usize, key: &str) -> Option<usize> {
        self.places.iter().take(first).position(|place| {
            let start = place.key as usize;
            place.key_bytes as usize == key.len()
                && self.encoded.get(start..start + key.len()) == Some(key.as_bytes())
        })
    }

    /// Appends an attribute, and returns its place.
    #[allow(clippy::inline_always, reason = "as calls these take a third of an attribute's time")]
    #[inline(always)]
    fn append(&mut self, key: &str, value: Value<'_>, bytes: u32) -> Place {
        let buffer = &mut self.encoded;
        let start = buffer.len();
        let value_bytes = value.encoded_bytes();
        let entry_bytes = wire::field_bytes(key.len()) + wire::field_bytes(value_bytes);
        wire::lengths(buffer, (self.owner.field(), entry_bytes), (KEY, key.len()));
        let key_start = buffer.len();
        buffer.extend_from_slice(key.as_bytes());
        value.write(buffer, VALUE, value_bytes);
        let offset = |place: usize| u32::try_from(place).unwrap_or(u32::MAX);
        Place { start: offset(start), key: offset(key_start), key_bytes: offset(key.len()), bytes }
    }

    fn replace(&mut self, at: usize, key: &str, value: Value<'_>, bytes: u32) {
        let end = self.encoded.len();
        let place = self.append(key, value, bytes);
        let next = self.places.get(at + 1).map_or(end, |next| next.start as usize);
        let Some(old) = self.places.get_mut(at) else { return };
        let range = old.start as usize..next;
        // Most ends repeat what the start said.
        if self.encoded.get(range.clone()) == self.encoded.get(end..) {
            self.encoded.truncate(end);
            return;
        }
        let appended = place.start - old.start;
        *old = Place { start: old.start, key: place.key - appended, ..place };
        let new = self.encoded.split_off(end);
        for later in self.places.iter_mut().skip(at + 1) {
            for offset in [&mut later.start, &mut later.key] {
                // Both are at most as large as all attributes.
                let moved = *offset as usize + new.len() - range.len();
                *offset = u32::try_from(moved).unwrap_or(u32::MAX);
            }
        }
        self.encoded.splice(range, new);
    }
}

impl Value<'_> {
    /// The approximate encoded size.
    fn bytes(self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            _ => 8,
        }
    }

    /// The number of bytes of its `AnyValue`.
    fn encoded_bytes(self) -> usize {
        match self {
            Self::Text(text) => wire::field_bytes(text.len()),
            Self::Int(int) => 1 + encoded_len_varint(int.cast_unsigned()),
            Self::Float(_) => 9,
            Self::Bool(_) => 2,
        }
    }

    /// Appends a field with its `AnyValue`, which has this many bytes. A value that is zero or empty is
    /// written, too: otherwise there is none.
    #[allow(clippy::inline_always, reason = "see Attributes::append")]
    #[inline(always)]
    fn write(self, buffer: &mut Vec<u8>, field: u8, bytes: usize) {
        match self {
            Self::Text(text) => {
                wire::lengths(buffer, (field, bytes), (STRING, text.len()));
                buffer.extend_from_slice(text.as_bytes());
            }
            Self::Int(int) => {
                wire::length(buffer, field, bytes);
                wire::integer(buffer, INT, int.cast_unsigned());
            }
            Self::Float(float) => {
                wire::length(buffer, field, bytes);
                wire::fixed64(buffer, DOUBLE, float.to_bits());
            }
            Self::Bool(bool) => {
                wire::length(buffer, field, bytes);
                wire::integer(buffer, BOOL, bool.into());
            }
        }
    }
}

/// Appends a field with a text as an `AnyValue`.
pub fn any_text(buffer: &mut Vec<u8>, field: u8, text: &str) {
    let value = Value::Text(text);
    value.write(buffer, field, value.encoded_bytes());
}

#[cfg(test)]
mod tests;
