//! A scanner for JSON text. It validates and finds values, without recursion and without building a tree.
//!
//! The grammar is RFC 8259's plus the bare `NaN`, `Infinity` and `-Infinity` that Python's `json.dumps`
//! writes. Otherwise it is as strict as serde_json and Python's `json.loads`, except that strings may contain
//! invalid UTF-8 and lone surrogates, which [`unescape`](super::escape::unescape) replaces, and that nesting
//! may be of any depth.

use super::{escape::short_escape, text::run_length};

/// The type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Object,
    Array,
    String,
    /// A number without fraction and exponent.
    Integer,
    /// A number with fraction or exponent.
    Float,
    /// `NaN`, `Infinity` or `-Infinity`.
    NonFinite,
    True,
    False,
    Null,
}

/// A value: its type and its text as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Value<'a> {
    pub(super) kind: Kind,
    pub(super) text: &'a [u8],
}

/// The text is not JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotJson;

/// A position in a text.
#[derive(Debug)]
pub(super) struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    /// Scans the first value of a text. Returns it and its length, which includes white space around it.
    pub(super) fn first_value(text: &'a [u8]) -> Result<(Value<'a>, usize), NotJson> {
        let mut scanner = Self::new(text);
        let value = scanner.value()?;
        scanner.skip_space();
        Ok((value, scanner.at))
    }

    /// Calls `visit` with the raw key (between its quotes) and the value of each entry of an object that was
    /// scanned before.
    pub(super) fn entries(
        object: &'a [u8],
        mut visit: impl FnMut(&'a [u8], Value<'a>),
    ) -> Result<(), NotJson> {
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

    /// Scans a value of any depth. Open containers take one byte each on the heap, so deep nesting cannot
    /// overflow the stack.
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
            // A value follows.
            self.skip_space();
            match self.peek() {
                Some(bracket @ (b'{' | b'[')) => {
                    self.at += 1;
                    self.skip_space();
                    // In ASCII `}` is `{` plus 2, and `]` is `[` plus 2.
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
                    letter if short_escape(letter).is_some() => {}
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
