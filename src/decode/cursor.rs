//! A position in a line's JSON, for the paths that read common lines quickly.
//!
//! Every method moves past what it reads, or gives up ([`None`]) at what is rare: nothing here reports an error.

use super::{
    number,
    text::{escape, plain_run, short_string},
    wire::{CHUNK_BYTES, Measurement, Writer},
};
use std::ops::Range;
use wide::u8x32;

/// The longest [`Literal`].
const MAX_LITERAL_BYTES: usize = 32;

/// A position in a line's JSON.
#[derive(Clone, Copy)]
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
        let key = match self.rest_of_short_string() {
            Some((chunk, length)) => chunk.get(..length.into())?,
            None => self.rest_of_string()?,
        };
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

    /// A whole number that fits an int64, or a decimal fraction without exponent.
    #[allow(clippy::inline_always, reason = "measured, as in `number`")]
    #[inline(always)]
    pub(super) fn number(&mut self) -> Option<Measurement<'a>> {
        let (number, length) = number::number(self.text.get(self.at..)?)?;
        self.at += length;
        Some(number)
    }

    /// A whole number that fits an int64.
    #[allow(clippy::inline_always, reason = "measured, as in `number`")]
    #[inline(always)]
    pub(super) fn integer(&mut self) -> Option<i64> {
        let (integer, length) = number::integer(self.text.get(self.at..)?)?;
        self.at += length;
        Some(integer)
    }
}

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
