//! The text of JSON strings, looked at in chunks.

use super::{json, wire::CHUNK_BYTES};
use wide::u8x32;

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
        let chunk = rest.first_chunk().copied().unwrap_or_else(|| padded(rest));
        let (special, beyond_ascii) = classify(chunk);
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
    let chunk: &[u8; CHUNK_BYTES] = text.first_chunk()?;
    let (special, beyond_ascii) = classify(*chunk);
    #[allow(clippy::cast_possible_truncation, reason = "it is 32 at most")]
    let length = special.trailing_zeros() as u8;
    let is_short = special != 0
        && beyond_ascii & below_first(special) == 0
        && chunk[usize::from(length) % CHUNK_BYTES] == b'"';
    is_short.then_some((chunk, length))
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

/// The last bytes of a text, and then what ends a string.
fn padded(rest: &[u8]) -> [u8; CHUNK_BYTES] {
    let mut chunk = [0; CHUNK_BYTES];
    if let Some(start) = chunk.get_mut(..rest.len()) {
        start.copy_from_slice(rest);
    }
    chunk
}
