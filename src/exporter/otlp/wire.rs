//! Protobuf's wire format, as far as it is written without generated messages:
//! <https://protobuf.dev/programming-guides/encoding/>.
//!
//! Spans and log records are encoded once, when they are complete. Only the fields that may still change are
//! added when they are sent.

use prost::encoding::{WireType, encode_varint, encoded_len_varint};

/// The number of bytes of a field with this many bytes of content. Its number is below 16.
#[inline]
pub fn field_bytes(length: usize) -> usize {
    let length_bytes = if length < 0x80 { 1 } else { encoded_len_varint(length as u64) };
    1 + length_bytes + length
}

/// Appends the start of a field with this many bytes, which follow.
#[inline]
pub fn length(buffer: &mut Vec<u8>, field: u8, bytes: usize) {
    tag(buffer, field, WireType::LengthDelimited);
    varint(buffer, bytes as u64);
}

/// Appends the start of a field and the start of the first field in it, like [`length`] twice. The numbers of
/// both are below 16.
#[allow(clippy::inline_always, reason = "see Attributes::append")]
#[inline(always)]
pub fn lengths(buffer: &mut Vec<u8>, outer: (u8, usize), inner: (u8, usize)) {
    let lengths = (u8::try_from(outer.1), u8::try_from(inner.1));
    if let (Ok(outer_bytes @ ..0x80), Ok(inner_bytes @ ..0x80)) = lengths {
        let tag = |field| field << 3 | WireType::LengthDelimited as u8;
        // At once: most fields are short.
        buffer.extend_from_slice(&[tag(outer.0), outer_bytes, tag(inner.0), inner_bytes]);
    } else {
        length(buffer, outer.0, outer.1);
        length(buffer, inner.0, inner.1);
    }
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
    tag(buffer, field, WireType::Varint);
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
    tag(buffer, field, WireType::SixtyFourBit);
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
        tag(buffer, field, WireType::ThirtyTwoBit);
        buffer.extend_from_slice(&value.to_le_bytes());
    }
}

#[inline]
fn tag(buffer: &mut Vec<u8>, field: u8, wire_type: WireType) {
    varint(buffer, u64::from(field) << 3 | wire_type as u64);
}

/// Appends an integer without its tag. Most lengths and all tags but one have one byte.
#[inline]
fn varint(buffer: &mut Vec<u8>, value: u64) {
    match u8::try_from(value) {
        Ok(byte @ ..0x80) => buffer.push(byte),
        _ => encode_varint(value, buffer),
    }
}
