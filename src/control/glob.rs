//! Globs over event names, with the semantics of Python's `fnmatch.fnmatchcase`.
//!
//! A pattern must select the same events here and in clients written in Python. So this matcher returns the
//! result of `fnmatchcase` for every pattern and every name, including its special cases. The rules are those
//! of `translate` in CPython's `Lib/fnmatch.py` (3.11 to 3.13), without the intermediate regular expression.
//!
//! A pattern is matched as text and not compiled to a list of pieces. Such a list would take many times the
//! memory of the text, and subscribers decide how long their patterns are.

use std::ops::Range;

/// A shell-style pattern that must match the whole of a name, case included.
///
/// - `*` matches any number of characters, `?` matches one character. Newlines, dots and slashes are not
///   special.
/// - `[seq]` matches one character of `seq`, `[!seq]` one character that is not in it. `seq` consists of
///   characters and `low-high` ranges. A `]` at the start, a `-` at the start or end, and `^`, `\` and `[`
///   anywhere are literal.
/// - A range with `low` above `high` is empty: `[z-a]` matches nothing, `[!z-a]` matches any one character.
/// - A `[` without a closing `]` is literal, so every string is a valid pattern.
///
/// The source of these rules is `fnmatchcase` in CPython's `Lib/fnmatch.py`.
///
/// ```
/// use telemetry_sidecar::control::glob::Glob;
///
/// let glob = Glob::new("tool.*.st[ao]*");
/// assert!(glob.matches("tool.execution.stop"));
/// assert!(!glob.matches("Tool.execution.stop"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    pattern: Box<str>,
    /// From the start of the first wildcard to the end of the last one; empty at the pattern's end if there
    /// is none.
    wild: Range<usize>,
    /// From this position on a `[` is literal.
    unclosed_from: usize,
    /// The length of the shortest name that may match, in bytes.
    shortest: usize,
    wildcards: usize,
}

impl Glob {
    /// Prepares a pattern. Every string is valid.
    pub fn new(pattern: &str) -> Self {
        let end = pattern.len();
        let mut glob =
            Self { pattern: pattern.into(), wild: end..end, unclosed_from: end, shortest: 0, wildcards: 0 };
        let mut rest = pattern;
        loop {
            let start = end - rest.len();
            let Some((piece, after)) = Piece::first_of(rest, start < glob.unclosed_from) else {
                return glob;
            };
            if let Piece::Literal(c) = piece {
                glob.shortest += c.len_utf8();
                if c == '[' {
                    // If one `[` is unclosed, so are all after it. Searching again for each would take
                    // quadratic time.
                    glob.unclosed_from = glob.unclosed_from.min(start);
                }
            } else {
                glob.shortest += usize::from(!matches!(piece, Piece::Star));
                glob.wildcards += piece.wildcards();
                glob.wild = glob.wild.start.min(start)..end - after.len();
            }
            rest = after;
        }
    }

    /// Whether the whole of `name` matches: the result of `fnmatch.fnmatchcase(name, pattern)`.
    ///
    /// It allocates nothing. The worst case is the product of both lengths. The text before the first
    /// wildcard and the text after the last one take one comparison each.
    pub fn matches(&self, name: &str) -> bool {
        if self.wildcards == 0 {
            return name == &*self.pattern;
        }
        if name.len() < self.shortest {
            return false;
        }
        let part = |range| self.pattern.get(range).unwrap_or_default();
        let rest = name.strip_prefix(part(0..self.wild.start));
        let rest = rest.and_then(|rest| rest.strip_suffix(part(self.wild.end..self.pattern.len())));
        rest.is_some_and(|rest| self.wild_matches(part(self.wild.clone()), rest))
    }

    /// Whether the part from the first wildcard to the last one matches the whole of `text`.
    ///
    /// Literal text is compared byte by byte; `?`, classes and stars take whole characters.
    fn wild_matches(&self, wild: &str, text: &str) -> bool {
        let (pattern, text_bytes) = (wild.as_bytes(), text.as_bytes());
        // Positions in the pattern and in the text.
        let (mut at, mut from) = (0, 0);
        // The position after the last star, and the position in the text where the rest was tried. Earlier
        // stars need no retry: the leftmost match of the part between two stars leaves the most text for the
        // later one.
        let mut retry: Option<(usize, usize)> = None;
        loop {
            let next = match (pattern.get(at), text_bytes.get(from)) {
                (None, None) => return true,
                (Some(b'*'), _) => {
                    at += 1;
                    if at == pattern.len() {
                        return true;
                    }
                    retry = Some((at, from));
                    continue;
                }
                // Every other piece takes a character, so a later start reaches the end of the text, too.
                (Some(_), None) => return false,
                (None, Some(_)) => None,
                (Some(b'?'), Some(lead)) => Some((at + 1, from + char_bytes(*lead))),
                (Some(b'['), _) if self.wild.start + at < self.unclosed_from => {
                    strip_class(wild, at, text, from)
                }
                (Some(literal), Some(byte)) => (literal == byte).then_some((at + 1, from + 1)),
            };
            (at, from) = match (next, retry) {
                (Some(next), _) => next,
                (None, None) => return false,
                // The last star takes one more character.
                (None, Some((after, tried))) => {
                    let Some(lead) = text_bytes.get(tried) else { return false };
                    let next = (after, tried + char_bytes(*lead));
                    retry = Some(next);
                    next
                }
            };
        }
    }

    /// The number of wildcards: each `*` and `?`, and each `[...]` plus every character in it. All of them
    /// may be compared with each character of a name.
    pub fn wildcards(&self) -> usize {
        self.wildcards
    }

    /// The pattern as text.
    pub fn as_str(&self) -> &str {
        &self.pattern
    }
}

/// A piece of a pattern.
#[derive(Debug, Clone, Copy)]
enum Piece<'p> {
    /// A literal character.
    Literal(char),
    /// `?`: any one character.
    AnyOne,
    /// `*`: any run of characters.
    Star,
    /// `[...]`: one character. The text is the inside of the brackets.
    Class(&'p str),
}

impl<'p> Piece<'p> {
    /// Splits off the first piece of a pattern. A `[` starts a class only if `may_close` is true.
    fn first_of(pattern: &'p str, may_close: bool) -> Option<(Self, &'p str)> {
        let mut chars = pattern.chars();
        let c = chars.next()?;
        let after = chars.as_str();
        Some(match c {
            '*' => (Self::Star, after),
            '?' => (Self::AnyOne, after),
            '[' if may_close => match split_class(after) {
                Some((inside, after)) => (Self::Class(inside), after),
                None => (Self::Literal(c), after),
            },
            c => (Self::Literal(c), after),
        })
    }

    /// See [`Glob::wildcards`].
    fn wildcards(self) -> usize {
        match self {
            Self::Literal(_) => 0,
            Self::AnyOne | Self::Star => 1,
            Self::Class(inside) => 1 + inside.chars().count(),
        }
    }
}

/// Splits the text after a `[` into the inside of the class and the text after its `]`. None if there is no
/// `]`.
fn split_class(text: &str) -> Option<(&str, &str)> {
    let body = text.strip_prefix('!').unwrap_or(text);
    let body = body.strip_prefix(']').unwrap_or(body);
    let end = text.len() - body.len() + body.find(']')?;
    let (inside, rest) = text.split_at_checked(end)?;
    Some((inside, rest.strip_prefix(']')?))
}

/// The length of a character in bytes, from its first byte.
fn char_bytes(lead: u8) -> usize {
    match lead {
        0..0x80 => 1,
        0x80..0xE0 => 2,
        0xE0..0xF0 => 3,
        0xF0.. => 4,
    }
}

/// If the class at `at` in the pattern matches the character at `from` in the text, returns the positions
/// after both.
fn strip_class(pattern: &str, at: usize, text: &str, from: usize) -> Option<(usize, usize)> {
    let (inside, after) = split_class(pattern.get(at + 1..)?)?;
    let c = text.get(from..)?.chars().next()?;
    class_matches(inside, c).then_some((pattern.len() - after.len(), from + c.len_utf8()))
}

/// Whether a class matches a character: the character is in one of the ranges or, if the class is negated, in
/// none.
///
/// CPython splits the inside into chunks at the hyphens of ranges, removes the empty ranges, and only then
/// looks for the leading `!`. So a `!` after nothing but empty ranges negates the class, too: `[b-a!x]` is
/// `[!x]`. If that `!` is the low end of a range, the hyphen becomes literal: `[b-a!-x]` is `[!-x]`.
fn class_matches(inside: &str, c: char) -> bool {
    let mut negated = inside.starts_with('!');
    // Whether all ranges so far were empty, and whether one contains the character.
    let (mut empty, mut found) = (true, false);
    let mut chars = inside.strip_prefix('!').unwrap_or(inside).chars();
    while let Some(low) = chars.next() {
        let mut ahead = chars.clone();
        let high = (ahead.next() == Some('-')).then(|| ahead.next()).flatten();
        if high.is_some() {
            chars = ahead;
        }
        match high {
            Some(high) if low > high => {}
            _ if low == '!' && !negated && empty => {
                negated = true;
                if let Some(high) = high {
                    empty = false;
                    found = c == '-' || c == high;
                }
            }
            _ => {
                empty = false;
                found |= (low..=high.unwrap_or(low)).contains(&c);
            }
        }
    }
    found != negated
}

#[cfg(test)]
mod tests {
    use super::Glob;

    /// Asserts that `pattern` matches the names in `yes` and none of those in `no`. Names are separated by
    /// spaces.
    fn check(pattern: &str, yes: &str, no: &str) {
        let glob = Glob::new(pattern);
        for (names, expected) in [(yes, true), (no, false)] {
            for name in names.split_whitespace() {
                assert_eq!(glob.matches(name), expected, "{pattern:?} against {name:?}");
            }
        }
    }

    #[test]
    fn stars_and_question_marks_match_event_names() {
        check("tool.stop", "tool.stop", "tool.stops Tool.stop tool-stop tool");
        check("tool.*", "tool. tool.execution.stop", "tool Tool.x a.tool.x");
        check("*.stop", ".stop tool.stop .stop.stop", "stop tool.stop.x");
        check("*.ex*.st?p", "a.exec.stop .ex.st.stop", "a.exec.start");
        assert_eq!(Glob::new("tool.*").as_str(), "tool.*");
    }

    #[test]
    fn wildcards_match_any_character_and_patterns_match_the_whole_name() {
        let matches = |pattern, name| Glob::new(pattern).matches(name);
        assert!(matches("", "") && matches("***", "") && !matches("", "a") && !matches("?", ""));
        assert!(matches("a*c", "a\n.c") && matches("a[!b]", "a\n") && !matches("a", "a\n"));
        assert!(matches("?", "\u{1d11e}") && !matches("?", "e\u{301}") && matches("[α-ω]*", "ωmega"));
    }

    #[test]
    fn classes_match_one_character() {
        check("[a-cx]", "a b c x", "d - ab");
        check("[!a-cx]", "d - !", "a b c x dd");
        check("[]-]", "] -", "[ []-]");
        check("[!]]", "[ !", "]");
        check("[^a]", "^ a", "b");
        check("[[]", "[", "[[]");
        check(r"[\]x", r"\x", "x ]x");
        check("[--0]", "- . / 0", "1");
        check("[a-c-e]", "a b c - e", "d");
        check("[&&~|]", "& ~ |", "a");
    }

    #[test]
    fn an_unclosed_class_is_literal() {
        check("[", "[", "a");
        check("[]", "[]", "[ ]");
        check("[!]", "[!]", "a");
        check("a[b*[?", "a[b[x a[bb[[", "ab[x");
    }

    #[test]
    fn backward_ranges_are_empty() {
        check("[z-a]", "", "a m z - z-a");
        check("[!z-a]", "a m z -", "aa");
        check("[z-ax]", "x", "a z -");
        check("[b-a!x]", "a !", "x");
        check("[b-a!-x]", "a !", "- x");
        check("[b-a!- x]", "x", "! - b");
    }

    #[test]
    fn many_stars_take_no_exponential_time() {
        let name = "a".repeat(2000);
        assert!(Glob::new(&"a*".repeat(1000)).matches(&name));
        assert!(!Glob::new(&("*a".repeat(1000) + "[b]")).matches(&name));
    }

    #[test]
    fn characters_in_brackets_count_as_wildcards() {
        for (pattern, wildcards) in
            [("tool.stop", 0), ("a*?", 2), ("[ab]x[!c-d]", 8), ("a[b*[?", 2), ("[]ä]", 3)]
        {
            assert_eq!(Glob::new(pattern).wildcards(), wildcards, "{pattern:?}");
        }
    }
}
