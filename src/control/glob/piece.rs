//! The pieces of a pattern: what each of its characters means.

/// A piece of a pattern.
#[derive(Debug, Clone, Copy)]
pub(super) enum Piece<'p> {
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
    pub(super) fn first_of(pattern: &'p str, may_close: bool) -> Option<(Self, &'p str)> {
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
    pub(super) fn wildcards(self) -> usize {
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
pub(super) fn class_matches(inside: &str, c: char) -> bool {
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
