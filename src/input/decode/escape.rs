//! Escape sequences in JSON strings.

use std::borrow::Cow;

/// The text of a string from its raw form (between the quotes). Invalid UTF-8 and lone surrogates become
/// U+FFFD.
pub(super) fn unescape(raw: &[u8]) -> Cow<'_, str> {
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
            [_, letter, ..] => (short_escape(*letter).unwrap_or(char::REPLACEMENT_CHARACTER), 2),
            [_] => (char::REPLACEMENT_CHARACTER, 1),
        };
        text.push(character);
        let after = rest.get(length..).unwrap_or_default();
        (plain, rest) = after.split_at(memchr::memchr(b'\\', after).unwrap_or(after.len()));
    }
}

/// The character of the escape sequence at the start of `text`, and the sequence's length. None if it is
/// invalid.
pub(super) fn escape(text: &[u8]) -> Option<(char, usize)> {
    match text {
        [b'\\', b'u', rest @ ..] => {
            let digits: &[u8; 4] = rest.first_chunk()?;
            digits.iter().all(u8::is_ascii_hexdigit).then(|| unicode_escape(text))
        }
        [b'\\', letter, ..] => Some((short_escape(*letter)?, 2)),
        _ => None,
    }
}

/// The character of a backslash and this letter. None for `u`, which digits follow, and for invalid letters.
pub(super) fn short_escape(letter: u8) -> Option<char> {
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

/// The character of the `\uXXXX`, or of the surrogate pair, at the start of `text`, and its length in bytes.
fn unicode_escape(text: &[u8]) -> (char, usize) {
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
