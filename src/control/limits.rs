//! Limits on the patterns of a subscription.

use super::{Refused, glob::Glob, name::Name};

/// The longest name that text between two stars is searched for in, in bytes. Event names are far shorter.
const MAX_SEARCHED_NAME_BYTES: usize = 1024;

/// Whether a pattern of a subscription matches a name. A name that is too long for a search is not matched by
/// a pattern that takes one, so that the time for an event is bounded.
pub(super) fn matches(glob: &Glob, name: &mut Name<'_>) -> bool {
    (name.text().len() <= MAX_SEARCHED_NAME_BYTES || !glob.searches()) && name.matches(glob)
}

/// The budget of a subscription's patterns. Evaluating an event may have to match its name against all of
/// them, on the thread that reads the worker's stderr. That takes about a millisecond at worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PatternLimits {
    /// The most patterns in the filter, and as many in the sampling rates.
    pub count: usize,
    /// The longest pattern, in bytes.
    pub bytes: usize,
    /// The most [wildcards](Glob::wildcards) in the filter, and as many in the sampling rates.
    pub wildcards: usize,
}

impl PatternLimits {
    /// A name for each of a thousand tools, with a wildcard at either end. A subscription holds at most 512
    /// KiB of patterns.
    pub const DEFAULT: Self = Self { count: 1024, bytes: 256, wildcards: 2048 };

    /// The parser of an option whose value is a glob.
    ///
    /// # Errors
    ///
    /// If it is empty or too long.
    pub fn glob(word: &str) -> Result<String, String> {
        match word.len() {
            0 => Err("an empty glob matches no event".into()),
            length if length > Self::DEFAULT.bytes => {
                Err(format!("expected a glob of at most {} bytes", Self::DEFAULT.bytes))
            }
            _ => Ok(word.to_owned()),
        }
    }

    /// The size of the longest control message within these limits, in bytes. Each pattern has a tag and a
    /// length of at most five bytes; the rest is for other fields, those of later versions included.
    pub const fn control_bytes(&self) -> usize {
        const PER_PATTERN: usize = 1 + 5;
        const OTHER_FIELDS: usize = 1024;
        self.bytes.saturating_add(PER_PATTERN).saturating_mul(self.count).saturating_add(OTHER_FIELDS)
    }

    /// Compiles patterns that are within the limits by themselves.
    pub(super) fn compile(&self, patterns: &[String]) -> Result<Vec<Glob>, Refused> {
        if patterns.len() > self.count {
            return Err(Refused::TooManyPatterns);
        }
        if patterns.iter().any(|pattern| pattern.len() > self.bytes) {
            return Err(Refused::PatternTooLong);
        }
        Ok(patterns.iter().map(|pattern| Glob::new(pattern)).collect())
    }

    /// Checks the patterns of a filter or of the sampling rates all together.
    pub(super) fn check(&self, work: Work) -> Result<(), Refused> {
        if work.patterns > self.count {
            Err(Refused::TooManyPatterns)
        } else if work.wildcards > self.wildcards {
            Err(Refused::TooManyWildcards)
        } else {
            Ok(())
        }
    }
}

/// The cost of matching patterns.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Work {
    pub(super) patterns: usize,
    pub(super) wildcards: usize,
}

impl Work {
    pub(super) fn of<'g>(globs: impl IntoIterator<Item = &'g Glob>) -> Self {
        globs.into_iter().fold(Self::default(), |sum, glob| Self {
            patterns: sum.patterns + 1,
            wildcards: sum.wildcards + glob.wildcards(),
        })
    }

    /// A pattern without wildcards costs one comparison, a wildcard about as much.
    pub(super) fn total(self) -> usize {
        self.patterns + self.wildcards
    }
}
