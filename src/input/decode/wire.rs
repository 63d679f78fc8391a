//! Writes the fields of a `TelemetryEvent` as protobuf wire bytes:
//! <https://protobuf.dev/programming-guides/encoding/>.
//!
//! The field numbers are those of `proto/snakepit_bridge.proto`. Fields may have any order on the wire. Like
//! prost, this omits a timestamp of 0 and an empty correlation id.
//!
//! A length precedes its content. One byte is reserved for it and filled in after the content is written.
//! Content of 128 bytes or more is then moved up, because its length takes more than one byte.

use super::{
    prefix::{EntryPrefix, MAP_KEY, MAP_VALUE, Map, PREFIX_BYTES, bytes_tag},
    text::{CHUNK_BYTES, ShortText},
    varint::{VARINT_CHUNK_BYTES, Varint},
};

const EVENT_PARTS: u8 = bytes_tag(1);
const TIMESTAMP_NS: u8 = 4 << 3;
const CORRELATION_ID: u8 = bytes_tag(5);
const INT_VALUE: u8 = 1 << 3;
const FLOAT_VALUE: u8 = 2 << 3 | 1;
const STRING_VALUE: u8 = bytes_tag(3);

/// The size of the block that a short entry is written to: a prefix, a length, a chunk of text.
const SHORT_ENTRY_BYTES: usize = PREFIX_BYTES + 1 + CHUNK_BYTES;

/// The value of a measurement.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Measurement<'a> {
    Int(i64),
    Float(f64),
    /// UTF-8.
    Text(&'a [u8]),
    /// A `TelemetryValue` with nothing set.
    Null,
}

/// Writes to a buffer of fixed size. Every method returns [`None`] if the buffer is full. Names, keys and
/// text values are UTF-8.
#[derive(Debug, Default)]
pub(super) struct Writer<'a> {
    buffer: &'a mut [u8],
    at: usize,
}

impl<'a> Writer<'a> {
    pub(super) fn new(buffer: &'a mut [u8]) -> Self {
        Self { buffer, at: 0 }
    }

    /// The number of bytes written so far.
    pub(super) fn written(&self) -> usize {
        self.at
    }

    /// The bytes written since [`written`](Self::written) returned `start`.
    pub(super) fn since(&self, start: usize) -> &[u8] {
        self.buffer.get(start..self.at).unwrap_or_default()
    }

    /// Writes the name, split at every ".".
    pub(super) fn event_parts(&mut self, name: &[u8]) -> Option<()> {
        name.split(|byte| *byte == b'.').try_for_each(|part| self.bytes_field(EVENT_PARTS, part))
    }

    /// Writes one entry of `measurements`.
    pub(super) fn measurement(&mut self, key: &[u8], value: Measurement<'_>) -> Option<()> {
        self.entry(Map::Measurements, key, |out| out.telemetry_value(value))
    }

    /// Writes one entry of `metadata`.
    pub(super) fn metadata(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        self.entry(Map::Metadata, key, |out| out.bytes(value))
    }

    /// Writes one entry of `metadata` whose value `value` writes.
    pub(super) fn metadata_of(
        &mut self,
        key: &[u8],
        value: impl FnOnce(&mut Self) -> Option<()>,
    ) -> Option<()> {
        self.entry(Map::Metadata, key, value)
    }

    /// Writes one entry that starts with `prefix` and whose value `value` writes.
    pub(super) fn entry_of(
        &mut self,
        prefix: &impl EntryPrefix,
        value: impl FnOnce(&mut Self) -> Option<()>,
    ) -> Option<()> {
        let entry = self.at + 1;
        let mut bytes = [0; PREFIX_BYTES];
        let length = prefix.write(&mut bytes);
        self.bytes(bytes.get(..length.into())?)?;
        self.block(value)?;
        self.close(entry)
    }

    /// Writes one entry of `metadata` with a short text, in one step.
    #[inline]
    pub(super) fn short_text_entry(&mut self, prefix: &impl EntryPrefix, text: ShortText<'_>) -> Option<()> {
        let (block, value) = self.short_entry(prefix, text.length)?;
        block.get_mut(value..)?.first_chunk_mut().map(|bytes| *bytes = *text.chunk)
    }

    /// Writes one entry of `measurements` with an integer, in one step.
    #[inline]
    pub(super) fn int_entry(&mut self, prefix: &impl EntryPrefix, value: i64) -> Option<()> {
        let varint = Varint::of(value.cast_unsigned());
        let (block, value) = self.short_entry(prefix, varint.length + 1)?;
        let [tag, rest @ ..] = block.get_mut(value..)?.first_chunk_mut::<{ 1 + VARINT_CHUNK_BYTES }>()?;
        *tag = INT_VALUE;
        *rest = varint.bytes();
        Some(())
    }

    /// Writes one entry of `measurements` with a float, in one step.
    #[inline]
    pub(super) fn float_entry(&mut self, prefix: &impl EntryPrefix, value: f64) -> Option<()> {
        let (block, at) = self.short_entry(prefix, 1 + 8)?;
        let [tag, rest @ ..] = block.get_mut(at..)?.first_chunk_mut::<{ 1 + 8 }>()?;
        *tag = FLOAT_VALUE;
        *rest = value.to_le_bytes();
        Some(())
    }

    /// Writes an entry except its value, which is short, and returns the entry's block and the value's
    /// position in it.
    #[inline]
    fn short_entry(
        &mut self,
        prefix: &impl EntryPrefix,
        value_len: u8,
    ) -> Option<(&mut [u8; SHORT_ENTRY_BYTES], usize)> {
        let block: &mut [u8; SHORT_ENTRY_BYTES] = self.buffer.get_mut(self.at..)?.first_chunk_mut()?;
        let length = prefix.write(block.first_chunk_mut()?);
        // The length is below PREFIX_BYTES. The remainder lets the compiler drop bounds checks.
        let prefix_len = usize::from(length) % PREFIX_BYTES;
        // The entry's length does not count its tag and itself (2 bytes), but does count the value's length
        // (1 byte).
        block[1] = length.wrapping_sub(2 - 1).wrapping_add(value_len);
        block[prefix_len] = value_len;
        self.at += prefix_len + 1 + usize::from(value_len);
        Some((block, prefix_len + 1))
    }

    fn entry(&mut self, map: Map, key: &[u8], value: impl FnOnce(&mut Self) -> Option<()>) -> Option<()> {
        self.byte(map.tag())?;
        self.block(|out| {
            out.bytes_field(MAP_KEY, key)?;
            out.byte(MAP_VALUE)?;
            out.block(value)
        })
    }

    /// Writes the content of a `TelemetryValue`, without its length.
    pub(super) fn telemetry_value(&mut self, value: Measurement<'_>) -> Option<()> {
        match value {
            Measurement::Int(int) => {
                self.byte(INT_VALUE)?;
                self.varint(int.cast_unsigned())
            }
            Measurement::Float(float) => {
                self.byte(FLOAT_VALUE)?;
                self.bytes(&float.to_le_bytes())
            }
            Measurement::Text(text) => self.bytes_field(STRING_VALUE, text),
            Measurement::Null => Some(()),
        }
    }

    /// Writes the timestamp, nanoseconds since the Unix epoch.
    pub(super) fn timestamp_ns(&mut self, timestamp_ns: i64) -> Option<()> {
        if timestamp_ns == 0 {
            return Some(());
        }
        self.byte(TIMESTAMP_NS)?;
        self.varint(timestamp_ns.cast_unsigned())
    }

    pub(super) fn correlation_id(&mut self, correlation_id: &[u8]) -> Option<()> {
        if correlation_id.is_empty() {
            return Some(());
        }
        self.bytes_field(CORRELATION_ID, correlation_id)
    }

    /// Writes bytes without tag and length.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Option<()> {
        self.buffer.get_mut(self.at..)?.get_mut(..bytes.len())?.copy_from_slice(bytes);
        self.at += bytes.len();
        Some(())
    }

    fn byte(&mut self, byte: u8) -> Option<()> {
        *self.buffer.get_mut(self.at)? = byte;
        self.at += 1;
        Some(())
    }

    #[inline]
    fn bytes_field(&mut self, tag: u8, bytes: &[u8]) -> Option<()> {
        if let Ok(length @ 0..0x80) = u8::try_from(bytes.len()) {
            let end = self.at + 2 + bytes.len();
            let [tag_byte, length_byte, rest @ ..] = self.buffer.get_mut(self.at..end)? else { return None };
            (*tag_byte, *length_byte) = (tag, length);
            rest.copy_from_slice(bytes);
            self.at = end;
            return Some(());
        }
        self.byte(tag)?;
        self.varint(bytes.len() as u64)?;
        self.bytes(bytes)
    }

    /// Writes content with its length before it.
    fn block(&mut self, content: impl FnOnce(&mut Self) -> Option<()>) -> Option<()> {
        let length = self.at;
        self.byte(0)?;
        content(self)?;
        self.close(length)
    }

    /// Fills in the length of everything written after the byte at `length`.
    fn close(&mut self, length: usize) -> Option<()> {
        let start = length + 1;
        let bytes = self.at.checked_sub(start)?;
        if let (Ok(byte @ 0..0x80), Some(length)) = (u8::try_from(bytes), self.buffer.get_mut(length)) {
            *length = byte;
            return Some(());
        }
        let varint = Varint::of(bytes as u64);
        let content = length + usize::from(varint.length);
        self.buffer.get_mut(..content + bytes)?.copy_within(start..start + bytes, content);
        self.buffer.get_mut(length..content)?.copy_from_slice(varint.bytes().get(..varint.length.into())?);
        self.at = content + bytes;
        Some(())
    }

    #[inline]
    fn varint(&mut self, value: u64) -> Option<()> {
        let varint = Varint::of(value);
        let length = usize::from(varint.length);
        let rest = self.buffer.get_mut(self.at..)?;
        match rest.first_chunk_mut() {
            Some(chunk) => *chunk = varint.bytes(),
            None => rest.get_mut(..length)?.copy_from_slice(varint.bytes().get(..length)?),
        }
        self.at += length;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writing_fails_if_the_buffer_is_too_small() {
        let value = [b'v'; 200];
        let mut buffer = [0; 300];
        let mut out = Writer::new(&mut buffer);
        assert_eq!(out.metadata(b"key", &value), Some(()));
        let (needed, whole) = (out.written(), buffer);
        for size in 0..needed {
            assert_eq!(Writer::new(&mut buffer[..size]).metadata(b"key", &value), None, "{size}");
        }
        let mut exact = Writer::new(&mut buffer[..needed]);
        assert_eq!(exact.metadata(b"key", &value), Some(()));
        assert_eq!(buffer[..needed], whole[..needed]);
    }
}
