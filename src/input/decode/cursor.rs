//! A position in a line's JSON, for the paths that read common lines quickly.
//!
//! Every method moves past what it reads, or gives up ([`None`]) at what is rare: nothing here reports an error.
#![allow(
    clippy::inline_always,
    reason = "measured: positions stay in registers only where all of it is one function"
)]

use super::{
    head::{KeyHead, Map},
    number,
    text::{ShortText, ascii_string, escape, plain_run, short_string},
    wire::{Measurement, Writer},
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

    #[inline(always)]
    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    /// An opening bracket, and white space around it.
    #[inline(always)]
    pub(super) fn open(&mut self, bracket: u8) -> Option<()> {
        self.skip_space();
        self.byte(bracket)?;
        self.skip_space();
        Some(())
    }

    #[inline(always)]
    pub(super) fn byte(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    /// Exactly these bytes.
    #[inline(always)]
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
    #[inline(always)]
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
    #[inline(always)]
    pub(super) fn end(&mut self) -> Option<()> {
        self.skip_space();
        (self.at == self.text.len()).then_some(())
    }

    /// An object: whether it has entries. Null is one without.
    #[inline(always)]
    pub(super) fn open_map(&mut self) -> Option<bool> {
        if self.peek()? == b'n' {
            return self.literal(b"null").map(|()| false);
        }
        self.open(b'{')?;
        Some(self.byte(b'}').is_none())
    }

    /// A key, and its colon.
    #[inline(always)]
    pub(super) fn key(&mut self) -> Option<Key<'a>> {
        self.byte(b'"')?;
        let key = if let Some(short) = self.rest_of_short_string() {
            Key { text: short.bytes(), short: Some(short) }
        } else {
            let (key, behind) = self.long_key()?;
            *self = behind;
            key
        };
        // What Python and nearly everybody writes.
        if self.literal(b": ").is_none() {
            self.skip_space();
            self.byte(b':')?;
        }
        self.skip_space();
        Some(key)
    }

    #[cold]
    fn long_key(mut self) -> Option<(Key<'a>, Self)> {
        let text = self.rest_of_string()?;
        Some((Key { text, short: None }, self))
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

    /// The same for ASCII that is shorter than a chunk.
    #[inline]
    pub(super) fn rest_of_short_string(&mut self) -> Option<ShortText<'a>> {
        let string = short_string(self.text.get(self.at..)?)?;
        self.at += string.bytes().len() + 1;
        Some(string)
    }

    /// The same for ASCII that is a little longer.
    #[inline]
    pub(super) fn rest_of_ascii_string(&mut self) -> Option<&'a [u8]> {
        let string = ascii_string(self.text.get(self.at..)?)?;
        self.at += string.len() + 1;
        Some(string)
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

    /// Where the content of a string that was just read is.
    pub(super) fn content(&self, string: &[u8]) -> Range<usize> {
        let closing_quote = self.at.saturating_sub(1);
        closing_quote.saturating_sub(string.len())..closing_quote
    }

    /// A whole number that fits an int64, or a decimal fraction without exponent.
    #[inline(always)]
    pub(super) fn number(&mut self) -> Option<Measurement<'a>> {
        let (number, length) = number::number(self.text.get(self.at..)?)?;
        self.at += length;
        Some(number)
    }

    /// A whole number that fits an int64.
    #[inline(always)]
    pub(super) fn integer(&mut self) -> Option<i64> {
        let (integer, length) = number::integer(self.text.get(self.at..)?)?;
        self.at += length;
        Some(integer)
    }
}

/// A key: UTF-8, as strings are here.
#[derive(Clone, Copy)]
pub(super) struct Key<'a> {
    pub(super) text: &'a [u8],
    short: Option<ShortText<'a>>,
}

impl<'a> Key<'a> {
    /// The head of its entries, if it is short enough to have one.
    #[inline]
    pub(super) fn head(self, map: Map) -> Option<KeyHead<'a>> {
        KeyHead::new(map, self.short?)
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
    pub(super) const fn new(literal: &[u8]) -> Option<Self> {
        if literal.len() > MAX_LITERAL_BYTES {
            return None;
        }
        let (mut text, mut mask) = ([0; MAX_LITERAL_BYTES], [0; MAX_LITERAL_BYTES]);
        let mut at = 0;
        while at < literal.len() {
            (text[at], mask[at]) = (literal[at], 0xFF);
            at += 1;
        }
        Some(Self { text, mask, length: literal.len() })
    }

    fn text(&self) -> &[u8] {
        self.text.get(..self.length).unwrap_or_default()
    }

    fn starts(&self, chunk: [u8; MAX_LITERAL_BYTES]) -> bool {
        ((u8x32::new(chunk) ^ u8x32::new(self.text)) & u8x32::new(self.mask)) == u8x32::ZERO
    }
}
