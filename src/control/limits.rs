//! How much a subscription's patterns may be.

use super::{Refused, glob::Glob};

/// How many patterns a subscription may hold, and how long and how wild they may be: judging an event may have to try
/// them all, each over the whole of its name, and the worker waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PatternLimits {
    /// The most in its filter, and as many in its sampling.
    pub count: usize,
    /// The longest, in bytes.
    pub bytes: usize,
    /// The most [wildcards](Glob::wildcards) in its filter, and as many in its sampling.
    pub wildcards: usize,
}

impl PatternLimits {
    /// A name each for a thousand tools, with a wildcard at either end. A subscription holds 512 KiB of patterns at most,
    /// and the wildcards of a filter that is made to take long cost an event of a new name some tenths of a millisecond.
    pub const DEFAULT: Self = Self { count: 1024, bytes: 256, wildcards: 2048 };

    /// The longest message with a control that these limits allow, in bytes: each pattern has a tag and a length of
    /// five bytes at most, and there is room for what else there is, such as fields of a later version.
    pub const fn control_bytes(&self) -> usize {
        const PER_PATTERN: usize = 1 + 5;
        const ALL_ELSE: usize = 1024;
        self.bytes.saturating_add(PER_PATTERN).saturating_mul(self.count).saturating_add(ALL_ELSE)
    }

    /// Compiles patterns, if they are within the limits by themselves.
    pub(super) fn compile(&self, patterns: &[String]) -> Result<Vec<Glob>, Refused> {
        if patterns.len() > self.count {
            return Err(Refused::TooManyPatterns);
        }
        if patterns.iter().any(|pattern| pattern.len() > self.bytes) {
            return Err(Refused::PatternTooLong);
        }
        Ok(patterns.iter().map(|pattern| Glob::new(pattern)).collect())
    }

    /// Whether patterns are within the limits all together.
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

/// What trying patterns takes.
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

    /// As one number: a pattern without wildcards is a comparison, and so is a wildcard about.
    pub(super) fn total(self) -> usize {
        self.patterns + self.wildcards
    }
}
