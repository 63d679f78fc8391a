//! The text of JSON strings, in vectorised steps.

use wide::{i8x32, u8x32};

/// How many bytes of text one step reads or writes.
pub(super) const CHUNK_BYTES: usize = 32;

/// ASCII text shorter than a chunk. It is copied as a whole chunk, with the bytes that follow it.
#[derive(Debug, Clone, Copy)]
pub(super) struct ShortText<'a> {
    pub(super) chunk: &'a [u8; CHUNK_BYTES],
    pub(super) length: u8,
}

impl<'a> ShortText<'a> {
    /// The first `length` bytes of a chunk. None if that is the whole chunk.
    #[inline]
    pub(super) fn new(chunk: &'a [u8; CHUNK_BYTES], length: u8) -> Option<Self> {
        (usize::from(length) < CHUNK_BYTES).then_some(Self { chunk, length })
    }

    #[inline]
    pub(super) fn bytes(self) -> &'a [u8] {
        self.chunk.get(..self.length.into()).unwrap_or_default()
    }
}

/// The bytes before the first quote, backslash or control character, or all bytes. None if they are not
/// UTF-8.
#[inline]
pub(super) fn plain_run(text: &[u8]) -> Option<&[u8]> {
    let (length, ascii) = run_length(text);
    text.get(..length).filter(|run| ascii || str::from_utf8(run).is_ok())
}

/// The number of bytes before the first quote, backslash or control character, or of all bytes, and whether
/// they are ASCII.
#[inline]
pub(super) fn run_length(text: &[u8]) -> (usize, bool) {
    let (mut length, mut ascii) = (0, true);
    loop {
        let rest = text.get(length..).unwrap_or_default();
        let (special, beyond_ascii) = match (rest.first_chunk(), text.last_chunk()) {
            (Some(chunk), _) => classify(*chunk),
            // Read the last 32 bytes again and shift out those that are done. The bits after the text are
            // set, so that its end counts as the end of the run.
            (None, Some(chunk)) => {
                let (special, beyond_ascii) = classify(*chunk);
                let known = CHUNK_BYTES - rest.len();
                let after_end = u64::MAX << rest.len();
                let special = u64::from(special) >> known | after_end;
                #[allow(clippy::cast_possible_truncation, reason = "one bit for each byte of a chunk")]
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

/// The content of a string that is ASCII, has no escapes, and ends within a chunk.
#[inline]
pub(super) fn short_string(text: &[u8]) -> Option<ShortText<'_>> {
    let chunk = text.first_chunk()?;
    let (quotes, special) = quotes_and_special(chunk);
    ShortText::new(chunk, first_quote(quotes, special)?)
}

/// The content of a string that is ASCII, has no escapes, and ends within two chunks. `text` is at least one
/// chunk.
#[inline]
pub(super) fn ascii_string(text: &[u8]) -> Option<&[u8]> {
    let (quotes, special) = quotes_and_special(text.first_chunk()?);
    let mut length = usize::from(first_quote(quotes, special)?);
    if length == CHUNK_BYTES {
        let rest = text.get(CHUNK_BYTES..)?;
        let (quotes, special) = if let Some(chunk) = rest.first_chunk() {
            quotes_and_special(chunk)
        } else {
            // Read the last 32 bytes again and shift out those that are done.
            let (quotes, special) = quotes_and_special(text.last_chunk()?);
            let known = u32::try_from(CHUNK_BYTES - rest.len()).ok()?;
            (quotes.checked_shr(known)?, special.checked_shr(known)?)
        };
        length += usize::from(first_quote(quotes, special)?);
    }
    (length < 2 * CHUNK_BYTES).then(|| text.get(..length))?
}

/// Two masks with one bit for each byte of a chunk: quotes, and everything that is not plain ASCII text
/// (quotes, backslashes, control characters, bytes above 0x7F).
#[inline]
fn quotes_and_special(bytes: &[u8; CHUNK_BYTES]) -> (u32, u32) {
    let chunk: i8x32 = i8x32::new(bytes.map(u8::cast_signed));
    let quotes = chunk.simd_eq(i8x32::splat(b'"'.cast_signed()));
    // As a signed number a byte above 0x7F is negative, so it is below the space, as control characters are.
    let others =
        chunk.simd_eq(i8x32::splat(b'\\'.cast_signed())) | i8x32::splat(b' '.cast_signed()).simd_gt(chunk);
    (quotes.to_bitmask(), (quotes | others).to_bitmask())
}

/// The position of the first quote if nothing special precedes it; the chunk's length if nothing special is
/// found.
#[inline]
fn first_quote(quotes: u32, special: u32) -> Option<u8> {
    let first = special & special.wrapping_neg();
    #[allow(clippy::cast_possible_truncation, reason = "at most 32")]
    let length = special.trailing_zeros() as u8;
    // If nothing is special, `first` is zero and so is the result of the mask.
    (quotes & first == first).then_some(length)
}

/// Two masks with one bit for each byte of a chunk: bytes that end a run of text (quotes, backslashes,
/// control characters), and bytes that are not ASCII.
#[inline]
fn classify(chunk: [u8; CHUNK_BYTES]) -> (u32, u32) {
    let chunk = u8x32::new(chunk);
    let control = chunk.min(u8x32::splat(0x1F)).simd_eq(chunk);
    let special = chunk.simd_eq(u8x32::splat(b'"')) | chunk.simd_eq(u8x32::splat(b'\\')) | control;
    (special.to_bitmask(), chunk.to_bitmask())
}

/// The bits below the lowest set bit.
fn below_first(bits: u32) -> u32 {
    bits.wrapping_sub(1) & !bits
}

/// The last bytes of a text, filled up with zeros, which no string and no number contains.
pub(super) fn padded<const N: usize>(rest: &[u8]) -> [u8; N] {
    let mut chunk = [0; N];
    if let Some(start) = chunk.get_mut(..rest.len()) {
        start.copy_from_slice(rest);
    }
    chunk
}

/// A literal text of at most 32 bytes that is compared in one step.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::input) struct Literal {
    text: [u8; CHUNK_BYTES],
    /// 0xFF for each byte that counts.
    mask: [u8; CHUNK_BYTES],
    length: usize,
}

impl Literal {
    /// None if the text is too long.
    pub(in crate::input) const fn new(literal: &[u8]) -> Option<Self> {
        if literal.len() > CHUNK_BYTES {
            return None;
        }
        let (mut text, mut mask) = ([0; CHUNK_BYTES], [0; CHUNK_BYTES]);
        let mut at = 0;
        while at < literal.len() {
            (text[at], mask[at]) = (literal[at], 0xFF);
            at += 1;
        }
        Some(Self { text, mask, length: literal.len() })
    }

    /// The literal's length if `text` starts with it.
    #[inline]
    pub(super) fn length_at_start_of(&self, text: &[u8]) -> Option<usize> {
        let same = match text.first_chunk() {
            Some(chunk) => self.starts(*chunk),
            None => text.starts_with(self.text.get(..self.length).unwrap_or_default()),
        };
        same.then_some(self.length)
    }

    #[inline]
    fn starts(&self, chunk: [u8; CHUNK_BYTES]) -> bool {
        ((u8x32::new(chunk) ^ u8x32::new(self.text)) & u8x32::new(self.mask)) == u8x32::ZERO
    }
}
