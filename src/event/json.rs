//! An event as a JSON line, as a worker would print it but without the `TELEMETRY:` prefix.
//!
//! `decode`, `tail` and `--export-jsonl` write this form. JSON has no non-finite numbers, so these are the
//! strings "NaN", "Infinity" and "-Infinity". A measurement with nothing set is null. Control characters
//! above C0 are not escaped here.

use super::view::{Value, View};
use serde::Serialize;

/// Appends one line. A missing timestamp is null.
pub fn write(out: &mut Vec<u8>, event: &View<'_>, timestamp_ns: Option<i64>) {
    out.extend_from_slice(b"{\"event\": ");
    string(out, event.name());
    out.extend_from_slice(b", \"measurements\": ");
    object(out, event.measurements(), measurement);
    out.extend_from_slice(b", \"metadata\": ");
    object(out, event.metadata(), string);
    out.extend_from_slice(b", \"timestamp_ns\": ");
    timestamp(out, timestamp_ns);
    out.extend_from_slice(b", \"correlation_id\": ");
    string(out, event.correlation_id());
    out.extend_from_slice(b"}\n");
}

/// Appends a timestamp, or null.
pub fn timestamp(out: &mut Vec<u8>, timestamp_ns: Option<i64>) {
    match timestamp_ns {
        Some(timestamp_ns) => json(out, &timestamp_ns),
        None => out.extend_from_slice(b"null"),
    }
}

/// Appends an object of these entries, whose values `value` appends.
pub fn object<V: Copy>(out: &mut Vec<u8>, entries: &[(&str, V)], value: impl Fn(&mut Vec<u8>, V)) {
    out.push(b'{');
    for (index, (key, entry)) in entries.iter().enumerate() {
        if index > 0 {
            out.extend_from_slice(b", ");
        }
        string(out, key);
        out.extend_from_slice(b": ");
        value(out, *entry);
    }
    out.push(b'}');
}

/// Appends the value of a measurement.
pub fn measurement(out: &mut Vec<u8>, value: Value<'_>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Int(int) => json(out, &int),
        Value::Float(float) if float.is_nan() => out.extend_from_slice(b"\"NaN\""),
        Value::Float(f64::INFINITY) => out.extend_from_slice(b"\"Infinity\""),
        Value::Float(f64::NEG_INFINITY) => out.extend_from_slice(b"\"-Infinity\""),
        Value::Float(float) => json(out, &float),
        Value::Text(text) => string(out, text),
    }
}

/// Appends a string.
pub fn string(out: &mut Vec<u8>, text: &str) {
    // Not a search, so that many bytes are compared at once.
    let is_escaped = |byte| byte < b' ' || matches!(byte, b'"' | b'\\');
    if text.bytes().fold(0, |any, byte| any | u8::from(is_escaped(byte))) != 0 {
        return json(out, text);
    }
    out.reserve(text.len() + 2);
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

fn json(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    // Writing these to a Vec does not fail.
    let _ = serde_json::to_writer(out, value);
}
