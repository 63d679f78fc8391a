//! The text of JSON strings, looked at in chunks.

use super::{json, wire::CHUNK_BYTES};
use wide::{i8x32, u8x32};

/// The bytes before the first quote, backslash or control character, or all. None if they are not UTF-8.
#[inline]
pub(super) fn plain_run(text: &[u8]) -> Option<&[u8]> {
    let (length, ascii) = run_length(text);
    text.get(..length).filter(|run| ascii || str::from_utf8(run).is_ok())
}

/// How many bytes there are before the first quote, backslash or control character, or in all, and whether they are
/// ASCII.
#[inline]
pub(super) fn run_length(text: &[u8]) -> (usize, bool) {
    let (mut length, mut ascii) = (0, true);
    loop {
        let rest = text.get(length..).unwrap_or_default();
        let (special, beyond_ascii) = match (rest.first_chunk(), text.last_chunk()) {
            (Some(chunk), _) => classify(*chunk),
            // The last bytes again, and those in front of them shifted out; behind the text is what ends a string.
            (None, Some(chunk)) => {
                let (special, beyond_ascii) = classify(*chunk);
                let known = CHUNK_BYTES - rest.len();
                let behind = u64::MAX << rest.len();
                let special = u64::from(special) >> known | behind;
                #[allow(clippy::cast_possible_truncation, reason = "a bit for each byte of a chunk")]
                (special as u32, (u64::from(beyond_ascii) >> known) as u32)
            }
            (None, None) => classify(padded(rest)),
        };
        if special != 0 {
            ascii &= beyond_ascii & below_first(special) == 0;
            return (length + special.trailing_zeros() as usize, ascii);
        }
        length += CHUNK_BYTES;
        ascii &= beyond_ascii == 0;
    }
}

/// The chunk that starts with a string's content, and how long that is, if it is ASCII and ends with a quote there.
#[inline]
pub(super) fn short_string(text: &[u8]) -> Option<(&[u8; CHUNK_BYTES], u8)> {
    let bytes: &[u8; CHUNK_BYTES] = text.first_chunk()?;
    let chunk: i8x32 = i8x32::new(bytes.map(u8::cast_signed));
    // What is not ASCII is negative, so below the space as control characters are.
    let not_plain = chunk.simd_eq(i8x32::splat(b'"'.cast_signed()))
        | chunk.simd_eq(i8x32::splat(b'\\'.cast_signed()))
        | i8x32::splat(b' '.cast_signed()).simd_gt(chunk);
    #[allow(clippy::cast_possible_truncation, reason = "it is 32 at most")]
    let length = not_plain.to_bitmask().trailing_zeros() as u8;
    // At 32 there is none, and the first byte no quote of the string's: an empty one has it there.
    (bytes[usize::from(length) % CHUNK_BYTES] == b'"' && usize::from(length) < CHUNK_BYTES)
        .then_some((bytes, length))
}

/// The character that the escape at the start of a text stands for, and how many bytes it takes. None if it is none.
pub(super) fn escape(text: &[u8]) -> Option<(char, usize)> {
    match text {
        [b'\\', b'u', rest @ ..] => {
            let digits: &[u8; 4] = rest.first_chunk()?;
            digits.iter().all(u8::is_ascii_hexdigit).then(|| json::unicode_escape(text))
        }
        [b'\\', letter, ..] => Some((json::escaped(*letter)?, 2)),
        _ => None,
    }
}

/// Which bytes end a string or are not for it (quotes, backslashes, control characters), and which are not ASCII: a bit
/// for each.
#[inline]
fn classify(chunk: [u8; CHUNK_BYTES]) -> (u32, u32) {
    let chunk = u8x32::new(chunk);
    let control = chunk.min(u8x32::splat(0x1F)).simd_eq(chunk);
    let special = chunk.simd_eq(u8x32::splat(b'"')) | chunk.simd_eq(u8x32::splat(b'\\')) | control;
    (special.to_bitmask(), chunk.to_bitmask())
}

/// The bits below the lowest one that is set.
fn below_first(bits: u32) -> u32 {
    bits.wrapping_sub(1) & !bits
}

/// The last bytes of a text, and then zeroes, which neither a string nor a number has.
pub(super) fn padded<const N: usize>(rest: &[u8]) -> [u8; N] {
    let mut chunk = [0; N];
    if let Some(start) = chunk.get_mut(..rest.len()) {
        start.copy_from_slice(rest);
    }
    chunk
}
