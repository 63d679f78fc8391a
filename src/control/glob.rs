//! Globs over event names, with the semantics of Python's `fnmatch.fnmatchcase`.
//!
//! A pattern must select the same events here and in clients written in Python. So this matcher returns the
//! result of `fnmatchcase` for every pattern and every name, including its special cases. The rules are those
//! of `translate` in CPython's `Lib/fnmatch.py` (3.11 to 3.13), without the intermediate regular expression.
//!
//! A pattern is matched as text and not compiled to a list of pieces. Such a list would take many times the
//! memory of the text, and subscribers decide how long their patterns are.
//!
//! Stars divide a pattern into parts. The first one and the last one are compared once. The others are searched
//! for, each behind the one before it: literal text by way of the [`Name`], and text with `?` or a class at
//! every position.

use super::name::Name;
use memchr::memchr3;
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
    searches: bool,
}

/// How many wildcards a character of a part counts for that is compared at every position of a name: it costs
/// as much as a search for literal text.
const SEARCHED_WILDCARDS: usize = 8;

/// The text of a pattern between two stars, or at the start or the end.
#[derive(Debug, Clone, Copy)]
struct Part<'p> {
    text: &'p str,
    /// Where it begins in the pattern.
    start: usize,
    kind: Kind,
    /// How many characters it matches, unless it is literal.
    characters: usize,
    /// Whether a star follows.
    before_star: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Literal text, which may be empty.
    Literal,
    /// Nothing but `?`.
    AnyCharacters,
    /// Text with `?` or classes.
    Mixed,
}

impl Glob {
    /// Prepares a pattern. Every string is valid.
    pub fn new(pattern: &str) -> Self {
        let end = pattern.len();
        let mut glob = Self {
            pattern: pattern.into(),
            wild: end..end,
            unclosed_from: end,
            shortest: 0,
            wildcards: 0,
            searches: false,
        };
        let mut rest = pattern;
        loop {
            let start = end - rest.len();
            let Some((piece, after)) = Piece::first_of(rest, start < glob.unclosed_from) else {
                break;
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
        glob.count_searched();
        glob
    }

    /// Counts the parts that are searched for.
    fn count_searched(&mut self) {
        let (mut searches, mut compared) = (false, 0);
        let mut part = self.part(0);
        while part.before_star {
            part = self.part(part.start + part.text.len() + 1);
            if part.before_star && !part.text.is_empty() && part.kind != Kind::AnyCharacters {
                searches = true;
                compared += if part.kind == Kind::Mixed { part.text.chars().count() } else { 0 };
            }
        }
        self.searches = searches;
        self.wildcards += SEARCHED_WILDCARDS * compared;
    }

    /// Whether the whole of `name` matches: the result of `fnmatch.fnmatchcase(name, pattern)`.
    ///
    /// To match several patterns against a name, use a [`Name`]. The time grows with the length of both, and
    /// for each part between stars that is not literal with the product of its length and the name's, which
    /// [`wildcards`](Self::wildcards) counts.
    pub fn matches(&self, name: &str) -> bool {
        self.matches_prepared(&mut Name::new(name))
    }

    pub(super) fn matches_prepared(&self, name: &mut Name<'_>) -> bool {
        let text = name.text();
        if self.wildcards == 0 {
            return text == &*self.pattern;
        }
        if text.len() < self.shortest {
            return false;
        }
        let part = |range| self.pattern.get(range).unwrap_or_default();
        let rest = text.strip_prefix(part(0..self.wild.start));
        let rest = rest.and_then(|rest| rest.strip_suffix(part(self.wild.end..self.pattern.len())));
        rest.is_some_and(|rest| self.wild_matches(name, self.wild.start, rest))
    }

    /// Whether the part from the first wildcard to the last one matches the whole of `text`, which begins at
    /// this position in the name.
    fn wild_matches(&self, name: &mut Name<'_>, mut start: usize, text: &str) -> bool {
        let end = start + text.len();
        let mut part = self.part(self.wild.start);
        let Some(mut text) = self.strip(part, text) else { return false };
        if !part.before_star {
            return text.is_empty();
        }
        loop {
            part = self.part(part.start + part.text.len() + 1);
            if !part.before_star {
                return self.ends(part, text);
            }
            start = end - text.len();
            // The leftmost match leaves the most text for the later parts.
            let rest = match part.kind {
                Kind::Literal if part.text.is_empty() => Some(text),
                Kind::Literal => {
                    name.find(part.text, start).and_then(|found| text.get(found - start + part.text.len()..))
                }
                Kind::AnyCharacters => self.strip(part, text),
                Kind::Mixed => self.find(part, text),
            };
            let Some(rest) = rest else { return false };
            text = rest;
        }
    }

    /// The part of the pattern that begins here, up to the next star or the last wildcard.
    fn part(&self, start: usize) -> Part<'_> {
        let pattern = self.pattern.get(start..self.wild.end).unwrap_or_default();
        // Most parts are literal: nothing special comes before their star.
        if let Some(at) = memchr3(b'*', b'?', b'[', pattern.as_bytes())
            && let (text, rest) = pattern.split_at(at)
            && rest.starts_with('*')
        {
            return Part { text, start, kind: Kind::Literal, characters: 0, before_star: true };
        }
        let (mut rest, mut characters) = (pattern, 0);
        let (mut wild, mut literal) = (false, false);
        let before_star = loop {
            let at = start + (pattern.len() - rest.len());
            match Piece::first_of(rest, at < self.unclosed_from) {
                None => break false,
                Some((Piece::Star, _)) => break true,
                Some((piece, after)) => {
                    wild |= !matches!(piece, Piece::Literal(_));
                    literal |= !matches!(piece, Piece::AnyOne);
                    characters += 1;
                    rest = after;
                }
            }
        };
        let kind = match (wild, literal) {
            (false, _) => Kind::Literal,
            (true, false) => Kind::AnyCharacters,
            (true, true) => Kind::Mixed,
        };
        let text = pattern.get(..pattern.len() - rest.len()).unwrap_or_default();
        Part { text, start, kind, characters, before_star }
    }

    /// The text behind the part, if it begins with a match.
    fn strip<'t>(&self, part: Part<'_>, text: &'t str) -> Option<&'t str> {
        if part.kind == Kind::Literal {
            return text.strip_prefix(part.text);
        }
        let (mut pieces, mut left) = (part.text, text);
        loop {
            let at = part.start + (part.text.len() - pieces.len());
            let Some((piece, after)) = Piece::first_of(pieces, at < self.unclosed_from) else {
                return Some(left);
            };
            let mut characters = left.chars();
            let c = characters.next()?;
            let matches = match piece {
                Piece::Literal(literal) => literal == c,
                Piece::Class(inside) => class_matches(inside, c),
                Piece::AnyOne | Piece::Star => true,
            };
            if !matches {
                return None;
            }
            (pieces, left) = (after, characters.as_str());
        }
    }

    /// The text behind the first match of the part.
    fn find<'t>(&self, part: Part<'_>, text: &'t str) -> Option<&'t str> {
        let mut from = text.chars();
        while from.as_str().len() >= part.characters {
            if let Some(rest) = self.strip(part, from.as_str()) {
                return Some(rest);
            }
            from.next();
        }
        None
    }

    /// Whether the text ends with a match of the part.
    fn ends(&self, part: Part<'_>, text: &str) -> bool {
        if part.kind == Kind::Literal {
            return text.ends_with(part.text);
        }
        let mut before = text.chars();
        if (0..part.characters).any(|_| before.next_back().is_none()) {
            return false;
        }
        let end = text.get(before.as_str().len()..).unwrap_or_default();
        self.strip(part, end).is_some_and(str::is_empty)
    }

    /// The number of wildcards: each `*` and `?`, and each `[...]` plus every character in it. Between two
    /// stars every character of a text with `?` or `[...]` counts for eight more: all of them may be compared
    /// with each character of a name.
    pub fn wildcards(&self) -> usize {
        self.wildcards
    }

    /// Whether it has text between two stars, so that the time of matching grows with the length of the name.
    pub fn searches(&self) -> bool {
        self.searches
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
mod tests;
