//! The start of a map entry on the wire: everything before the length of its value.
//!
//! It is written as a block of fixed size. The value overwrites the unused part of that block.

use super::text::ShortText;

/// The tag of a length-delimited field: its number and wire type 2.
pub(super) const fn bytes_tag(field: u8) -> u8 {
    field << 3 | 2
}

const MEASUREMENTS: u8 = bytes_tag(2);
const METADATA: u8 = bytes_tag(3);
pub(super) const MAP_KEY: u8 = bytes_tag(1);
pub(super) const MAP_VALUE: u8 = bytes_tag(2);

/// The size of the block that an [`EntryPrefix`] is written to.
pub(super) const PREFIX_BYTES: usize = 32;

/// A map field of the event.
#[derive(Debug, Clone, Copy)]
pub(super) enum Map {
    Measurements,
    Metadata,
}

impl Map {
    /// The tag of the map's entries.
    pub(super) fn tag(self) -> u8 {
        match self {
            Self::Measurements => MEASUREMENTS,
            Self::Metadata => METADATA,
        }
    }
}

/// The bytes of a map entry before the length of its value.
pub(super) trait EntryPrefix {
    /// Writes the prefix and returns its length, which is below [`PREFIX_BYTES`]. The byte of the entry's
    /// length, and the bytes after the prefix, have no meaning yet.
    fn write(&self, block: &mut [u8; PREFIX_BYTES]) -> u8;
}

/// The prefix of entries with this key.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeyPrefix<'a> {
    map: Map,
    key: ShortText<'a>,
}

impl<'a> KeyPrefix<'a> {
    /// None if the key does not fit into the block.
    #[inline]
    pub(super) fn new(map: Map, key: ShortText<'a>) -> Option<Self> {
        // One byte is left unused, so that the length is below the block's size.
        (usize::from(key.length) < PREFIX_BYTES - 5).then_some(Self { map, key })
    }
}

impl EntryPrefix for KeyPrefix<'_> {
    #[inline]
    fn write(&self, block: &mut [u8; PREFIX_BYTES]) -> u8 {
        let [tag, _, key_tag, key_len, rest @ ..] = block;
        let length = self.key.length;
        (*tag, *key_tag, *key_len) = (self.map.tag(), MAP_KEY, length);
        // This copies bytes after the key as well; they are overwritten or never used.
        for (byte, source) in rest.iter_mut().zip(self.key.chunk) {
            *byte = *source;
        }
        rest[usize::from(length) % (PREFIX_BYTES - 4)] = MAP_VALUE;
        length + 5
    }
}

/// A prefix that was written once, for many entries.
#[derive(Debug, Clone, Copy)]
pub(super) struct CachedPrefix {
    bytes: [u8; PREFIX_BYTES],
    length: u8,
}

impl From<KeyPrefix<'_>> for CachedPrefix {
    fn from(prefix: KeyPrefix<'_>) -> Self {
        let mut bytes = [0; PREFIX_BYTES];
        let length = prefix.write(&mut bytes);
        Self { bytes, length }
    }
}

impl EntryPrefix for CachedPrefix {
    #[inline]
    fn write(&self, block: &mut [u8; PREFIX_BYTES]) -> u8 {
        *block = self.bytes;
        self.length
    }
}
