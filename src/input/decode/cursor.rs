//! A position in the JSON of a line, for the shape path and the fast path.
//!
//! A method moves past what it reads, or returns [`None`] to leave the line to a slower path. Nothing here
//! reports an error.
#![allow(
    clippy::inline_always,
    reason = "measured: positions stay in registers only if everything is one function"
)]

use super::{
    escape::escape,
    number,
    prefix::{KeyPrefix, Map},
    text::{Literal, ShortText, ascii_string, plain_run, short_string},
    wire::{Measurement, Writer},
};
use crate::input::dialect::Dialect;
use std::ops::Range;

/// A position in the JSON of a line.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    /// The position, in bytes from the start.
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

    /// Reads an opening bracket and white space around it.
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

    /// Reads exactly these bytes.
    #[inline(always)]
    pub(super) fn literal(&mut self, literal: &[u8]) -> Option<()> {
        self.text.get(self.at..)?.starts_with(literal).then(|| self.at += literal.len())
    }

    /// Reads exactly this text.
    #[inline]
    pub(super) fn short_literal(&mut self, literal: &Literal) -> Option<()> {
        self.at += literal.length_at_start_of(self.text.get(self.at..)?)?;
        Some(())
    }

    /// Reads what follows a value: true for the closing bracket, false for a comma.
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

    /// Reads white space behind the event and returns the position. Then the text ends, or something follows
    /// that may be behind an event.
    #[inline(always)]
    pub(super) fn end(&mut self, dialect: &Dialect) -> Option<usize> {
        self.skip_space();
        if self.at < self.text.len() {
            self.gap(dialect)?;
        }
        Some(self.at)
    }

    #[cold]
    #[inline(never)]
    fn gap(self, dialect: &Dialect) -> Option<usize> {
        dialect.gap_behind_event(self.text.get(self.at..)?)
    }

    /// Reads the start of an object and returns whether it has entries. `null` counts as an empty object.
    #[inline(always)]
    pub(super) fn open_map(&mut self) -> Option<bool> {
        if self.peek()? == b'n' {
            return self.literal(b"null").map(|()| false);
        }
        self.open(b'{')?;
        Some(self.byte(b'}').is_none())
    }

    /// Reads a key and its colon.
    #[inline(always)]
    pub(super) fn key(&mut self) -> Option<Key<'a>> {
        self.byte(b'"')?;
        let key = if let Some(short) = self.rest_of_short_string() {
            Key { text: short.bytes(), short: Some(short) }
        } else {
            let (key, after) = self.long_key()?;
            *self = after;
            key
        };
        // Python and most other JSON writers put one space after the colon.
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

    /// Reads a string without escapes. Every string that this type returns is valid UTF-8.
    pub(super) fn quoted(&mut self) -> Option<&'a [u8]> {
        self.byte(b'"')?;
        self.rest_of_string()
    }

    /// Reads a string without escapes from after its opening quote.
    #[inline]
    pub(super) fn rest_of_string(&mut self) -> Option<&'a [u8]> {
        let run = self.run()?;
        self.byte(b'"')?;
        Some(run)
    }

    /// Reads the rest of a string that is ASCII and shorter than a chunk.
    #[inline]
    pub(super) fn rest_of_short_string(&mut self) -> Option<ShortText<'a>> {
        let string = short_string(self.text.get(self.at..)?)?;
        self.at += string.bytes().len() + 1;
        Some(string)
    }

    /// Reads the rest of a string that is ASCII and shorter than two chunks.
    #[inline]
    pub(super) fn rest_of_ascii_string(&mut self) -> Option<&'a [u8]> {
        let string = ascii_string(self.text.get(self.at..)?)?;
        self.at += string.len() + 1;
        Some(string)
    }

    /// Reads a string from after its opening quote and writes its text, with escapes replaced.
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

    /// Reads a string up to an escape or to its end.
    #[inline]
    fn run(&mut self) -> Option<&'a [u8]> {
        let run = plain_run(self.text.get(self.at..)?)?;
        self.at += run.len();
        Some(run)
    }

    /// Reads a scalar of `measurements`.
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

    /// Reads a scalar other than a string and returns its text.
    pub(super) fn scalar(&mut self) -> Option<&'a [u8]> {
        let start = self.at;
        match self.measurement()? {
            Measurement::Text(_) => None,
            _ => self.text.get(start..self.at),
        }
    }

    /// The range of the content of the string that was just read.
    pub(super) fn content(&self, string: &[u8]) -> Range<usize> {
        let closing_quote = self.at.saturating_sub(1);
        closing_quote.saturating_sub(string.len())..closing_quote
    }

    /// Reads an integer that fits an int64, or a decimal fraction without exponent.
    #[inline(always)]
    pub(super) fn number(&mut self) -> Option<Measurement<'a>> {
        let (number, length) = number::number(self.text.get(self.at..)?)?;
        self.at += length;
        Some(number)
    }

    /// Reads an integer that fits an int64.
    #[inline(always)]
    pub(super) fn integer(&mut self) -> Option<i64> {
        let (integer, length) = number::integer(self.text.get(self.at..)?)?;
        self.at += length;
        Some(integer)
    }
}

/// A key of a map.
#[derive(Clone, Copy)]
pub(super) struct Key<'a> {
    pub(super) text: &'a [u8],
    short: Option<ShortText<'a>>,
}

impl<'a> Key<'a> {
    /// The prefix of entries with this key. None if the key is too long.
    #[inline]
    pub(super) fn prefix(self, map: Map) -> Option<KeyPrefix<'a>> {
        KeyPrefix::new(map, self.short?)
    }
}
