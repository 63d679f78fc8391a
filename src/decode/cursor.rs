//! A position in a line's JSON, for the paths that read common lines quickly.
//!
//! Every method moves past what it reads, or gives up ([`None`]) at what is rare: nothing here reports an error.

use super::{
    text::{escape, plain_run, short_string},
    wire::{CHUNK_BYTES, Measurement, Writer},
};
use std::{num::NonZero, ops::Range};
use wide::u8x32;

/// The longest [`Literal`].
const MAX_LITERAL_BYTES: usize = 32;

/// Powers of ten that a double holds exactly.
const POWERS_OF_TEN: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];

/// A position in a line's JSON.
pub(super) struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// A cursor at the start of a text.
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    /// Where it is, in bytes from the start.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    #[inline]
    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    /// An opening bracket, and white space around it.
    pub(super) fn open(&mut self, bracket: u8) -> Option<()> {
        self.skip_space();
        self.byte(bracket)?;
        self.skip_space();
        Some(())
    }

    fn byte(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    /// Exactly these bytes.
    pub(super) fn literal(&mut self, literal: &[u8]) -> Option<()> {
        self.text.get(self.at..)?.starts_with(literal).then(|| self.at += literal.len())
    }

    /// Exactly this text.
    #[inline]
    pub(super) fn short_literal(&mut self, literal: &Literal) -> Option<()> {
        let rest = self.text.get(self.at..)?;
        let same = match rest.first_chunk() {
            Some(chunk) => literal.starts(*chunk),
            None => rest.starts_with(literal.text()),
        };
        same.then(|| self.at += literal.length)
    }

    /// After a value: true at the closing bracket, false behind a comma.
    pub(super) fn next_or_close(&mut self, closing: u8) -> Option<bool> {
        self.skip_space();
        let byte = self.peek()?;
        self.at += 1;
        if byte == b',' {
            self.skip_space();
            return Some(false);
        }
        (byte == closing).then_some(true)
    }

    /// Nothing but white space up to the text's end.
    pub(super) fn end(&mut self) -> Option<()> {
        self.skip_space();
        (self.at == self.text.len()).then_some(())
    }

    /// A key, and its colon. The key is valid UTF-8.
    pub(super) fn key(&mut self) -> Option<&'a [u8]> {
        self.byte(b'"')?;
        let key = self.rest_of_string()?;
        // What Python and nearly everybody writes.
        if self.literal(b": ").is_none() {
            self.skip_space();
            self.byte(b':')?;
        }
        self.skip_space();
        Some(key)
    }

    /// A string value: valid UTF-8, as all that is returned here.
    pub(super) fn quoted(&mut self) -> Option<&'a [u8]> {
        self.byte(b'"')?;
        self.rest_of_string()
    }

    /// What is left of a string behind its opening quote, if it has no escapes.
    #[inline]
    pub(super) fn rest_of_string(&mut self) -> Option<&'a [u8]> {
        let run = self.run()?;
        self.byte(b'"')?;
        Some(run)
    }

    /// The same for ASCII that is shorter than a chunk: the chunk that starts with it, and its length.
    #[inline]
    pub(super) fn rest_of_short_string(&mut self) -> Option<(&'a [u8; CHUNK_BYTES], u8)> {
        let (chunk, length) = short_string(self.text.get(self.at..)?)?;
        self.at += usize::from(length) + 1;
        Some((chunk, length))
    }

    /// Writes what is left of a string behind its opening quote, escapes and all.
    pub(super) fn copy_rest_of_string(&mut self, out: &mut Writer<'_>) -> Option<()> {
        loop {
            out.bytes(self.run()?)?;
            if self.byte(b'"').is_some() {
                return Some(());
            }
            let (character, length) = escape(self.text.get(self.at..)?)?;
            out.bytes(character.encode_utf8(&mut [0; 4]).as_bytes())?;
            self.at += length;
        }
    }

    /// What of a string comes before an escape or its end.
    #[inline]
    fn run(&mut self) -> Option<&'a [u8]> {
        let run = plain_run(self.text.get(self.at..)?)?;
        self.at += run.len();
        Some(run)
    }

    /// A scalar of `measurements`.
    #[inline]
    pub(super) fn measurement(&mut self) -> Option<Measurement<'a>> {
        Some(match self.peek()? {
            b'"' => Measurement::Text(self.quoted()?),
            b't' => self.literal(b"true").map(|()| Measurement::Int(1))?,
            b'f' => self.literal(b"false").map(|()| Measurement::Int(0))?,
            b'n' => self.literal(b"null").map(|()| Measurement::Null)?,
            _ => self.number()?,
        })
    }

    /// The text of a scalar that is no string.
    pub(super) fn scalar(&mut self) -> Option<&'a [u8]> {
        let start = self.at;
        match self.measurement()? {
            Measurement::Text(_) => None,
            _ => self.text.get(start..self.at),
        }
    }

    /// Where a value that was just read is.
    pub(super) fn before(&self, value: &[u8]) -> Range<usize> {
        self.at.saturating_sub(value.len())..self.at
    }

    /// Where the content of a string that was just read is.
    pub(super) fn content(&self, string: &[u8]) -> Range<usize> {
        let closing_quote = self.at.saturating_sub(1);
        closing_quote.saturating_sub(string.len())..closing_quote
    }

    /// An integer, or a decimal fraction without exponent.
    #[inline]
    fn number(&mut self) -> Option<Measurement<'a>> {
        let start = self.at;
        let negative = self.byte(b'-').is_some();
        let (whole, digits) = self.whole_part()?;
        match self.peek()? {
            b'.' => self.at += 1,
            b'e' | b'E' => return None,
            _ => return signed(whole, digits, negative).map(Measurement::Int),
        }
        let fraction_start = self.at;
        let mantissa = self.digits(whole);
        let fraction_digits = self.at - fraction_start;
        if fraction_digits == 0 || matches!(self.peek()?, b'e' | b'E') {
            return None;
        }
        let power = POWERS_OF_TEN.get(fraction_digits);
        let float = match power {
            // Both are exact, so their quotient is the nearest double: W. D. Clinger, How to read floating point
            // numbers accurately, PLDI 1990.
            Some(power) if digits + fraction_digits <= MAX_EXACT_DIGITS && mantissa < 1 << 53 => {
                #[allow(clippy::cast_precision_loss, reason = "it is below 2^53")]
                let float = mantissa as f64 / power;
                if negative { -float } else { float }
            }
            _ => str::from_utf8(self.text.get(start..self.at)?).ok()?.parse().ok()?,
        };
        Some(Measurement::Float(float))
    }

    /// A whole number that fits an int64.
    #[inline]
    pub(super) fn integer(&mut self) -> Option<i64> {
        let negative = self.byte(b'-').is_some();
        let (whole, digits) = self.whole_part()?;
        if matches!(self.peek()?, b'.' | b'e' | b'E') {
            return None;
        }
        signed(whole, digits, negative)
    }

    /// `0|[1-9][0-9]*`: what it is, modulo 2^64, and of how many digits.
    #[inline]
    fn whole_part(&mut self) -> Option<(u64, usize)> {
        let start = self.at;
        let value = self.digits(0);
        let digits = self.at - start;
        let leading_zero = digits > 1 && self.text.get(start) == Some(&b'0');
        (digits > 0 && !leading_zero).then_some((value, digits))
    }

    /// Appends digits to a number, modulo 2^64.
    #[inline]
    fn digits(&mut self, mut value: u64) -> u64 {
        while let Some(eight) = self.text.get(self.at..).and_then(<[u8]>::first_chunk) {
            let (number, count) = leading_digits(*eight);
            value = value.wrapping_mul(TENS[count % TENS.len()]).wrapping_add(number);
            self.at += count;
            if count < 8 {
                return value;
            }
        }
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            value = value.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
            self.at += 1;
        }
        value
    }
}

/// Powers of ten, up to what eight digits are below; and then filled up.
const TENS: [u64; 16] =
    [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 0, 0, 0, 0, 0, 0, 0];

/// A short text to be compared with in one step.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Literal {
    text: [u8; MAX_LITERAL_BYTES],
    /// Which bytes count.
    mask: [u8; MAX_LITERAL_BYTES],
    length: usize,
}

impl Literal {
    /// None if it is too long for that.
    pub(super) fn new(literal: &[u8]) -> Option<Self> {
        let (mut text, mut mask) = ([0; MAX_LITERAL_BYTES], [0; MAX_LITERAL_BYTES]);
        text.get_mut(..literal.len())?.copy_from_slice(literal);
        mask.get_mut(..literal.len())?.fill(0xFF);
        Some(Self { text, mask, length: literal.len() })
    }

    fn text(&self) -> &[u8] {
        self.text.get(..self.length).unwrap_or_default()
    }

    fn starts(&self, chunk: [u8; MAX_LITERAL_BYTES]) -> bool {
        ((u8x32::new(chunk) ^ u8x32::new(self.text)) & u8x32::new(self.mask)) == u8x32::ZERO
    }
}

/// So many digits are always below 2^64.
const MAX_EXACT_DIGITS: usize = 19;

/// A number of so many digits with its sign, if it fits an int64.
fn signed(whole: u64, digits: usize, negative: bool) -> Option<i64> {
    if digits > MAX_EXACT_DIGITS {
        None
    } else if negative {
        0i64.checked_sub_unsigned(whole)
    } else {
        i64::try_from(whole).ok()
    }
}

/// A byte repeated eight times.
const fn all(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// The number that is at the start of eight characters, and of how many digits it is.
#[inline]
fn leading_digits(text: [u8; 8]) -> (u64, usize) {
    let word = u64::from_le_bytes(text);
    // A digit's upper half is 3, and still is when 6 is added.
    let upper = (word ^ all(0x30)) | (word.wrapping_add(all(6)) ^ all(0x30));
    let (digits, count) = match NonZero::new(upper & all(0xF0)) {
        None => (word, 8),
        // Digits as the last ones of eight, behind zeroes: the first byte is the highest digit.
        Some(others) => {
            let count = others.trailing_zeros() / 8;
            (word << 1 << (63 - 8 * count), count)
        }
    };
    let word = digits & all(0x0F);
    // Neighbours are joined to numbers of two, four and eight digits.
    let two = word.wrapping_mul(10 << 8 | 1) >> 8 & 0x00FF_00FF_00FF_00FF;
    let four = two.wrapping_mul(100 << 16 | 1) >> 16 & 0x0000_FFFF_0000_FFFF;
    (four.wrapping_mul(10_000 << 32 | 1) >> 32, count as usize)
}
