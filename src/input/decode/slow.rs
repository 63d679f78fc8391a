//! The path for every line: validate its object, remember the values of the known keys, then read them.
//!
//! Because the whole object is scanned first, the last of repeated keys wins and a malformed one writes
//! nothing.

use super::{
    escape::unescape,
    json::{Kind, NotJson, Scanner, Value},
    message::{Fields, Reject, message_capacity},
    wire::{Measurement, Writer},
};
use crate::{
    event::{
        batch::{BatchBuilder, MAX_MESSAGE_BYTES},
        stats::Malformed,
    },
    input::dialect::{Dialect, EventKey},
};
use std::{borrow::Cow, collections::BTreeMap};

impl From<NotJson> for Reject {
    fn from(_: NotJson) -> Self {
        Self::Malformed(Malformed::Json)
    }
}

pub(super) fn decode(
    dialect: &Dialect,
    json: &[u8],
    extra_metadata: &[(String, String)],
    now_ns: i64,
    batch: &mut BatchBuilder,
) -> Result<usize, Reject> {
    let (document, length) = Scanner::first_value(json)?;
    dialect.gap_behind_event(json.get(length..).unwrap_or_default()).ok_or(NotJson)?;
    if document.kind != Kind::Object {
        return Err(Reject::Malformed(Malformed::NotObject));
    }
    let (mut event, mut measurements, mut metadata, mut timestamp, mut correlation_id) =
        (None, None, None, None, None);
    Scanner::entries(document.text, |key, value| match dialect.key(unescape(key).as_bytes()) {
        Some(EventKey::Event) => event = Some(value),
        Some(EventKey::Measurements) => measurements = Some(value),
        Some(EventKey::Metadata) => metadata = Some(value),
        Some(EventKey::TimestampNs) => timestamp = Some(value),
        Some(EventKey::CorrelationId) => correlation_id = Some(value),
        None => {}
    })?;

    let name = match event {
        Some(Value { kind: Kind::String, text }) => string(text),
        _ => Cow::Borrowed(""),
    };
    if name.is_empty() {
        return Err(Reject::Malformed(Malformed::Event));
    }
    let measurements = object(measurements)?;
    let mut metadata: BTreeMap<_, _> =
        object(metadata)?.into_iter().map(|(key, value)| (key, (text(value), value.kind))).collect();
    let correlation_id = correlation_id
        .map(|value| (text(value), value.kind))
        .filter(is_set)
        .or_else(|| metadata.get(dialect.metadata_correlation_id).cloned().filter(is_set))
        .map_or(Cow::Borrowed(""), |(text, _)| text);
    for (key, value) in extra_metadata {
        metadata.entry(Cow::Borrowed(key)).or_insert((Cow::Borrowed(value), Kind::String));
    }

    let timestamp_ns = timestamp.and_then(self::timestamp_ns);
    let fields = Fields { name: name.as_bytes(), correlation_id: correlation_id.as_bytes(), timestamp_ns };
    // A message takes at most six times the length of its line: an invalid byte becomes three, and a
    // correlation id in metadata is written twice. A message above the limit does not fit and is rejected.
    let capacity = (5 * message_capacity(document.text, extra_metadata)).min(MAX_MESSAGE_BYTES);
    let mut out = Writer::new(batch.spare(capacity).get_mut(..capacity).unwrap_or_default());
    let mut write = || {
        out.event_parts(name.as_bytes())?;
        for (key, value) in &measurements {
            measurement(&mut out, key.as_bytes(), *value)?;
        }
        for (key, (value, _)) in &metadata {
            out.metadata(key.as_bytes(), value.as_bytes())?;
        }
        fields.write(&mut out, now_ns)
    };
    let message_bytes = write().ok_or(Reject::Oversized)?;
    fields.add(message_bytes, now_ns, batch).map(|()| length)
}

/// The entries of an object; of repeated keys the last one. A missing object and `null` have no entries.
fn object(value: Option<Value<'_>>) -> Result<BTreeMap<Cow<'_, str>, Value<'_>>, Reject> {
    let mut entries = BTreeMap::new();
    match value {
        None | Some(Value { kind: Kind::Null, .. }) => {}
        Some(Value { kind: Kind::Object, text }) => Scanner::entries(text, |key, value| {
            entries.insert(unescape(key), value);
        })?,
        Some(_) => return Err(Reject::Malformed(Malformed::Shape)),
    }
    Ok(entries)
}

fn measurement(out: &mut Writer<'_>, key: &[u8], value: Value<'_>) -> Option<()> {
    let value = match value.kind {
        Kind::Integer => number(value.text).parse().map_or_else(|_| float(value.text), Measurement::Int),
        Kind::Float => float(value.text),
        Kind::NonFinite => Measurement::Float(non_finite(value.text)),
        Kind::True => Measurement::Int(1),
        Kind::False => Measurement::Int(0),
        Kind::Null => Measurement::Null,
        Kind::String | Kind::Array | Kind::Object => {
            return out.measurement(key, Measurement::Text(text(value).as_bytes()));
        }
    };
    out.measurement(key, value)
}

/// The content of a string, or the JSON text of any other value.
fn text(value: Value<'_>) -> Cow<'_, str> {
    if value.kind == Kind::String { string(value.text) } else { String::from_utf8_lossy(value.text) }
}

fn string(quoted: &[u8]) -> Cow<'_, str> {
    unescape(quoted.get(1..quoted.len() - 1).unwrap_or_default())
}

/// Whether a correlation id is given: `null` and "" are not.
fn is_set((text, kind): &(Cow<'_, str>, Kind)) -> bool {
    *kind != Kind::Null && !text.is_empty()
}

/// A timestamp that fits an int64. Fractions are truncated.
fn timestamp_ns(value: Value<'_>) -> Option<i64> {
    match value.kind {
        Kind::Integer => number(value.text).parse().ok(),
        Kind::Float => {
            let float: f64 = number(value.text).parse().ok()?;
            // A double represents i64::MIN exactly, but not i64::MAX; the next value above that is 2^63.
            #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "checked")]
            (i64::MIN as f64..-(i64::MIN as f64)).contains(&float).then_some(float as i64)
        }
        _ => None,
    }
}

fn float(digits: &[u8]) -> Measurement<'static> {
    // Rust parses 1e999 as infinity, as Python does.
    number(digits).parse().map_or(Measurement::Null, Measurement::Float)
}

fn non_finite(word: &[u8]) -> f64 {
    match word {
        b"Infinity" => f64::INFINITY,
        b"-Infinity" => f64::NEG_INFINITY,
        _ => f64::NAN,
    }
}

/// The text of a number, which is ASCII.
fn number(text: &[u8]) -> &str {
    str::from_utf8(text).unwrap_or_default()
}
