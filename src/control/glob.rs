//! Globs over event names, with the semantics of Python's `fnmatch.fnmatchcase`.
//!
//! What a pattern selects must not depend on which side looks at it, this one or one written in Python. So
//! this matcher gives the answer of `fnmatchcase` for every pattern and every name, oddities included: the
//! rules are those of `translate` in CPython's `Lib/fnmatch.py` (3.11 to 3.13), stated without its detour
//! through a regular expression.

use std::ops::RangeInclusive;

/// A compiled shell-style pattern that must match the whole of a name, case included.
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
    pattern: String,
    tokens: Vec<Token>,
}

impl Glob {
    /// Compiles `pattern`. Every string is a valid pattern, as in CPython's `Lib/fnmatch.py`.
    pub fn new(pattern: &str) -> Self {
        Self { pattern: pattern.to_owned(), tokens: tokenize(pattern) }
    }

    /// Whether the whole of `name` matches: what `fnmatch.fnmatchcase(name, pattern)` of CPython's
    /// `Lib/fnmatch.py` returns.
    ///
    /// Allocates nothing, and takes time proportional to the length of the pattern times that of the name at
    /// worst. A pattern that is all literal, or literal but for a star at one end, costs one comparison.
    pub fn matches(&self, name: &str) -> bool {
        let (mut tokens, mut rest) = (self.tokens.as_slice(), name);
        // What follows the last star passed, and the text from which to try that next. Earlier stars need no
        // second try: the leftmost match of what stands between two stars leaves the most to the later one.
        let mut retry: Option<(&[Token], &str)> = None;
        loop {
            let step = match tokens {
                [] if rest.is_empty() => return true,
                [] => None,
                [Token::Star] => return true,
                [Token::Star, Token::Literal(tail)] => return rest.ends_with(tail.as_str()),
                [Token::Star, after @ ..] => {
                    retry = Some((after, rest));
                    Some((after, rest))
                }
                [token, after @ ..] => token.strip_from(rest).map(|rest| (after, rest)),
            };
            if step.is_none() {
                // Let the last star take one character more.
                retry = retry.and_then(|(after, from)| Some((after, Token::AnyOne.strip_from(from)?)));
            }
            let Some(next) = step.or(retry) else {
                return false;
            };
            (tokens, rest) = next;
        }
    }

    /// The pattern as it was given.
    pub fn as_str(&self) -> &str {
        &self.pattern
    }
}

/// A piece of a compiled pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// A run of characters that stand for themselves.
    Literal(String),
    /// `?`: any one character.
    AnyOne,
    /// `*`: any run of characters. No two follow each other.
    Star,
    /// `[...]`: one character that is within one of the ranges, or, if negated, within none of them.
    Class { negated: bool, ranges: Vec<RangeInclusive<char>> },
}

impl Token {
    /// What is left of `text` without this token's match at its start; none if it does not match there.
    fn strip_from<'t>(&self, text: &'t str) -> Option<&'t str> {
        match self {
            Self::Literal(run) => text.strip_prefix(run.as_str()),
            Self::AnyOne => text.strip_prefix(|_: char| true),
            Self::Star => Some(text),
            Self::Class { negated, ranges } => {
                text.strip_prefix(|c: char| ranges.iter().any(|range| range.contains(&c)) != *negated)
            }
        }
    }
}

fn tokenize(pattern: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut chars = pattern.chars();
    // Once a `[` is found unclosed, so are all after it; looking again for each would take quadratic time.
    let mut may_close = true;
    while let Some(c) = chars.next() {
        let open = c == '[' && may_close;
        let class = open.then(|| split_class(chars.as_str())).flatten();
        may_close &= !open || class.is_some();
        match (c, class, tokens.last_mut()) {
            ('*', _, Some(Token::Star)) => {}
            ('*', ..) => tokens.push(Token::Star),
            ('?', ..) => tokens.push(Token::AnyOne),
            (_, Some((inside, after)), _) => {
                tokens.push(parse_class(inside));
                chars = after.chars();
            }
            (_, None, Some(Token::Literal(run))) => run.push(c),
            (_, None, _) => tokens.push(Token::Literal(c.into())),
        }
    }
    tokens
}

/// Splits the text after a `[` into the inside of the class and what follows its `]`; none if it has no end.
fn split_class(text: &str) -> Option<(&str, &str)> {
    let body = text.strip_prefix('!').unwrap_or(text);
    let body = body.strip_prefix(']').unwrap_or(body);
    let end = text.len() - body.len() + body.find(']')?;
    let (inside, rest) = text.split_at_checked(end)?;
    Some((inside, rest.strip_prefix(']')?))
}

/// Reads the inside of a class.
///
/// CPython splits it into chunks at the hyphens that make ranges, cuts the ranges that run backwards out of
/// the chunks, and only then looks for the leading `!`. So a `!` that such ranges alone precede negates too:
/// `[b-a!x]` is `[!x]`; and if it is the low end of a range, the hyphen is left to stand for itself:
/// `[b-a!-x]` is `[!-x]`.
fn parse_class(inside: &str) -> Token {
    let mut negated = inside.starts_with('!');
    let mut ranges = Vec::new();
    let mut chars = inside.strip_prefix('!').unwrap_or(inside).chars();
    while let Some(low) = chars.next() {
        let mut ahead = chars.clone();
        let high = (ahead.next() == Some('-')).then(|| ahead.next()).flatten();
        if high.is_some() {
            chars = ahead;
        }
        match high {
            Some(high) if low > high => {}
            _ if low == '!' && !negated && ranges.is_empty() => {
                negated = true;
                ranges.extend(high.into_iter().flat_map(|high| ['-'..='-', high..=high]));
            }
            _ => ranges.push(low..=high.unwrap_or(low)),
        }
    }
    Token::Class { negated, ranges }
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
}
