//! Writing a `TelemetryEvent`'s fields as protobuf wire bytes: <https://protobuf.dev/programming-guides/encoding/>.
//!
//! The field numbers are those of `proto/snakepit_bridge.proto`. Fields may stand in any order on the wire. As
//! prost does, a default timestamp or correlation id is left out.
//!
//! Lengths precede what they are of. One byte is left for each and filled in when its content is there; content of 128
//! bytes or more is moved up to make room for the rest of its length.

use super::{
    head::{HEAD_BYTES, Head, MAP_KEY, MAP_VALUE, Map, bytes_tag},
    text::{CHUNK_BYTES, ShortText},
    varint::{VARINT_CHUNK_BYTES, Varint},
};

const EVENT_PARTS: u8 = bytes_tag(1);
const TIMESTAMP_NS: u8 = 4 << 3;
const CORRELATION_ID: u8 = bytes_tag(5);
const INT_VALUE: u8 = 1 << 3;
const FLOAT_VALUE: u8 = 2 << 3 | 1;
const STRING_VALUE: u8 = bytes_tag(3);

/// What a short entry is written to, all of it or not: a head, a length, a chunk.
const SHORT_ENTRY_BYTES: usize = HEAD_BYTES + 1 + CHUNK_BYTES;

/// A measurement's value. Text is UTF-8, as all names, keys and values here.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Measurement<'a> {
    /// A whole number.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// Text.
    Text(&'a [u8]),
    /// JSON's null: a value with nothing set.
    Null,
}

/// Writes to memory that is there already. Every method gives up ([`None`]) when that has no more room.
#[derive(Debug, Default)]
pub struct Writer<'a> {
    room: &'a mut [u8],
    at: usize,
}

impl<'a> Writer<'a> {
    /// A writer at the start of a room.
    pub fn new(room: &'a mut [u8]) -> Self {
        Self { room, at: 0 }
    }

    /// How many bytes have been written.
    pub fn written(&self) -> usize {
        self.at
    }

    /// What has been written since so many bytes were.
    pub fn since(&self, written: usize) -> &[u8] {
        self.room.get(written..self.at).unwrap_or_default()
    }

    /// Writes the name, split at every ".".
    pub fn event_parts(&mut self, name: &[u8]) -> Option<()> {
        name.split(|byte| *byte == b'.').try_for_each(|part| self.bytes_field(EVENT_PARTS, part))
    }

    /// Writes one entry of `measurements`.
    pub fn measurement(&mut self, key: &[u8], value: Measurement<'_>) -> Option<()> {
        self.entry(Map::Measurements, key, |out| out.telemetry_value(value))
    }

    /// Writes one entry of `metadata`.
    pub fn metadata(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        self.entry(Map::Metadata, key, |out| out.bytes(value))
    }

    /// Writes one entry of `metadata` whose value is yet to be written.
    pub fn metadata_of(&mut self, key: &[u8], value: impl FnOnce(&mut Self) -> Option<()>) -> Option<()> {
        self.entry(Map::Metadata, key, value)
    }

    /// Writes one entry of `measurements` or `metadata`, of a key's head and any value.
    pub fn entry_of(&mut self, head: &impl Head, value: impl FnOnce(&mut Self) -> Option<()>) -> Option<()> {
        let entry = self.at + 1;
        let mut bytes = [0; HEAD_BYTES];
        let length = head.write(&mut bytes);
        self.bytes(bytes.get(..length.into())?)?;
        self.block(value)?;
        self.close(entry)
    }

    /// The same for a short value, in one step.
    #[inline]
    pub fn short_text_entry(&mut self, head: &impl Head, text: ShortText<'_>) -> Option<()> {
        let (room, value) = self.short_entry(head, text.length)?;
        room.get_mut(value..)?.first_chunk_mut().map(|place| *place = *text.chunk)
    }

    /// The same for a whole number.
    #[inline]
    pub fn int_entry(&mut self, head: &impl Head, value: i64) -> Option<()> {
        let varint = Varint::of(value.cast_unsigned());
        let (room, value) = self.short_entry(head, varint.length + 1)?;
        let [tag, rest @ ..] = room.get_mut(value..)?.first_chunk_mut::<{ 1 + VARINT_CHUNK_BYTES }>()?;
        *tag = INT_VALUE;
        *rest = varint.bytes();
        Some(())
    }

    /// The same for any other number.
    #[inline]
    pub fn float_entry(&mut self, head: &impl Head, value: f64) -> Option<()> {
        let (room, at) = self.short_entry(head, 1 + 8)?;
        let [tag, rest @ ..] = room.get_mut(at..)?.first_chunk_mut::<{ 1 + 8 }>()?;
        *tag = FLOAT_VALUE;
        *rest = value.to_le_bytes();
        Some(())
    }

    /// Writes an entry but for its value, which is short, and returns where that goes.
    #[inline]
    fn short_entry(
        &mut self,
        head: &impl Head,
        value_len: u8,
    ) -> Option<(&mut [u8; SHORT_ENTRY_BYTES], usize)> {
        let room: &mut [u8; SHORT_ENTRY_BYTES] = self.room.get_mut(self.at..)?.first_chunk_mut()?;
        let length = head.write(room.first_chunk_mut()?);
        // It is below that; saying so saves checks.
        let head_len = usize::from(length) % HEAD_BYTES;
        // Before what an entry's length counts stand its tag and that length; the value's length is behind the head.
        room[1] = length.wrapping_sub(2 - 1).wrapping_add(value_len);
        room[head_len] = value_len;
        self.at += head_len + 1 + usize::from(value_len);
        Some((room, head_len + 1))
    }

    fn entry(&mut self, map: Map, key: &[u8], value: impl FnOnce(&mut Self) -> Option<()>) -> Option<()> {
        self.byte(map.tag())?;
        self.block(|out| {
            out.bytes_field(MAP_KEY, key)?;
            out.byte(MAP_VALUE)?;
            out.block(value)
        })
    }

    /// Writes a `TelemetryValue`, less its length.
    pub fn telemetry_value(&mut self, value: Measurement<'_>) -> Option<()> {
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

    /// Writes the time, nanoseconds since the Unix epoch.
    pub fn timestamp_ns(&mut self, timestamp_ns: i64) -> Option<()> {
        if timestamp_ns == 0 {
            return Some(());
        }
        self.byte(TIMESTAMP_NS)?;
        self.varint(timestamp_ns.cast_unsigned())
    }

    /// Writes the correlation id.
    pub fn correlation_id(&mut self, correlation_id: &[u8]) -> Option<()> {
        if correlation_id.is_empty() {
            return Some(());
        }
        self.bytes_field(CORRELATION_ID, correlation_id)
    }

    /// Writes bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) -> Option<()> {
        self.room.get_mut(self.at..)?.get_mut(..bytes.len())?.copy_from_slice(bytes);
        self.at += bytes.len();
        Some(())
    }

    fn byte(&mut self, byte: u8) -> Option<()> {
        *self.room.get_mut(self.at)? = byte;
        self.at += 1;
        Some(())
    }

    #[inline]
    fn bytes_field(&mut self, tag: u8, bytes: &[u8]) -> Option<()> {
        if let Ok(length @ 0..0x80) = u8::try_from(bytes.len()) {
            let end = self.at + 2 + bytes.len();
            let [tag_place, length_place, rest @ ..] = self.room.get_mut(self.at..end)? else { return None };
            (*tag_place, *length_place) = (tag, length);
            rest.copy_from_slice(bytes);
            self.at = end;
            return Some(());
        }
        self.byte(tag)?;
        self.varint(bytes.len() as u64)?;
        self.bytes(bytes)
    }

    /// Writes content and, before it, its length.
    fn block(&mut self, content: impl FnOnce(&mut Self) -> Option<()>) -> Option<()> {
        let length = self.at;
        self.byte(0)?;
        content(self)?;
        self.close(length)
    }

    /// Fills in the length of all that was written behind the byte at `length`.
    fn close(&mut self, length: usize) -> Option<()> {
        let start = length + 1;
        let bytes = self.at.checked_sub(start)?;
        if let (Ok(byte @ 0..0x80), Some(place)) = (u8::try_from(bytes), self.room.get_mut(length)) {
            *place = byte;
            return Some(());
        }
        let varint = Varint::of(bytes as u64);
        let content = length + usize::from(varint.length);
        self.room.get_mut(..content + bytes)?.copy_within(start..start + bytes, content);
        self.room.get_mut(length..content)?.copy_from_slice(varint.bytes().get(..varint.length.into())?);
        self.at = content + bytes;
        Some(())
    }

    #[inline]
    fn varint(&mut self, value: u64) -> Option<()> {
        let varint = Varint::of(value);
        let length = usize::from(varint.length);
        let room = self.room.get_mut(self.at..)?;
        match room.first_chunk_mut() {
            Some(place) => *place = varint.bytes(),
            None => room.get_mut(..length)?.copy_from_slice(varint.bytes().get(..length)?),
        }
        self.at += length;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_gives_up_when_the_room_is_too_small() {
        let value = [b'v'; 200];
        let mut room = [0; 300];
        let mut out = Writer::new(&mut room);
        assert_eq!(out.metadata(b"key", &value), Some(()));
        let (needed, whole) = (out.written(), room);
        for size in 0..needed {
            assert_eq!(Writer::new(&mut room[..size]).metadata(b"key", &value), None, "{size}");
        }
        let mut exact = Writer::new(&mut room[..needed]);
        assert_eq!(exact.metadata(b"key", &value), Some(()));
        assert_eq!(room[..needed], whole[..needed]);
    }
}
