//! The text of JSON strings, looked at in chunks.

use super::json;
use wide::{i8x32, u8x32};

/// How many bytes of text are looked at, and written, in one step.
pub const CHUNK_BYTES: usize = 32;

/// ASCII that is shorter than a chunk, copied with what follows it.
#[derive(Debug, Clone, Copy)]
pub struct ShortText<'a> {
    pub(super) chunk: &'a [u8; CHUNK_BYTES],
    pub(super) length: u8,
}

impl<'a> ShortText<'a> {
    /// The first bytes of a chunk. None if they are all of it.
    #[inline]
    pub fn new(chunk: &'a [u8; CHUNK_BYTES], length: u8) -> Option<Self> {
        (usize::from(length) < CHUNK_BYTES).then_some(Self { chunk, length })
    }

    /// The text itself.
    #[inline]
    pub fn bytes(self) -> &'a [u8] {
        self.chunk.get(..self.length.into()).unwrap_or_default()
    }
}

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

/// A string's content, if it is ASCII that ends with a quote within a chunk.
#[inline]
pub(super) fn short_string(text: &[u8]) -> Option<ShortText<'_>> {
    let chunk = text.first_chunk()?;
    let (quotes, special) = quotes_and_special(chunk);
    ShortText::new(chunk, first_quote(quotes, special)?)
}

/// A string's content, if it is ASCII that ends with a quote within two chunks, and at least one is there.
#[inline]
pub(super) fn ascii_string(text: &[u8]) -> Option<&[u8]> {
    let (quotes, special) = quotes_and_special(text.first_chunk()?);
    let mut length = usize::from(first_quote(quotes, special)?);
    if length == CHUNK_BYTES {
        let rest = text.get(CHUNK_BYTES..)?;
        let (quotes, special) = if let Some(chunk) = rest.first_chunk() {
            quotes_and_special(chunk)
        } else {
            // The last bytes again, and those in front of them shifted out.
            let (quotes, special) = quotes_and_special(text.last_chunk()?);
            let known = u32::try_from(CHUNK_BYTES - rest.len()).ok()?;
            (quotes.checked_shr(known)?, special.checked_shr(known)?)
        };
        length += usize::from(first_quote(quotes, special)?);
    }
    (length < 2 * CHUNK_BYTES).then(|| text.get(..length))?
}

/// Which bytes of a chunk are quotes, and which are not plain ASCII, quotes among them: a bit for each.
#[inline]
fn quotes_and_special(bytes: &[u8; CHUNK_BYTES]) -> (u32, u32) {
    let chunk: i8x32 = i8x32::new(bytes.map(u8::cast_signed));
    let quotes = chunk.simd_eq(i8x32::splat(b'"'.cast_signed()));
    // What is not ASCII is negative, so below the space as control characters are.
    let others =
        chunk.simd_eq(i8x32::splat(b'\\'.cast_signed())) | i8x32::splat(b' '.cast_signed()).simd_gt(chunk);
    (quotes.to_bitmask(), (quotes | others).to_bitmask())
}

/// Where the first quote is, if nothing special is before it; a chunk's length if nothing special is there.
#[inline]
fn first_quote(quotes: u32, special: u32) -> Option<u8> {
    let first = special & special.wrapping_neg();
    #[allow(clippy::cast_possible_truncation, reason = "it is 32 at most")]
    let length = special.trailing_zeros() as u8;
    // Without a first one both are zero.
    (quotes & first == first).then_some(length)
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
