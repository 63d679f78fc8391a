//! Globs over event names, with the semantics of Python's `fnmatch.fnmatchcase`.
//!
//! What a pattern selects must not depend on which side looks at it, this one or one written in Python. So
//! this matcher gives the answer of `fnmatchcase` for every pattern and every name, oddities included: the
//! rules are those of `translate` in CPython's `Lib/fnmatch.py` (3.11 to 3.13), stated without its detour
//! through a regular expression.
//!
//! A pattern is matched as it was written. Pieces that stand for one character or two each would take many
//! times the memory, and a subscriber, who decides how many there are, would have it for the asking.

use std::ops::Range;

/// A shell-style pattern that must match the whole of a name, case included.
///
/// - `*` matches any run of characters, the empty one too, and `?` matches any one character; a newline, a
///   dot or a slash is a character like any other.
/// - `[seq]` matches one character of `seq`, and `[!seq]` one that is not in it. `seq` holds characters and
///   `low-high` ranges. A `]` that comes first and a `-` that comes first or last stand for themselves; so do
///   `^`, `\` and `[` anywhere.
/// - A range that runs backwards is empty: `[z-a]` matches nothing, `[!z-a]` any one character.
/// - A `[` that nothing closes stands for itself, so there is no such thing as an invalid pattern.
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
    /// Where the first wildcard starts and where the last one ends; both are the pattern's end if there is
    /// none.
    wild: Range<usize>,
    /// From here on a `[` stands for itself.
    unclosed_from: usize,
    /// The shortest name that may match, in bytes.
    shortest: usize,
    wildcards: usize,
}

impl Glob {
    /// Reads `pattern`. Every string is a valid pattern, as in CPython's `Lib/fnmatch.py`.
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
                    // Once one is found unclosed, so are all after it; looking again for each would take
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

    /// Whether the whole of `name` matches: what `fnmatch.fnmatchcase(name, pattern)` of CPython's
    /// `Lib/fnmatch.py` returns.
    ///
    /// Allocates nothing, and takes time proportional to the length of the pattern times that of the name at
    /// worst. What stands before the first wildcard and after the last one costs one comparison each.
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
    /// It goes by bytes, which are characters but for `?`, classes and what stars take.
    fn wild_matches(&self, wild: &str, text: &str) -> bool {
        let (pattern, text_bytes) = (wild.as_bytes(), text.as_bytes());
        // From where in the pattern, and from where in the text.
        let (mut at, mut from) = (0, 0);
        // What follows the last star passed, and the text from which it was tried. Earlier stars need no
        // second try: the leftmost match of what stands between two stars leaves the most to the later one.
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
                // Every piece takes a character, so what starts later comes to the end as well.
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
                // Let the last star take one character more.
                (None, Some((after, tried))) => {
                    let Some(lead) = text_bytes.get(tried) else { return false };
                    let next = (after, tried + char_bytes(*lead));
                    retry = Some(next);
                    next
                }
            };
        }
    }

    /// How many wildcards it has: each `*` and `?`, and each `[...]` with every character in it, as all of
    /// them may have to be looked at for each character of a name.
    pub fn wildcards(&self) -> usize {
        self.wildcards
    }

    /// The pattern as it was given.
    pub fn as_str(&self) -> &str {
        &self.pattern
    }
}

/// A piece of a pattern.
#[derive(Debug, Clone, Copy)]
enum Piece<'p> {
    /// A character that stands for itself.
    Literal(char),
    /// `?`: any one character.
    AnyOne,
    /// `*`: any run of characters.
    Star,
    /// `[...]`: one character, as what is between the brackets says.
    Class(&'p str),
}

impl<'p> Piece<'p> {
    /// Splits the first piece off a pattern; none if there is no more. A `[` opens a class only if it
    /// `may_close`.
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

/// Splits the text after a `[` into the inside of the class and what follows its `]`; none if it has no end.
fn split_class(text: &str) -> Option<(&str, &str)> {
    let body = text.strip_prefix('!').unwrap_or(text);
    let body = body.strip_prefix(']').unwrap_or(body);
    let end = text.len() - body.len() + body.find(']')?;
    let (inside, rest) = text.split_at_checked(end)?;
    Some((inside, rest.strip_prefix(']')?))
}

/// How many bytes a character has, by its first one.
fn char_bytes(lead: u8) -> usize {
    match lead {
        0..0x80 => 1,
        0x80..0xE0 => 2,
        0xE0..0xF0 => 3,
        0xF0.. => 4,
    }
}

/// What comes after the class that starts at this place of a pattern, and after the character at this place
/// of a text, if the one matches the other.
fn strip_class(pattern: &str, at: usize, text: &str, from: usize) -> Option<(usize, usize)> {
    let (inside, after) = split_class(pattern.get(at + 1..)?)?;
    let c = text.get(from..)?.chars().next()?;
    class_matches(inside, c).then_some((pattern.len() - after.len(), from + c.len_utf8()))
}

/// Whether the class with this inside matches a character: it is within one of its ranges or, if the class is
/// negated, within none of them.
///
/// CPython splits the inside into chunks at the hyphens that make ranges, cuts the ranges that run backwards
/// out of the chunks, and only then looks for the leading `!`. So a `!` that such ranges alone precede
/// negates too: `[b-a!x]` is `[!x]`; and if it is the low end of a range, the hyphen is left to stand for
/// itself: `[b-a!-x]` is `[!-x]`.
fn class_matches(inside: &str, c: char) -> bool {
    let mut negated = inside.starts_with('!');
    // Whether there was no range yet, and whether one had the character.
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

    /// Asserts which of the names, separated by blanks, `pattern` matches and which it does not.
    fn check(pattern: &str, yes: &str, no: &str) {
        let glob = Glob::new(pattern);
        for (names, expected) in [(yes, true), (no, false)] {
            for name in names.split_whitespace() {
                assert_eq!(glob.matches(name), expected, "{pattern:?} against {name:?}");
            }
        }
    }

    #[test]
    fn event_names() {
        check("tool.stop", "tool.stop", "tool.stops Tool.stop tool-stop tool");
        check("tool.*", "tool. tool.execution.stop", "tool Tool.x a.tool.x");
        check("*.stop", ".stop tool.stop .stop.stop", "stop tool.stop.x");
        check("*.ex*.st?p", "a.exec.stop .ex.st.stop", "a.exec.start");
        assert_eq!(Glob::new("tool.*").as_str(), "tool.*");
    }

    #[test]
    fn whole_name_of_any_characters() {
        let matches = |pattern, name| Glob::new(pattern).matches(name);
        assert!(matches("", "") && matches("***", "") && !matches("", "a") && !matches("?", ""));
        assert!(matches("a*c", "a\n.c") && matches("a[!b]", "a\n") && !matches("a", "a\n"));
        assert!(matches("?", "\u{1d11e}") && !matches("?", "e\u{301}") && matches("[α-ω]*", "ωmega"));
    }

    #[test]
    fn classes() {
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
    fn unclosed_class_is_literal() {
        check("[", "[", "a");
        check("[]", "[]", "[ ]");
        check("[!]", "[!]", "a");
        check("a[b*[?", "a[b[x a[bb[[", "ab[x");
    }

    #[test]
    fn backward_ranges_are_cut_out() {
        check("[z-a]", "", "a m z - z-a");
        check("[!z-a]", "a m z -", "aa");
        check("[z-ax]", "x", "a z -");
        check("[b-a!x]", "a !", "x");
        check("[b-a!-x]", "a !", "- x");
        check("[b-a!- x]", "x", "! - b");
    }

    #[test]
    fn many_stars_do_not_explode() {
        let name = "a".repeat(2000);
        assert!(Glob::new(&"a*".repeat(1000)).matches(&name));
        assert!(!Glob::new(&("*a".repeat(1000) + "[b]")).matches(&name));
    }

    #[test]
    fn wildcards_are_counted_with_what_is_in_brackets() {
        for (pattern, wildcards) in
            [("tool.stop", 0), ("a*?", 2), ("[ab]x[!c-d]", 8), ("a[b*[?", 2), ("[]ä]", 3)]
        {
            assert_eq!(Glob::new(pattern).wildcards(), wildcards, "{pattern:?}");
        }
    }
}
