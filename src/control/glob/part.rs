//! The parts of a pattern between its stars, and how they match.

use super::{
    Glob,
    piece::{Piece, class_matches},
};
use crate::control::name::Name;
use memchr::memchr3;

/// The text of a pattern between two stars, or at the start or the end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part<'p> {
    pub(super) text: &'p str,
    /// Where it begins in the pattern.
    pub(super) start: usize,
    pub(super) kind: Kind,
    /// How many characters it matches, unless it is literal.
    characters: usize,
    /// Whether a star follows.
    pub(super) before_star: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Literal text, which may be empty.
    Literal,
    /// Nothing but `?`.
    AnyCharacters,
    /// Text with `?` or classes.
    Mixed,
}

impl Glob {
    /// Whether the part from the first wildcard to the last one matches the whole of `text`, which begins at
    /// this position in the name.
    pub(super) fn wild_matches(&self, name: &mut Name<'_>, mut start: usize, text: &str) -> bool {
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
    pub(super) fn part(&self, start: usize) -> Part<'_> {
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
}
