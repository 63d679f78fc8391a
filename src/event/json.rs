//! An event as a JSON line, as a worker would print it but without the `TELEMETRY:` prefix.
//!
//! `decode`, `tail` and `--export-jsonl` write this form. JSON has no non-finite numbers, so these are the
//! strings "NaN", "Infinity" and "-Infinity". A measurement with nothing set is null. Control characters
//! above C0 are not escaped here.

use super::proto::bridge::{TelemetryEvent, TelemetryValue, telemetry_value::Value};
use std::io::{self, Write};

/// Writes one line. A missing timestamp is null.
///
/// # Errors
///
/// If the writer fails.
pub fn write(out: &mut impl Write, event: &TelemetryEvent, timestamp_ns: Option<i64>) -> io::Result<()> {
    out.write_all(b"{\"event\": ")?;
    string(out, &event.event_parts.join("."))?;
    out.write_all(b", \"measurements\": ")?;
    object(out, &event.measurements, measurement)?;
    out.write_all(b", \"metadata\": ")?;
    object(out, &event.metadata, |out, value| string(out, value))?;
    match timestamp_ns {
        Some(timestamp_ns) => write!(out, ", \"timestamp_ns\": {timestamp_ns}")?,
        None => out.write_all(b", \"timestamp_ns\": null")?,
    }
    out.write_all(b", \"correlation_id\": ")?;
    string(out, &event.correlation_id)?;
    out.write_all(b"}\n")
}

fn object<'a, W: Write, V: 'a>(
    out: &mut W,
    entries: impl IntoIterator<Item = (&'a String, &'a V)>,
    value: impl Fn(&mut W, &V) -> io::Result<()>,
) -> io::Result<()> {
    let mut separator = "{";
    for (key, entry) in entries {
        out.write_all(separator.as_bytes())?;
        string(out, key)?;
        out.write_all(b": ")?;
        value(out, entry)?;
        separator = ", ";
    }
    out.write_all(if separator == "{" { b"{}" } else { b"}" })
}

fn measurement(out: &mut impl Write, value: &TelemetryValue) -> io::Result<()> {
    match &value.value {
        None => out.write_all(b"null"),
        Some(Value::IntValue(int)) => write!(out, "{int}"),
        Some(Value::FloatValue(float)) if float.is_nan() => out.write_all(b"\"NaN\""),
        Some(Value::FloatValue(float)) if float.is_infinite() => {
            out.write_all(if *float > 0.0 { b"\"Infinity\"" } else { b"\"-Infinity\"" })
        }
        Some(Value::FloatValue(float)) => Ok(serde_json::to_writer(out, float)?),
        Some(Value::StringValue(text)) => string(out, text),
    }
}

fn string(out: &mut impl Write, text: &str) -> io::Result<()> {
    Ok(serde_json::to_writer(out, text)?)
}
