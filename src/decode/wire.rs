//! Writing a `TelemetryEvent`'s fields as protobuf wire bytes: <https://protobuf.dev/programming-guides/encoding/>.
//!
//! The field numbers are those of `proto/snakepit_bridge.proto`. Fields may stand in any order on the wire. As
//! prost does, a default timestamp or correlation id is left out.
//!
//! Lengths precede what they are of. One byte is left for each and filled in when its content is there; content of 128
//! bytes or more is moved up to make room for the rest of its length.

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

/// The longest varint, written in one step.
const VARINT_CHUNK_BYTES: usize = 10;

/// The longest [`Head`].
const HEAD_BYTES: usize = 32;

/// How many bytes of text are written in one step.
pub const CHUNK_BYTES: usize = 32;

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
#[derive(Debug)]
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

    /// Writes the name, split at every ".".
    pub fn event_parts(&mut self, name: &[u8]) -> Option<()> {
        name.split(|byte| *byte == b'.').try_for_each(|part| self.bytes_field(EVENT_PARTS, part))
    }

    /// Writes one entry of `measurements`.
    pub fn measurement(&mut self, key: &[u8], value: Measurement<'_>) -> Option<()> {
        self.entry(MEASUREMENTS, key, |out| out.telemetry_value(value))
    }

    /// Writes one entry of `metadata`.
    pub fn metadata(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        self.entry(METADATA, key, |out| out.bytes(value))
    }

    /// Writes one entry of `metadata` whose value is yet to be written.
    pub fn metadata_of(&mut self, key: &[u8], value: impl FnOnce(&mut Self) -> Option<()>) -> Option<()> {
        self.entry(METADATA, key, value)
    }

    /// Writes one entry of `measurements` or `metadata`, of a key's head and any value.
    pub fn entry_of(&mut self, head: &Head, value: impl FnOnce(&mut Self) -> Option<()>) -> Option<()> {
        let entry = self.at + 1;
        self.bytes(head.bytes.get(..usize::from(head.length))?)?;
        self.block(value)?;
        self.close(entry)
    }

    /// The same for a short value, the first bytes of a chunk, in one step.
    #[inline]
    pub fn short_text_entry(&mut self, head: &Head, chunk: &[u8; CHUNK_BYTES], length: u8) -> Option<()> {
        let (room, value) = self.short_entry(head, length)?;
        room.get_mut(value..)?.first_chunk_mut().map(|place| *place = *chunk)
    }

    /// The same for a whole number.
    #[inline]
    pub fn int_entry(&mut self, head: &Head, value: i64) -> Option<()> {
        let varint = Varint::of(value.cast_unsigned());
        let (room, value) = self.short_entry(head, varint.length + 1)?;
        let [tag, rest @ ..] = room.get_mut(value..)?.first_chunk_mut::<{ 1 + VARINT_CHUNK_BYTES }>()?;
        *tag = INT_VALUE;
        *rest = varint.bytes();
        Some(())
    }

    /// The same for any other number.
    #[inline]
    pub fn float_entry(&mut self, head: &Head, value: f64) -> Option<()> {
        let (room, at) = self.short_entry(head, 1 + 8)?;
        let [tag, rest @ ..] = room.get_mut(at..)?.first_chunk_mut::<{ 1 + 8 }>()?;
        *tag = FLOAT_VALUE;
        *rest = value.to_le_bytes();
        Some(())
    }

    /// Writes an entry but for its value, which is short, and returns where that goes.
    #[inline]
    fn short_entry(&mut self, head: &Head, value_len: u8) -> Option<(&mut [u8; SHORT_ENTRY_BYTES], usize)> {
        let room: &mut [u8; SHORT_ENTRY_BYTES] = self.room.get_mut(self.at..)?.first_chunk_mut()?;
        *room.first_chunk_mut()? = head.bytes;
        // It is below that; saying so saves checks.
        let head_len = usize::from(head.length) % HEAD_BYTES;
        // Before what an entry's length counts stand its tag and that length; the value's length is behind the head.
        room[1] = head.length - 2 + 1 + value_len;
        room[head_len] = value_len;
        self.at += head_len + 1 + usize::from(value_len);
        Some((room, head_len + 1))
    }

    fn entry(&mut self, tag: u8, key: &[u8], value: impl FnOnce(&mut Self) -> Option<()>) -> Option<()> {
        self.byte(tag)?;
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

/// A value as a varint: in parts, so that they are written from registers.
#[derive(Clone, Copy)]
struct Varint {
    /// The first bytes, lowest first.
    low: u64,
    /// The ninth and the tenth.
    high: u16,
    /// How many bytes count.
    length: u8,
}

impl Varint {
    #[inline]
    fn of(value: u64) -> Self {
        const MORE: u64 = u64::from_ne_bytes([0x80; 8]);
        /// The lower bits as they are and those above moved up, so that each part gets a bit to spare.
        const fn spread(value: u64, lower: u64, shift: u32) -> u64 {
            value & lower | (value & !lower) << shift
        }
        if value < 0x80 {
            return Self { low: value, high: 0, length: 1 };
        }
        let halves = spread(value & ((1 << 56) - 1), (1 << 28) - 1, 4);
        let quarters = spread(halves, 0x0000_3FFF_0000_3FFF, 2);
        let bytes = spread(quarters, 0x007F_007F_007F_007F, 1);
        let (length, upper) = (varint_len(value), value >> 56);
        if upper == 0 {
            // All bytes but the last one say that another one follows.
            let more = MORE & !(u64::MAX << (8 * (length - 1) % 64));
            Self { low: bytes | more, high: 0, length }
        } else {
            // The highest bit is alone in the tenth byte, and says of the ninth that it is not the last.
            let high = u16::try_from(upper | (upper & 0x80) << 1).unwrap_or_default();
            Self { low: bytes | MORE, high, length }
        }
    }

    /// The bytes, and zeroes behind them.
    #[inline]
    fn bytes(self) -> [u8; VARINT_CHUNK_BYTES] {
        let mut bytes = [0; VARINT_CHUNK_BYTES];
        let [low @ .., ninth, tenth] = &mut bytes;
        [*ninth, *tenth] = self.high.to_le_bytes();
        low.copy_from_slice(&self.low.to_le_bytes());
        bytes
    }
}

/// Seven bits to a byte, at least one byte.
#[inline]
fn varint_len(value: u64) -> u8 {
    #[allow(clippy::cast_possible_truncation, reason = "it is ten at most")]
    let length = ((70 - (value | 1).leading_zeros()) / 7) as u8;
    length
}

/// The bytes of a map's entry up to its value's length, made once for many entries with the same key.
#[derive(Debug, Clone, Copy)]
pub struct Head {
    /// With a 0 in the place of the entry's length, then unused bytes.
    bytes: [u8; HEAD_BYTES],
    length: u8,
}

impl Head {
    /// For entries of `measurements`. None if the key is too long for it to pay.
    pub fn of_measurement(key: &[u8]) -> Option<Self> {
        Self::new(MEASUREMENTS, key)
    }

    /// The same for entries of `metadata`.
    pub fn of_metadata(key: &[u8]) -> Option<Self> {
        Self::new(METADATA, key)
    }

    #[inline]
    fn new(tag: u8, key: &[u8]) -> Option<Self> {
        let mut bytes = [0; HEAD_BYTES];
        let length = u8::try_from(key.len()).ok()?;
        let [first, _, key_tag, key_len, rest @ ..] = &mut bytes;
        (*first, *key_tag, *key_len) = (tag, MAP_KEY, length);
        rest.get_mut(..key.len())?.copy_from_slice(key);
        *rest.get_mut(key.len())? = MAP_VALUE;
        // The longest key leaves one byte unused, so that this is below the size.
        let length = length + 5;
        (usize::from(length) < HEAD_BYTES).then_some(Self { bytes, length })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varint_len_is_what_varint_writes() {
        for shift in 0..64 {
            for value in [1u64 << shift, (1u64 << shift) - 1, u64::MAX] {
                let mut room = [0; VARINT_CHUNK_BYTES];
                let mut out = Writer::new(&mut room);
                assert_eq!(out.varint(value), Some(()));
                assert_eq!(usize::from(varint_len(value)), out.written(), "{value}");
            }
        }
    }

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
