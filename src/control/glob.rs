//! Globs over event names, with the semantics of Python's `fnmatch.fnmatchcase`.
//!
//! A pattern must select the same events here and in clients written in Python. So this matcher returns the
//! result of `fnmatchcase` for every pattern and every name, including its special cases. The rules are those
//! of `translate` in CPython's `Lib/fnmatch.py` (3.11 to 3.13), without the intermediate regular expression.
//!
//! A pattern is matched as text and not compiled to a list of pieces. Such a list would take many times the
//! memory of the text, and subscribers decide how long their patterns are.
//!
//! Stars divide a pattern into parts. The first one and the last one are compared once. The others are
//! searched for, each behind the one before it: literal text by way of the [`Name`], and text with `?` or a
//! class at every position.

mod part;
mod piece;

use super::name::Name;
use part::Kind;
use piece::Piece;
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

#[cfg(test)]
mod tests;
