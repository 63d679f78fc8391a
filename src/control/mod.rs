//! What a subscriber wants: switched on or off, filtered, sampled. Pure; knows neither queues nor gRPC.
//!
//! Checks come in this order: toggle, filter (deny before allow), sampling.

pub mod glob;
mod limits;
mod sampler;

pub use limits::PatternLimits;

use glob::Glob;
use limits::Work;
use sampler::Sampler;
use std::{collections::HashMap, mem, sync::Arc};

/// The most names of which is remembered what patterns make of them, and the longest such, in bytes.
const MAX_KNOWN_NAMES: usize = 512;
const MAX_KNOWN_NAME_BYTES: usize = 128;

/// What is to become of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes to the subscriber.
    Keep,
    /// The subscription is switched off.
    SwitchedOff,
    /// The filter leaves it out.
    Filtered,
    /// Sampling leaves it out.
    SampledOut,
}

/// A change that a subscriber asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Control {
    /// Switch on or off.
    Toggle(bool),
    /// Keep this share of events: of those that match one of the patterns, or with no patterns of all.
    Sampling {
        /// 0 to 1; values beyond are clamped.
        rate: f64,
        /// Globs over the dotted name.
        patterns: Vec<String>,
    },
    /// Replace the filter.
    Filter {
        /// Globs of events to keep; empty keeps all.
        allow: Vec<String>,
        /// Globs of events to leave out.
        deny: Vec<String>,
    },
}

/// A control that is not applied; everything stays as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// A sampling rate that is not a number.
    NotANumber,
    /// More patterns than a subscription may hold.
    TooManyPatterns,
    /// A pattern that is longer than any may be.
    PatternTooLong,
    /// More wildcards in patterns than a subscription may hold.
    TooManyWildcards,
}

/// Which events pass by their names.
#[derive(Debug, Default)]
struct Filter {
    allow: Vec<Glob>,
    deny: Vec<Glob>,
}

impl Filter {
    fn new(allow: &[String], deny: &[String], limits: &PatternLimits) -> Result<Self, Refused> {
        let filter = Self { allow: limits.compile(allow)?, deny: limits.compile(deny)? };
        limits.check(filter.work())?;
        Ok(filter)
    }

    fn work(&self) -> Work {
        Work::of(self.allow.iter().chain(&self.deny))
    }

    fn keeps_all(&self) -> bool {
        self.allow.is_empty() && self.deny.is_empty()
    }

    fn keeps(&self, name: &str) -> bool {
        let matches = |globs: &[Glob]| globs.iter().any(|glob| glob.matches(name));
        !matches(&self.deny) && (self.allow.is_empty() || matches(&self.allow))
    }
}

/// What patterns make of names. It never changes, so that whoever wants another one makes it in his own time.
#[derive(Debug, Clone, Default)]
struct Rules {
    filter: Arc<Filter>,
    sampler: Sampler,
}

/// The state of one subscription's controls.
///
/// A clone costs next to nothing, whatever the patterns.
#[derive(Debug, Clone)]
pub struct Controls {
    enabled: bool,
    rules: Arc<Rules>,
    limits: PatternLimits,
    /// What the rules make of the names that came.
    known: HashMap<Box<str>, ByName>,
}

impl Default for Controls {
    /// Everything passes.
    fn default() -> Self {
        Self::within(PatternLimits::DEFAULT)
    }
}

impl Controls {
    /// Everything passes, and so many patterns may be set.
    pub fn within(limits: PatternLimits) -> Self {
        Self { enabled: true, rules: Arc::default(), limits, known: HashMap::new() }
    }

    /// These after a change.
    ///
    /// It takes time by the patterns, those that are there and those that come.
    ///
    /// # Errors
    ///
    /// If it asks for something that cannot be done.
    pub fn changed(&self, control: Control) -> Result<Self, Refused> {
        let Rules { filter, sampler } = &*self.rules;
        let rules = match control {
            Control::Toggle(enabled) => {
                return Ok(Self { enabled, rules: Arc::clone(&self.rules), ..Self::within(self.limits) });
            }
            Control::Sampling { rate, patterns } => {
                let sampler = sampler.updated(rate, &patterns, &self.limits)?;
                Rules { filter: Arc::clone(filter), sampler }
            }
            Control::Filter { allow, deny } => {
                let filter = Arc::new(Filter::new(&allow, &deny, &self.limits)?);
                Rules { filter, sampler: sampler.clone() }
            }
        };
        Ok(self.with_rules(rules))
    }

    fn with_rules(&self, rules: Rules) -> Self {
        Self { enabled: self.enabled, rules: Arc::new(rules), ..Self::within(self.limits) }
    }

    /// Puts others in force and returns these, to be dropped where nobody waits for that. It takes no time.
    #[must_use]
    pub fn replace(&mut self, mut others: Self) -> Self {
        if Arc::ptr_eq(&self.rules, &others.rules) {
            others.known = mem::take(&mut self.known);
        }
        mem::replace(self, others)
    }

    /// The same, but with all of what the filter lets through.
    #[must_use]
    pub fn unsampled(&self) -> Self {
        self.with_rules(Rules { filter: Arc::clone(&self.rules.filter), sampler: Sampler::default() })
    }

    /// How many patterns they may have.
    pub fn limits(&self) -> PatternLimits {
        self.limits
    }

    /// How many patterns and wildcards there are to try for a name, in filter and sampling together.
    pub fn work(&self) -> usize {
        self.rules.filter.work().total() + self.rules.sampler.work().total()
    }

    /// Whether every event is kept, so that there is no need to judge one by one.
    pub fn keeps_all(&self) -> bool {
        self.enabled && self.rules.filter.keeps_all() && self.rules.sampler.keeps_all()
    }

    /// Judges an event by its name, as far as that goes.
    ///
    /// Trying many patterns takes long, and names are few: what was found is remembered as long as the patterns stay.
    pub fn judge_name(&mut self, name: &str) -> ByName {
        if !self.enabled {
            return ByName::Decided(Verdict::SwitchedOff);
        }
        if let Some(known) = self.known.get(name) {
            return *known;
        }
        let found = if self.rules.filter.keeps(name) {
            ByName::Sampled(self.rules.sampler.rate(name))
        } else {
            ByName::Decided(Verdict::Filtered)
        };
        if self.known.len() >= MAX_KNOWN_NAMES {
            self.known.clear();
        }
        if name.len() <= MAX_KNOWN_NAME_BYTES {
            self.known.insert(name.into(), found);
        }
        found
    }
}

/// What is to become of the events of a name.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ByName {
    /// The same for all of them.
    Decided(Verdict),
    /// This share of them is kept.
    Sampled(f64),
}

impl ByName {
    /// Judges one of them. The correlation id is UTF-8; empty for none.
    pub fn judge(self, correlation_id: &[u8]) -> Verdict {
        match self {
            Self::Decided(verdict) => verdict,
            Self::Sampled(rate) if sampler::keeps(rate, correlation_id) => Verdict::Keep,
            Self::Sampled(_) => Verdict::SampledOut,
        }
    }
}

#[cfg(test)]
mod tests;
