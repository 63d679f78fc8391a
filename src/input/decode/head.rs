//! The start of a map's entry on the wire: everything before its value's length.
//!
//! It is written as a block of fixed size, which what comes next overwrites where it is too long.

use super::text::ShortText;

/// Tag of a length-delimited field: number and wire type 2.
pub(super) const fn bytes_tag(field: u8) -> u8 {
    field << 3 | 2
}

const MEASUREMENTS: u8 = bytes_tag(2);
const METADATA: u8 = bytes_tag(3);
pub(super) const MAP_KEY: u8 = bytes_tag(1);
pub(super) const MAP_VALUE: u8 = bytes_tag(2);

/// The longest [`Head`], in bytes.
pub const HEAD_BYTES: usize = 32;

/// A map of the event.
#[derive(Debug, Clone, Copy)]
pub enum Map {
    /// Its `measurements`.
    Measurements,
    /// Its `metadata`.
    Metadata,
}

impl Map {
    /// The tag of its entries.
    pub(super) fn tag(self) -> u8 {
        match self {
            Self::Measurements => MEASUREMENTS,
            Self::Metadata => METADATA,
        }
    }
}

/// The bytes of a map's entry up to its value's length.
pub trait Head {
    /// Writes them, with anything in the place of the entry's length and behind them, and returns how many they are: less
    /// than there is room for.
    fn write(&self, place: &mut [u8; HEAD_BYTES]) -> u8;
}

/// The head of entries with this key.
#[derive(Debug, Clone, Copy)]
pub struct KeyHead<'a> {
    map: Map,
    key: ShortText<'a>,
}

impl<'a> KeyHead<'a> {
    /// None if the key is too long for it to pay.
    #[inline]
    pub fn new(map: Map, key: ShortText<'a>) -> Option<Self> {
        // One byte is left unused, so that the length is below the size.
        (usize::from(key.length) < HEAD_BYTES - 5).then_some(Self { map, key })
    }
}

impl Head for KeyHead<'_> {
    #[inline]
    fn write(&self, place: &mut [u8; HEAD_BYTES]) -> u8 {
        let [tag, _, key_tag, key_len, rest @ ..] = place;
        let length = self.key.length;
        (*tag, *key_tag, *key_len) = (self.map.tag(), MAP_KEY, length);
        // What is behind the key is overwritten or never used.
        for (place, byte) in rest.iter_mut().zip(self.key.chunk) {
            *place = *byte;
        }
        rest[usize::from(length) % (HEAD_BYTES - 4)] = MAP_VALUE;
        length + 5
    }
}

/// The same, made once for many entries.
#[derive(Debug, Clone, Copy)]
pub struct MadeHead {
    bytes: [u8; HEAD_BYTES],
    length: u8,
}

impl From<KeyHead<'_>> for MadeHead {
    fn from(head: KeyHead<'_>) -> Self {
        let mut bytes = [0; HEAD_BYTES];
        let length = head.write(&mut bytes);
        Self { bytes, length }
    }
}

impl Head for MadeHead {
    #[inline]
    fn write(&self, place: &mut [u8; HEAD_BYTES]) -> u8 {
        *place = self.bytes;
        self.length
    }
}
