//! Writing a `TelemetryEvent`'s fields as protobuf wire bytes: <https://protobuf.dev/programming-guides/encoding/>.
//!
//! The field numbers are those of `proto/snakepit_bridge.proto`. Fields may stand in any order on the wire. As
//! prost does, a default timestamp or correlation id is left out.

/// Tag of a length-delimited field: number and wire type 2.
const fn bytes_tag(field: u8) -> u8 {
    field << 3 | 2
}

const EVENT_PARTS: u8 = bytes_tag(1);
const MEASUREMENTS: u8 = bytes_tag(2);
const METADATA: u8 = bytes_tag(3);
const TIMESTAMP_NS: u8 = 4 << 3;
const CORRELATION_ID: u8 = bytes_tag(5);
const MAP_KEY: u8 = bytes_tag(1);
const MAP_VALUE: u8 = bytes_tag(2);
const INT_VALUE: u8 = 1 << 3;
const FLOAT_VALUE: u8 = 2 << 3 | 1;
const STRING_VALUE: u8 = bytes_tag(3);

/// A measurement's value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Measurement<'a> {
    /// A whole number.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// Text.
    Text(&'a str),
    /// JSON's null: a value with nothing set.
    Null,
}

/// Writes the name, split at every ".".
pub fn event_parts(out: &mut Vec<u8>, name: &str) {
    for part in name.split('.') {
        bytes_field(out, EVENT_PARTS, part.as_bytes());
    }
}

/// Writes one entry of `measurements`.
pub fn measurement(out: &mut Vec<u8>, key: &str, value: Measurement<'_>) {
    let value_len = match value {
        Measurement::Int(int) => 1 + varint_len(int.cast_unsigned()),
        Measurement::Float(_) => 1 + size_of::<f64>(),
        Measurement::Text(text) => field_len(text.len()),
        Measurement::Null => 0,
    };
    out.push(MEASUREMENTS);
    varint(out, (field_len(key.len()) + field_len(value_len)) as u64);
    bytes_field(out, MAP_KEY, key.as_bytes());
    out.push(MAP_VALUE);
    varint(out, value_len as u64);
    match value {
        Measurement::Int(int) => {
            out.push(INT_VALUE);
            varint(out, int.cast_unsigned());
        }
        Measurement::Float(float) => {
            out.push(FLOAT_VALUE);
            out.extend_from_slice(&float.to_le_bytes());
        }
        Measurement::Text(text) => bytes_field(out, STRING_VALUE, text.as_bytes()),
        Measurement::Null => {}
    }
}

/// Writes one entry of `metadata`.
pub fn metadata(out: &mut Vec<u8>, key: &str, value: &str) {
    out.push(METADATA);
    varint(out, (field_len(key.len()) + field_len(value.len())) as u64);
    bytes_field(out, MAP_KEY, key.as_bytes());
    bytes_field(out, MAP_VALUE, value.as_bytes());
}

/// Writes the time, nanoseconds since the Unix epoch.
pub fn timestamp_ns(out: &mut Vec<u8>, timestamp_ns: i64) {
    if timestamp_ns != 0 {
        out.push(TIMESTAMP_NS);
        varint(out, timestamp_ns.cast_unsigned());
    }
}

/// Writes the correlation id.
pub fn correlation_id(out: &mut Vec<u8>, correlation_id: &str) {
    if !correlation_id.is_empty() {
        bytes_field(out, CORRELATION_ID, correlation_id.as_bytes());
    }
}

fn bytes_field(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Bytes that a length-delimited field with a one-byte tag takes.
fn field_len(content: usize) -> usize {
    1 + varint_len(content as u64) + content
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        #[allow(clippy::cast_possible_truncation, reason = "the low seven bits are what is wanted")]
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    #[allow(clippy::cast_possible_truncation, reason = "it is below 0x80")]
    out.push(value as u8);
}

/// Seven bits to a byte, at least one byte.
fn varint_len(value: u64) -> usize {
    (70 - (value | 1).leading_zeros() as usize) / 7
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varint_len_is_what_varint_writes() {
        for shift in 0..64 {
            for value in [1u64 << shift, (1u64 << shift) - 1, u64::MAX] {
                let mut out = Vec::new();
                varint(&mut out, value);
                assert_eq!(varint_len(value), out.len(), "{value}");
            }
        }
    }
}
