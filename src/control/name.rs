//! A name to match patterns against.

use super::glob::Glob;
use memchr::memmem;

/// How many texts are searched for one by one. A search prepares itself for its text, so that for many texts
/// it is faster to prepare the name.
const FEW: usize = 16;

/// A name, prepared for many patterns.
#[derive(Debug)]
pub struct Name<'n> {
    text: &'n str,
    searches: usize,
    /// Where each suffix of the name begins, by the order of the suffixes: those that begin with the same
    /// text follow each other. Empty until it is needed.
    suffixes: Vec<u32>,
}

impl<'n> Name<'n> {
    /// Prepares a name.
    pub fn new(text: &'n str) -> Self {
        Self { text, searches: 0, suffixes: Vec::new() }
    }

    /// The name as text.
    pub fn text(&self) -> &'n str {
        self.text
    }

    /// Whether the pattern matches the whole name: the result of `fnmatch.fnmatchcase(name, pattern)`.
    pub fn matches(&mut self, glob: &Glob) -> bool {
        glob.matches_prepared(self)
    }

    /// Where a text that is not empty first begins at this position or behind it. The time hardly depends on
    /// the texts.
    pub(super) fn find(&mut self, text: &str, from: usize) -> Option<usize> {
        let name = self.text.as_bytes();
        self.searches += 1;
        if self.searches <= FEW {
            return memmem::find(name.get(from..)?, text.as_bytes()).map(|found| from + found);
        }
        let behind = |start: &u32| name.get(*start as usize..).unwrap_or_default();
        if self.suffixes.is_empty() {
            self.suffixes = (0..).take(name.len()).collect();
            self.suffixes.sort_unstable_by_key(behind);
        }
        let first = self.suffixes.partition_point(|start| behind(start) < text.as_bytes());
        let same = self.suffixes.get(first..)?;
        let same = same.get(..same.partition_point(|start| behind(start).starts_with(text.as_bytes())))?;
        let from = u32::try_from(from).ok()?;
        // Without a branch, so that it takes several at a time.
        let found = same.iter().map(|start| if *start < from { u32::MAX } else { *start }).min();
        found.filter(|found| *found < u32::MAX).map(|found| found as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_at_its_first_place_however_many_were_searched_for() {
        for text in ["abcabcabc", "aaaaaaaa", "äöäöäö", ""] {
            let mut few = Name::new(text);
            let mut many = Name::new(text);
            (0..FEW).for_each(|_| assert_eq!(many.find("nowhere", 0), None));
            for from in 0..=text.len() {
                for wanted in ["a", "abc", "cab", "aaa", "ö", "äö", "abcabcabc", "aaaaaaaaa", "x"] {
                    few.searches = 0;
                    let expected = text.as_bytes()[from..]
                        .windows(wanted.len())
                        .position(|window| window == wanted.as_bytes())
                        .map(|found| from + found);
                    assert_eq!(few.find(wanted, from), expected, "{wanted} in {text} from {from}");
                    assert_eq!(many.find(wanted, from), expected, "{wanted} in {text} from {from}");
                }
            }
        }
    }
}
