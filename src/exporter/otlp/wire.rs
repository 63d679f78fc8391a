//! Protobuf's wire format, as far as it is written without generated messages:
//! <https://protobuf.dev/programming-guides/encoding/>.
//!
//! Spans and log records are encoded once, when they are complete; only what may still change of them is
//! added when they are sent.

/// The wire types.
const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const LENGTH: u8 = 2;
const FIXED32: u8 = 5;

/// Appends a varint.
#[allow(clippy::cast_possible_truncation, reason = "seven bits at a time")]
#[inline]
pub fn varint(buffer: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        buffer.push(value as u8 | 0x80);
        value >>= 7;
    }
    buffer.push(value as u8);
}

/// The number of bytes of a varint.
#[inline]
pub fn varint_bytes(value: u64) -> usize {
    // Seven bits a byte, and one byte for zero.
    (70 - (value | 1).leading_zeros() as usize) / 7
}

/// The number of bytes of a field below 16 with some bytes.
#[inline]
pub fn field_bytes(length: usize) -> usize {
    1 + varint_bytes(length as u64) + length
}

/// Appends the start of a field with this many bytes, which follow.
#[inline]
pub fn length(buffer: &mut Vec<u8>, field: u8, bytes: usize) {
    tag(buffer, field, LENGTH);
    varint(buffer, bytes as u64);
}

/// Appends a field of a string, of bytes or of an encoded message.
#[inline]
pub fn bytes(buffer: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    length(buffer, field, bytes.len());
    buffer.extend_from_slice(bytes);
}

/// Appends a text, unless it is empty.
#[inline]
pub fn text(buffer: &mut Vec<u8>, field: u8, text: &str) {
    if !text.is_empty() {
        bytes(buffer, field, text.as_bytes());
    }
}

/// Appends an integer.
#[inline]
pub fn integer(buffer: &mut Vec<u8>, field: u8, value: u64) {
    tag(buffer, field, VARINT);
    varint(buffer, value);
}

/// Appends a count or a number of an enumeration, unless it is zero.
#[inline]
pub fn count(buffer: &mut Vec<u8>, field: u8, value: u32) {
    if value != 0 {
        integer(buffer, field, value.into());
    }
}

/// Appends eight bytes of a fixed length.
#[inline]
pub fn fixed64(buffer: &mut Vec<u8>, field: u8, value: u64) {
    tag(buffer, field, FIXED64);
    buffer.extend_from_slice(&value.to_le_bytes());
}

/// Appends a time in nanoseconds, unless it is zero.
#[inline]
pub fn time(buffer: &mut Vec<u8>, field: u8, value: u64) {
    if value != 0 {
        fixed64(buffer, field, value);
    }
}

/// Appends flags, unless there are none.
#[inline]
pub fn flags(buffer: &mut Vec<u8>, field: u8, value: u32) {
    if value != 0 {
        tag(buffer, field, FIXED32);
        buffer.extend_from_slice(&value.to_le_bytes());
    }
}

#[inline]
fn tag(buffer: &mut Vec<u8>, field: u8, wire_type: u8) {
    varint(buffer, u64::from(field) << 3 | u64::from(wire_type));
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::encoding::{encode_varint, encoded_len_varint};

    #[test]
    fn varints_are_those_of_prost() {
        let powers = (0..64).map(|bits| 1_u64 << bits);
        for value in powers.flat_map(|power| [power - 1, power]).chain([u64::MAX]) {
            let (mut own, mut expected) = (Vec::new(), Vec::new());
            varint(&mut own, value);
            encode_varint(value, &mut expected);
            assert_eq!((&own, varint_bytes(value)), (&expected, encoded_len_varint(value)), "{value}");
        }
    }
}
