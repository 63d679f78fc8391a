//! The entries of an event's maps.

use crate::event::wire::{Field, Fields, Malformed};

const KEY: u32 = 1;
const VALUE: u32 = 2;
const INT_VALUE: u32 = 1;
const FLOAT_VALUE: u32 = 2;
const STRING_VALUE: u32 = 3;

/// The value of a measurement.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// JSON's null.
    Null,
    /// An integer.
    Int(i64),
    /// Any double.
    Float(f64),
    /// Text.
    Text(&'a str),
}

impl Value<'_> {
    /// The nearest double, if it is a number.
    #[allow(clippy::cast_precision_loss, reason = "what takes doubles only has no more digits")]
    pub fn as_f64(self) -> Option<f64> {
        match self {
            Self::Int(int) => Some(int as f64),
            Self::Float(float) => Some(float),
            Self::Null | Self::Text(_) => None,
        }
    }
}

/// A text. Most are short and have only ASCII: to see that takes a fraction of what `from_utf8` needs for it.
#[inline]
pub(super) fn text(bytes: &[u8]) -> Result<&str, Malformed> {
    if is_ascii(bytes) {
        // SAFETY: ASCII is UTF-8.
        return Ok(unsafe { str::from_utf8_unchecked(bytes) });
    }
    str::from_utf8(bytes).map_err(|_| Malformed)
}

/// Whether all bytes are ASCII. It looks at eight at a time, and at some of the last ones twice.
#[inline]
fn is_ascii(bytes: &[u8]) -> bool {
    let all = if let Some(last) = bytes.last_chunk() {
        let (words, _) = bytes.as_chunks();
        words.iter().fold(u64::from_ne_bytes(*last), |all, word| all | u64::from_ne_bytes(*word))
    } else if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        (u32::from_ne_bytes(*first) | u32::from_ne_bytes(*last)).into()
    } else {
        bytes.iter().fold(0, |all, byte| all | u64::from(*byte))
    };
    all & 0x8080_8080_8080_8080 == 0
}

/// The key and the value of an entry that has a short key and then a short value, as nearly all have.
#[inline]
fn short_entry(entry: &[u8]) -> Option<(&[u8], &[u8])> {
    let (key, rest) = short_field(entry, KEY)?;
    let (value, rest) = short_field(rest, VALUE)?;
    rest.is_empty().then_some((key, value))
}

/// The content of a field of bytes, if that is the first one and the content is shorter than 128 bytes; and
/// what follows.
#[inline]
fn short_field(message: &[u8], number: u32) -> Option<(&[u8], &[u8])> {
    match message {
        [key, length @ 0..=0x7f, rest @ ..] if u32::from(*key) == number << 3 | 2 => {
            rest.split_at_checked(usize::from(*length))
        }
        _ => None,
    }
}

/// An entry of the metadata.
#[inline]
pub(super) fn metadatum(entry: &[u8]) -> Result<(&str, &str), Malformed> {
    if let Some((key, value)) = short_entry(entry) {
        // The bytes before the texts are ASCII, so one look at all is enough.
        let (text, value_at) = (text(entry)?, entry.len() - value.len());
        return text.get(2..2 + key.len()).zip(text.get(value_at..)).ok_or(Malformed);
    }
    any_metadatum(entry)
}

fn any_metadatum(entry: &[u8]) -> Result<(&str, &str), Malformed> {
    let (mut key, mut value) = ("", "");
    let mut fields = Fields::of(entry);
    while let Some(field) = fields.read()? {
        match field {
            (KEY, Field::Bytes(bytes)) => key = text(bytes)?,
            (VALUE, Field::Bytes(bytes)) => value = text(bytes)?,
            (KEY | VALUE, _) => return Err(Malformed),
            _ => {}
        }
    }
    Ok((key, value))
}

/// An entry of the measurements.
#[inline]
pub(super) fn measurement(entry: &[u8]) -> Result<(&str, Value<'_>), Malformed> {
    if let Some((key, value)) = short_entry(entry) {
        return Ok((text(key)?, value_after(Value::Null, value)?));
    }
    any_measurement(entry)
}

fn any_measurement(entry: &[u8]) -> Result<(&str, Value<'_>), Malformed> {
    let (mut key, mut value) = ("", Value::Null);
    let mut fields = Fields::of(entry);
    while let Some(field) = fields.read()? {
        match field {
            (KEY, Field::Bytes(bytes)) => key = text(bytes)?,
            (VALUE, Field::Bytes(bytes)) => value = value_after(value, bytes)?,
            (KEY | VALUE, _) => return Err(Malformed),
            _ => {}
        }
    }
    Ok((key, value))
}

/// The value that a `TelemetryValue` sets: the one before it if it sets none.
#[inline]
fn value_after<'a>(before: Value<'a>, message: &'a [u8]) -> Result<Value<'a>, Malformed> {
    let mut fields = Fields::of(message);
    let mut value = before;
    while let Some(field) = fields.read()? {
        value = set_value(field)?.unwrap_or(value);
    }
    Ok(value)
}

/// The value that a field of a `TelemetryValue` sets, if it is one that does.
#[inline]
fn set_value((number, field): (u32, Field<'_>)) -> Result<Option<Value<'_>>, Malformed> {
    Ok(Some(match (number, field) {
        (INT_VALUE, Field::Varint(int)) => Value::Int(int.cast_signed()),
        (FLOAT_VALUE, Field::Fixed64(bytes)) => Value::Float(f64::from_le_bytes(bytes)),
        (STRING_VALUE, Field::Bytes(bytes)) => Value::Text(text(bytes)?),
        (INT_VALUE..=STRING_VALUE, _) => return Err(Malformed),
        _ => return Ok(None),
    }))
}
