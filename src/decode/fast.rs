//! The path for what workers usually print: one pass that writes wire bytes as it reads.
//!
//! It takes known keys, each once, in any order; strings of valid UTF-8 without escapes; integers that fit an
//! int64; short decimals; true, false and null. At anything else it gives up ([`None`]) and the slow path starts
//! anew: it is never wrong, only incomplete.

use super::{
    Fields, Reject,
    wire::{self, Measurement},
};
use crate::batch::BatchBuilder;

/// Keys of one map that are remembered to find repeated ones; a map with more goes the slow way.
const MAX_KEYS: usize = 16;

/// Decodes, or gives up and leaves an unfinished frame behind.
pub(super) fn decode(
    json: &[u8],
    extra_metadata: &[(String, String)],
    now_ns: i64,
    batch: &mut BatchBuilder,
) -> Option<Result<(), Reject>> {
    let mut cursor = Cursor { text: json, at: 0 };
    let mut seen = Seen::default();
    let mut metadata_keys = Keys::default();
    let (mut name, mut correlation_id, mut metadata_correlation_id) = ("", "", "");
    let mut timestamp_ns = None;

    let out = batch.start_frame();
    cursor.open(b'{')?;
    loop {
        let key = cursor.key()?;
        seen.first_time(key)?;
        match key {
            "event" => {
                name = cursor.string()?;
                wire::event_parts(out, name);
            }
            "measurements" => {
                let mut keys = Keys::default();
                cursor.map(&mut keys, |cursor, key| {
                    wire::measurement(out, key, cursor.measurement()?);
                    Some(())
                })?;
            }
            "metadata" => cursor.map(&mut metadata_keys, |cursor, key| {
                let value = cursor.string()?;
                wire::metadata(out, key, value);
                if key == "correlation_id" {
                    metadata_correlation_id = value;
                }
                Some(())
            })?,
            "timestamp_ns" => timestamp_ns = Some(cursor.integer()?),
            // Null and missing are the same.
            "correlation_id" if cursor.peek()? == b'n' => cursor.word(b"null")?,
            _ => correlation_id = cursor.string()?,
        }
        if cursor.next_or_close(b'}')? {
            break;
        }
    }
    cursor.end()?;
    if name.is_empty() {
        return None;
    }
    for (key, value) in extra_metadata {
        if !metadata_keys.contains(key) {
            wire::metadata(out, key, value);
        }
    }
    if correlation_id.is_empty() {
        correlation_id = metadata_correlation_id;
    }
    Some(super::finish(batch, &Fields { name, correlation_id, timestamp_ns }, now_ns))
}

/// Which of the known keys have come.
#[derive(Default)]
struct Seen(u8);

impl Seen {
    /// Gives up at an unknown key and at one that came before.
    fn first_time(&mut self, key: &str) -> Option<()> {
        let bit = match key {
            "event" => 1,
            "measurements" => 2,
            "metadata" => 4,
            "timestamp_ns" => 8,
            "correlation_id" => 16,
            _ => return None,
        };
        let first = self.0 & bit == 0;
        self.0 |= bit;
        first.then_some(())
    }
}

/// The keys of a map.
#[derive(Default)]
struct Keys<'a> {
    keys: [&'a str; MAX_KEYS],
    len: usize,
}

impl<'a> Keys<'a> {
    fn contains(&self, key: &str) -> bool {
        self.keys.iter().take(self.len).any(|known| *known == key)
    }

    fn add(&mut self, key: &'a str) -> Option<()> {
        if self.contains(key) {
            return None;
        }
        *self.keys.get_mut(self.len)? = key;
        self.len += 1;
        Some(())
    }
}

/// A position in the line. Every method moves past what it reads, or gives up.
struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn open(&mut self, bracket: u8) -> Option<()> {
        self.skip_space();
        self.byte(bracket)?;
        self.skip_space();
        Some(())
    }

    fn byte(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        self.text.get(self.at..)?.starts_with(word).then(|| self.at += word.len())
    }

    /// After a value: true at the closing bracket, false behind a comma.
    fn next_or_close(&mut self, closing: u8) -> Option<bool> {
        self.skip_space();
        let byte = self.peek()?;
        self.at += 1;
        if byte == b',' {
            self.skip_space();
            return Some(false);
        }
        (byte == closing).then_some(true)
    }

    fn end(&mut self) -> Option<()> {
        self.skip_space();
        (self.at == self.text.len()).then_some(())
    }

    fn key(&mut self) -> Option<&'a str> {
        let key = self.string()?;
        self.skip_space();
        self.byte(b':')?;
        self.skip_space();
        Some(key)
    }

    /// Reads an object of scalars, entry by entry; null is an empty one.
    fn map(
        &mut self,
        keys: &mut Keys<'a>,
        mut value: impl FnMut(&mut Self, &'a str) -> Option<()>,
    ) -> Option<()> {
        if self.peek()? == b'n' {
            return self.word(b"null");
        }
        self.open(b'{')?;
        if self.peek()? == b'}' {
            self.at += 1;
            return Some(());
        }
        loop {
            let key = self.key()?;
            keys.add(key)?;
            value(self, key)?;
            if self.next_or_close(b'}')? {
                return Some(());
            }
        }
    }

    /// A string without escapes.
    fn string(&mut self) -> Option<&'a str> {
        self.byte(b'"')?;
        let rest = self.text.get(self.at..)?;
        let length = rest.iter().position(|&byte| matches!(byte, b'"' | b'\\' | 0..0x20))?;
        let (string, rest) = rest.split_at(length);
        self.at += length + 1;
        // Anything but a quote there is for the slow path.
        (rest.first() == Some(&b'"')).then(|| str::from_utf8(string).ok())?
    }

    fn measurement(&mut self) -> Option<Measurement<'a>> {
        Some(match self.peek()? {
            b'"' => Measurement::Text(self.string()?),
            b't' => self.word(b"true").map(|()| Measurement::Int(1))?,
            b'f' => self.word(b"false").map(|()| Measurement::Int(0))?,
            b'n' => self.word(b"null").map(|()| Measurement::Null)?,
            _ => self.number()?,
        })
    }

    /// An integer, or a decimal fraction without exponent.
    fn number(&mut self) -> Option<Measurement<'a>> {
        let start = self.at;
        let int = self.integer_part()?;
        if self.peek()? != b'.' {
            return self.no_exponent().map(|()| Measurement::Int(int));
        }
        self.at += 1;
        let fraction = self.digits();
        self.no_exponent()?;
        let text = str::from_utf8(self.text.get(start..self.at)?).ok()?;
        (fraction > 0).then(|| text.parse().ok()).flatten().map(Measurement::Float)
    }

    fn integer(&mut self) -> Option<i64> {
        let int = self.integer_part()?;
        (self.peek()? != b'.').then_some(())?;
        self.no_exponent()?;
        Some(int)
    }

    /// `-?(0|[1-9][0-9]*)` that fits an int64.
    fn integer_part(&mut self) -> Option<i64> {
        let negative = self.byte(b'-').is_some();
        let start = self.at;
        let length = self.digits();
        let digits = self.text.get(start..self.at)?;
        if length == 0 || (length > 1 && digits.first() == Some(&b'0')) {
            return None;
        }
        let mut value: i64 = 0;
        for digit in digits {
            // Counting down reaches i64::MIN, which has no positive counterpart.
            value = value.checked_mul(10)?.checked_sub(i64::from(digit - b'0'))?;
        }
        if negative { Some(value) } else { value.checked_neg() }
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        self.at - start
    }

    fn no_exponent(&self) -> Option<()> {
        (!matches!(self.peek()?, b'e' | b'E')).then_some(())
    }
}
