//! Varints: seven bits in each byte, lowest first; the eighth bit is set if another byte follows.

/// The longest varint in bytes. It is written in one step.
pub(super) const VARINT_CHUNK_BYTES: usize = 10;

/// A value as a varint, in parts that fit registers.
#[derive(Clone, Copy)]
pub(super) struct Varint {
    /// The first eight bytes, lowest first.
    low: u64,
    /// The ninth and the tenth.
    high: u16,
    /// The number of bytes in use.
    pub(super) length: u8,
}

impl Varint {
    #[inline]
    pub(super) fn of(value: u64) -> Self {
        const MORE: u64 = u64::from_ne_bytes([0x80; 8]);
        /// Keeps the lower bits and moves the bits above them up by `shift`.
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
            // All bytes but the last have the bit that another byte follows.
            let more = MORE & !(u64::MAX << (8 * (length - 1) % 64));
            Self { low: bytes | more, high: 0, length }
        } else {
            // Only bit 63 goes to the tenth byte. If it is set, the ninth byte is not the last.
            let high = u16::try_from(upper | (upper & 0x80) << 1).unwrap_or_default();
            Self { low: bytes | MORE, high, length }
        }
    }

    /// The bytes, followed by zeros.
    #[inline]
    pub(super) fn bytes(self) -> [u8; VARINT_CHUNK_BYTES] {
        let mut bytes = [0; VARINT_CHUNK_BYTES];
        let [low @ .., ninth, tenth] = &mut bytes;
        [*ninth, *tenth] = self.high.to_le_bytes();
        low.copy_from_slice(&self.low.to_le_bytes());
        bytes
    }
}

/// The number of bytes at seven bits each, at least one.
#[inline]
fn varint_len(value: u64) -> u8 {
    #[allow(clippy::cast_possible_truncation, reason = "at most 10")]
    let length = ((70 - (value | 1).leading_zeros()) / 7) as u8;
    length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_equal_those_of_prost() {
        for shift in 0..64 {
            for value in [1u64 << shift, (1u64 << shift) - 1, u64::MAX] {
                let mut expected = Vec::new();
                prost::encoding::encode_varint(value, &mut expected);
                let varint = Varint::of(value);
                assert_eq!(varint.bytes()[..varint.length.into()], expected, "{value}");
            }
        }
    }
}
