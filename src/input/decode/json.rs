//! A scanner for JSON text: it validates and finds where values are, without recursion and without building
//! anything.
//!
//! The grammar is RFC 8259's plus the bare `NaN`, `Infinity` and `-Infinity` that Python's `json.dumps` writes.
//! It is as strict as serde_json and Python's `json.loads` otherwise, except that strings may hold invalid
//! UTF-8 and lone surrogates, which [`unescape`] replaces, and that nesting may be of any depth.

use super::text::run_length;
use std::borrow::Cow;

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `{…}`
    Object,
    /// `[…]`
    Array,
    /// `"…"`
    String,
    /// A number without fraction and exponent.
    Integer,
    /// A number with fraction or exponent.
    Float,
    /// `NaN`, `Infinity` or `-Infinity`.
    NonFinite,
    /// `true`
    True,
    /// `false`
    False,
    /// `null`
    Null,
}

/// A value: what it is, and its text from its first byte to its last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value<'a> {
    /// What it is.
    pub kind: Kind,
    /// Its text as written.
    pub text: &'a [u8],
}

/// The text is not JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotJson;

/// A position in a text.
#[derive(Debug)]
pub struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    /// A scanner at the start of a text.
    pub fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    /// Scans the one value that the whole text is, white space around it allowed.
    ///
    /// # Errors
    ///
    /// If the text is anything else.
    pub fn document(text: &'a [u8]) -> Result<Value<'a>, NotJson> {
        let mut scanner = Self::new(text);
        let value = scanner.value()?;
        scanner.skip_space();
        if scanner.at == text.len() { Ok(value) } else { Err(NotJson) }
    }

    /// Calls `visit` with the raw key (between its quotes) and the value of each entry of an object that
    /// [`Scanner`] has scanned before.
    ///
    /// # Errors
    ///
    /// If it is no such object.
    pub fn entries(object: &'a [u8], mut visit: impl FnMut(&'a [u8], Value<'a>)) -> Result<(), NotJson> {
        let mut scanner = Self::new(object);
        scanner.expect(b'{')?;
        scanner.skip_space();
        if scanner.peek() == Some(b'}') {
            return Ok(());
        }
        loop {
            let key = scanner.key()?;
            visit(key, scanner.value()?);
            scanner.skip_space();
            match scanner.next()? {
                b',' => {}
                b'}' => return Ok(()),
                _ => return Err(NotJson),
            }
        }
    }

    /// Scans a value of any depth. The open containers are kept on the heap, a byte each.
    fn value(&mut self) -> Result<Value<'a>, NotJson> {
        self.skip_space();
        let start = self.at;
        let kind = match self.peek() {
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            _ => self.scalar()?,
        };
        if matches!(kind, Kind::Object | Kind::Array) {
            self.container()?;
        }
        Ok(Value { kind, text: &self.text[start..self.at] })
    }

    fn container(&mut self) -> Result<(), NotJson> {
        let mut open: Vec<u8> = Vec::new();
        loop {
            // A value is due, and in an object its key before it.
            self.skip_space();
            match self.peek() {
                Some(bracket @ (b'{' | b'[')) => {
                    self.at += 1;
                    self.skip_space();
                    // `}` and `]` stand two places behind `{` and `[` in ASCII.
                    let closing = bracket + 2;
                    if self.peek() == Some(closing) {
                        self.at += 1;
                    } else {
                        if closing == b'}' {
                            self.key()?;
                        }
                        open.push(closing);
                        continue;
                    }
                }
                _ => {
                    self.scalar()?;
                }
            }
            // A value has ended.
            loop {
                let Some(&closing) = open.last() else {
                    return Ok(());
                };
                self.skip_space();
                match self.next()? {
                    b',' => {
                        if closing == b'}' {
                            self.key()?;
                        }
                        break;
                    }
                    byte if byte == closing => {
                        open.pop();
                    }
                    _ => return Err(NotJson),
                }
            }
        }
    }

    fn key(&mut self) -> Result<&'a [u8], NotJson> {
        self.skip_space();
        let start = self.at + 1;
        self.string()?;
        let key = &self.text[start..self.at - 1];
        self.skip_space();
        self.expect(b':')?;
        Ok(key)
    }

    fn scalar(&mut self) -> Result<Kind, NotJson> {
        match self.peek() {
            Some(b'"') => self.string().map(|()| Kind::String),
            Some(b't') => self.literal(b"true", Kind::True),
            Some(b'f') => self.literal(b"false", Kind::False),
            Some(b'n') => self.literal(b"null", Kind::Null),
            Some(b'N') => self.literal(b"NaN", Kind::NonFinite),
            Some(b'I') => self.literal(b"Infinity", Kind::NonFinite),
            Some(b'-') if self.text[self.at..].starts_with(b"-I") => {
                self.literal(b"-Infinity", Kind::NonFinite)
            }
            _ => self.number(),
        }
    }

    fn string(&mut self) -> Result<(), NotJson> {
        self.expect(b'"')?;
        loop {
            self.at += run_length(&self.text[self.at..]).0;
            match self.next()? {
                b'"' => return Ok(()),
                b'\\' => match self.next()? {
                    b'u' => {
                        let digits = self.text.get(self.at..self.at + 4).ok_or(NotJson)?;
                        if !digits.iter().all(u8::is_ascii_hexdigit) {
                            return Err(NotJson);
                        }
                        self.at += 4;
                    }
                    letter if escaped(letter).is_some() => {}
                    _ => return Err(NotJson),
                },
                _ => return Err(NotJson),
            }
        }
    }

    fn number(&mut self) -> Result<Kind, NotJson> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        let mut kind = Kind::Integer;
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
            kind = Kind::Float;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
            kind = Kind::Float;
        }
        Ok(kind)
    }

    fn digits(&mut self) -> Result<(), NotJson> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at > start { Ok(()) } else { Err(NotJson) }
    }

    fn literal(&mut self, word: &[u8], kind: Kind) -> Result<Kind, NotJson> {
        if self.text[self.at..].starts_with(word) {
            self.at += word.len();
            Ok(kind)
        } else {
            Err(NotJson)
        }
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), NotJson> {
        if self.next()? == byte { Ok(()) } else { Err(NotJson) }
    }

    fn next(&mut self) -> Result<u8, NotJson> {
        let byte = self.peek().ok_or(NotJson)?;
        self.at += 1;
        Ok(byte)
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }
}

/// The text that a string's raw form (between its quotes) stands for. Invalid UTF-8 and lone surrogates become
/// U+FFFD.
pub fn unescape(raw: &[u8]) -> Cow<'_, str> {
    let Some(first) = memchr::memchr(b'\\', raw) else {
        return String::from_utf8_lossy(raw);
    };
    let mut text = String::with_capacity(raw.len());
    let (mut plain, mut rest) = raw.split_at(first);
    loop {
        text.push_str(&String::from_utf8_lossy(plain));
        // `rest` is empty or starts with a backslash.
        let (character, length) = match rest {
            [] => return Cow::Owned(text),
            [_, b'u', ..] => unicode_escape(rest),
            [_, letter, ..] => (escaped(*letter).unwrap_or(char::REPLACEMENT_CHARACTER), 2),
            [_] => (char::REPLACEMENT_CHARACTER, 1),
        };
        text.push(character);
        let after = rest.get(length..).unwrap_or_default();
        (plain, rest) = after.split_at(memchr::memchr(b'\\', after).unwrap_or(after.len()));
    }
}

/// What a letter behind a backslash stands for, unless it is `u`.
pub(super) fn escaped(letter: u8) -> Option<char> {
    Some(match letter {
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'"' | b'\\' | b'/' => char::from(letter),
        _ => return None,
    })
}

/// The character of the `\uXXXX`, or the pair of them, at the start of `text`, and how many bytes it takes.
pub(super) fn unicode_escape(text: &[u8]) -> (char, usize) {
    let unit = |at: usize| {
        let escape = text.get(at..at + 6)?.strip_prefix(b"\\u")?;
        u16::from_str_radix(str::from_utf8(escape).ok()?, 16).ok()
    };
    let first = unit(0).unwrap_or(0xD800);
    let pair = [first, unit(6).unwrap_or(0)];
    match char::decode_utf16(pair).next() {
        Some(Ok(character)) => (character, 6 * character.len_utf16()),
        _ => (char::REPLACEMENT_CHARACTER, 6),
    }
}
