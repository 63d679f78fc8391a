//! Python's `fnmatch.fnmatchcase` in the same steps as CPython's `Lib/fnmatch.py` (3.11 to 3.13) and `re`. It
//! is slow, and short enough to compare with the original by reading.

/// Whether the whole of a name matches a pattern.
pub fn fnmatchcase(name: &str, pattern: &str) -> bool {
    let name: Vec<char> = name.chars().collect();
    // For each length, whether the pattern so far matches the start of the name with that length.
    let mut matched = vec![false; name.len() + 1];
    matched[0] = true;
    for part in translate(pattern) {
        if let Part::Star = part {
            let first = matched.iter().position(|matched| *matched).unwrap_or(matched.len());
            matched[first..].fill(true);
        } else {
            let longer = matched.iter().zip(&name).map(|(matched, c)| *matched && part.is_match(*c));
            matched = std::iter::once(false).chain(longer).collect();
        }
    }
    matched.last() == Some(&true)
}

/// A part of the regular expression that a pattern is translated to.
enum Part {
    /// `.*`
    Star,
    /// `.`, which here includes newlines.
    Any,
    /// `(?!)`
    Never,
    /// A character.
    Literal(char),
    /// `[…]` or `[^…]`, by the first and the last character of each range.
    Set { negated: bool, ranges: Vec<(char, char)> },
}

impl Part {
    fn is_match(&self, c: char) -> bool {
        match self {
            Self::Star | Self::Any => true,
            Self::Never => false,
            Self::Literal(literal) => c == *literal,
            Self::Set { negated, ranges } => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated
            }
        }
    }
}

/// `_translate`.
fn translate(pattern: &str) -> Vec<Part> {
    let pattern: Vec<char> = pattern.chars().collect();
    let mut parts = Vec::new();
    let mut i = 0;
    while let Some(&c) = pattern.get(i) {
        i += 1;
        parts.push(match c {
            '*' => Part::Star,
            '?' => Part::Any,
            '[' => {
                let mut j = i;
                if pattern.get(j) == Some(&'!') {
                    j += 1;
                }
                if pattern.get(j) == Some(&']') {
                    j += 1;
                }
                while pattern.get(j).is_some_and(|c| *c != ']') {
                    j += 1;
                }
                if j >= pattern.len() {
                    Part::Literal('[')
                } else {
                    let stuff = &pattern[i..j];
                    i = j + 1;
                    class(stuff)
                }
            }
            _ => Part::Literal(c),
        });
    }
    parts
}

/// The part of `_translate` for the text between brackets.
fn class(stuff: &[char]) -> Part {
    let mut chunks: Vec<Vec<char>> = Vec::new();
    let (mut i, mut k) = (0, if stuff.first() == Some(&'!') { 2 } else { 1 });
    while let Some(hyphen) = stuff.iter().skip(k).position(|c| *c == '-') {
        k += hyphen;
        chunks.push(stuff[i..k].to_vec());
        i = k + 1;
        k += 3;
    }
    match (&stuff[i..], chunks.last_mut()) {
        ([], Some(last)) => last.push('-'),
        (chunk, _) => chunks.push(chunk.to_vec()),
    }
    // Remove empty ranges.
    for k in (1..chunks.len()).rev() {
        if chunks[k - 1].last() > chunks[k].first() {
            let after = chunks.remove(k);
            chunks[k - 1].pop();
            chunks[k - 1].extend(&after[1..]);
        }
    }
    // A hyphen between chunks forms a range; a hyphen within a chunk is a character.
    let mut stuff: Vec<Member> = Vec::new();
    for (number, chunk) in chunks.iter().enumerate() {
        stuff.extend((number > 0).then_some(Member::Hyphen));
        stuff.extend(chunk.iter().map(|c| Member::Literal(*c)));
    }
    match &stuff[..] {
        [] => Part::Never,
        [Member::Literal('!')] => Part::Any,
        [Member::Literal('!'), members @ ..] => Part::Set { negated: true, ranges: ranges(members) },
        members => Part::Set { negated: false, ranges: ranges(members) },
    }
}

/// A token of a set in a regular expression.
#[derive(Clone, Copy)]
enum Member {
    /// A character, escaped if necessary.
    Literal(char),
    /// A bare hyphen.
    Hyphen,
}

impl Member {
    fn char(self) -> char {
        match self {
            Self::Literal(c) => c,
            Self::Hyphen => '-',
        }
    }
}

/// How `re` reads a set.
fn ranges(mut members: &[Member]) -> Vec<(char, char)> {
    let mut ranges = Vec::new();
    while let [low, rest @ ..] = members {
        let (range, rest) = match rest {
            [Member::Hyphen, high, rest @ ..] => ((low.char(), high.char()), rest),
            _ => ((low.char(), low.char()), rest),
        };
        assert!(range.0 <= range.1, "Python would call it a bad character range: {range:?}");
        ranges.push(range);
        members = rest;
    }
    ranges
}
