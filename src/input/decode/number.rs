//! Common JSON numbers: integers that fit an int64, and decimal fractions without exponent.
//!
//! Every function reads at the start of a text and returns how many bytes it read, or [`None`] to leave the
//! number to the slow path.
#![allow(clippy::inline_always, reason = "measured: an inlined number takes half the time of a call")]

use super::{text::padded, wire::Measurement};
use std::num::NonZero;

/// Powers of ten that a double represents exactly.
const POWERS_OF_TEN: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];

/// A number of this many digits is always below 2^64.
const MAX_EXACT_DIGITS: usize = 19;

/// Powers of ten up to [`MAX_EXACT_DIGITS`]; the rest only makes the length a power of two.
const TENS: [u64; 32] = {
    let mut tens = [0; 32];
    let (mut power, mut exponent) = (1u64, 0);
    while exponent <= MAX_EXACT_DIGITS {
        tens[exponent] = power;
        power = power.wrapping_mul(10);
        exponent += 1;
    }
    tens
};

/// How many bytes are read for one number: a multiple of eight above [`MAX_EXACT_DIGITS`].
const WINDOW_BYTES: usize = 3 * 8;

/// Reads a number. The caller checks the byte after it: if that is a letter or a point, the number continues
/// and the result is not valid.
#[inline(always)]
pub(super) fn number(text: &[u8]) -> Option<(Measurement<'static>, usize)> {
    let (sign, whole, digits) = whole_part(text)?;
    let point = sign + digits;
    if text.get(point) != Some(&b'.') {
        return Some((Measurement::Int(signed(whole, sign)?), point));
    }
    let (fraction, fraction_digits) = digits_of(text.get(point + 1..)?)?;
    let end = point + 1 + fraction_digits;
    if fraction_digits == 0 {
        return None;
    }
    let exact =
        (digits + fraction_digits <= MAX_EXACT_DIGITS).then(|| whole * ten_to(fraction_digits) + fraction);
    let float = match (exact, POWERS_OF_TEN.get(fraction_digits)) {
        // Both are exact, so the quotient is the nearest double: W. D. Clinger, How to read floating point
        // numbers accurately, PLDI 1990.
        #[allow(clippy::cast_precision_loss, reason = "below 2^53")]
        (Some(mantissa), Some(power)) if mantissa < 1 << 53 => {
            let float = mantissa as f64 / power;
            if sign == 0 { float } else { -float }
        }
        _ => str::from_utf8(text.get(..end)?).ok()?.parse().ok()?,
    };
    Some((Measurement::Float(float), end))
}

/// Reads an integer that fits an int64. The caller checks the byte after it, as with [`number`].
#[inline(always)]
pub(super) fn integer(text: &[u8]) -> Option<(i64, usize)> {
    let (sign, whole, digits) = whole_part(text)?;
    Some((signed(whole, sign)?, sign + digits))
}

/// Reads `-?(0|[1-9][0-9]*)` and returns the sign's length, the absolute value, and the number of digits.
#[inline(always)]
fn whole_part(text: &[u8]) -> Option<(usize, u64, usize)> {
    let sign = usize::from(*text.first()? == b'-');
    let unsigned = text.get(sign..)?;
    let (value, digits) = digits_of(unsigned)?;
    let leading_zero = digits > 1 && unsigned.first() == Some(&b'0');
    (digits > 0 && !leading_zero).then_some((sign, value, digits))
}

/// The value with its sign, if it fits an int64.
#[inline(always)]
fn signed(whole: u64, sign: usize) -> Option<i64> {
    if sign == 0 { i64::try_from(whole).ok() } else { 0i64.checked_sub_unsigned(whole) }
}

/// Reads digits and returns their value and their count. None if there are more than [`MAX_EXACT_DIGITS`].
#[inline(always)]
fn digits_of(text: &[u8]) -> Option<(u64, usize)> {
    match text.first_chunk() {
        Some(window) => digits_of_window(window),
        None => last_digits(text),
    }
}

/// Reads digits near the end of a line.
#[cold]
fn last_digits(text: &[u8]) -> Option<(u64, usize)> {
    digits_of_window(&padded(text))
}

#[inline(always)]
fn digits_of_window(window: &[u8; WINDOW_BYTES]) -> Option<(u64, usize)> {
    let ([first, second, third], []) = window.as_chunks() else { return None };
    let (value, count) = leading_digits(*first);
    if count < 8 {
        return Some((value, count));
    }
    let (next, more) = leading_digits(*second);
    let value = value * ten_to(more) + next;
    if more < 8 {
        return Some((value, 8 + more));
    }
    let (next, more) = leading_digits(*third);
    (16 + more <= MAX_EXACT_DIGITS).then(|| (value * ten_to(more) + next, 16 + more))
}

/// A power of ten up to [`MAX_EXACT_DIGITS`].
#[inline(always)]
fn ten_to(exponent: usize) -> u64 {
    TENS[exponent % TENS.len()]
}

/// This byte repeated eight times.
const fn all(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// The value and the count of the digits at the start of eight characters.
#[inline(always)]
fn leading_digits(text: [u8; 8]) -> (u64, usize) {
    let word = u64::from_le_bytes(text);
    // The upper half of a digit is 3, and still is 3 when 6 is added.
    let upper = (word ^ all(0x30)) | (word.wrapping_add(all(6)) ^ all(0x30));
    let (digits, count) = match NonZero::new(upper & all(0xF0)) {
        None => (word, 8),
        // Move the digits to the end of the eight bytes and put zeros before them.
        Some(others) => {
            let count = others.trailing_zeros() / 8;
            (word << 1 << (63 - 8 * count), count)
        }
    };
    let word = digits & all(0x0F);
    // Combine neighbours into numbers of two, four and eight digits.
    let two = word.wrapping_mul(10 << 8 | 1) >> 8 & 0x00FF_00FF_00FF_00FF;
    let four = two.wrapping_mul(100 << 16 | 1) >> 16 & 0x0000_FFFF_0000_FFFF;
    (four.wrapping_mul(10_000 << 32 | 1) >> 32, count as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_end_at_the_first_other_byte() {
        for count in 0..=MAX_EXACT_DIGITS {
            let digits = &"1234567890123456789"[..count];
            for after in ["", ",", "}", " \"a long rest of the line\"", ":", "/"] {
                let expected = (digits.parse().unwrap_or(0), count);
                assert_eq!(
                    digits_of(format!("{digits}{after}").as_bytes()),
                    Some(expected),
                    "{digits}{after}"
                );
            }
        }
        assert_eq!(digits_of(b"12345678901234567890,"), None, "20 digits may not fit");
    }
}
