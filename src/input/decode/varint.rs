//! Varints: seven bits to a byte, the lowest first, and a bit that says whether another byte follows.

/// The longest varint, written in one step.
pub(super) const VARINT_CHUNK_BYTES: usize = 10;

/// A value as a varint: in parts, so that they are written from registers.
#[derive(Clone, Copy)]
pub(super) struct Varint {
    /// The first bytes, lowest first.
    low: u64,
    /// The ninth and the tenth.
    high: u16,
    /// How many bytes count.
    pub(super) length: u8,
}

impl Varint {
    #[inline]
    pub(super) fn of(value: u64) -> Self {
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
    pub(super) fn bytes(self) -> [u8; VARINT_CHUNK_BYTES] {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_varint_is_as_prost_writes_it() {
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
