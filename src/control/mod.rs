//! Decides which events a subscriber receives: toggle, then filter (deny before allow), then sampling. Pure:
//! it knows neither queues nor gRPC.
//!
//! The cost of evaluating an event is bounded by [`PatternLimits`], by the length of names that patterns are
//! searched for in, and by remembering the outcomes of recent names.

pub mod glob;
mod limits;
pub mod name;
mod sampler;

pub use limits::PatternLimits;

use glob::Glob;
use limits::{Work, matches};
use name::Name;
use sampler::Sampler;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// How many names have their outcome remembered, and how long a remembered name may be.
const MAX_KNOWN_NAMES: usize = 512;
const MAX_KNOWN_NAME_BYTES: usize = 128;

/// The result of evaluating an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The event is queued for the subscriber.
    Keep,
    /// The subscription is disabled.
    Disabled,
    /// The filter rejects the event.
    Filtered,
    /// Sampling rejects the event.
    SampledOut,
}

/// A change that a subscriber requests.
#[derive(Debug, Clone, PartialEq)]
pub enum Control {
    /// Enable or disable the subscription.
    Toggle(bool),
    /// Keep this share of the events that match one of the patterns; without patterns, of all events.
    Sampling {
        /// Clamped to 0–1.
        rate: f64,
        /// Globs over the dotted name.
        patterns: Vec<String>,
    },
    /// Replace the filter.
    Filter {
        /// Globs of events to keep; empty keeps all.
        allow: Vec<String>,
        /// Globs of events to reject.
        deny: Vec<String>,
    },
}

/// Why a control was not applied. The controls in force stay as they were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The sampling rate is NaN.
    NotANumber,
    /// The subscription would hold too many patterns.
    TooManyPatterns,
    /// A pattern is too long.
    PatternTooLong,
    /// The subscription would hold too many wildcards.
    TooManyWildcards,
}

/// Keeps and rejects events by their names.
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

    fn keeps(&self, name: &mut Name<'_>) -> bool {
        let mut any_matches = |globs: &[Glob]| globs.iter().any(|glob| matches(glob, name));
        !any_matches(&self.deny) && (self.allow.is_empty() || any_matches(&self.allow))
    }
}

/// The filter and the sampling rates. They never change: a control makes new ones.
#[derive(Debug, Default)]
struct Rules {
    filter: Arc<Filter>,
    sampler: Sampler,
    /// Outcomes of recent names: matching many patterns takes long, and few names are in use.
    known: Mutex<HashMap<Box<str>, NameOutcome>>,
}

impl Rules {
    fn new(filter: Arc<Filter>, sampler: Sampler) -> Self {
        Self { filter, sampler, known: Mutex::default() }
    }

    /// The outcome for a name, from memory if it is there. The patterns are matched without the lock.
    fn evaluate(&self, name: &str) -> NameOutcome {
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let may_be_known = name.len() <= MAX_KNOWN_NAME_BYTES;
        if may_be_known && let Some(outcome) = known().get(name) {
            return *outcome;
        }
        let mut prepared = Name::new(name);
        let outcome = if self.filter.keeps(&mut prepared) {
            NameOutcome::Sampled(self.sampler.rate(&mut prepared))
        } else {
            NameOutcome::Decided(Outcome::Filtered)
        };
        if may_be_known {
            let mut known = known();
            if known.len() >= MAX_KNOWN_NAMES {
                known.clear();
            }
            known.insert(name.into(), outcome);
        }
        outcome
    }
}

/// The controls of one subscription. They are immutable and cheap to clone.
#[derive(Debug, Clone)]
pub struct Controls {
    enabled: bool,
    rules: Arc<Rules>,
    limits: PatternLimits,
}

impl Default for Controls {
    /// Keeps every event, within the default pattern limits.
    fn default() -> Self {
        Self::within(PatternLimits::DEFAULT)
    }
}

impl Controls {
    /// Keeps every event; patterns that are set later are subject to these limits.
    pub fn within(limits: PatternLimits) -> Self {
        Self { enabled: true, rules: Arc::default(), limits }
    }

    /// These controls after a change. The time it takes grows with the old and the new patterns.
    ///
    /// # Errors
    ///
    /// If the change is invalid or exceeds the pattern limits.
    pub fn changed(&self, control: Control) -> Result<Self, Refused> {
        let Rules { filter, sampler, .. } = &*self.rules;
        let rules = match control {
            Control::Toggle(enabled) => return Ok(Self { enabled, ..self.clone() }),
            Control::Sampling { rate, patterns } => {
                Rules::new(Arc::clone(filter), sampler.updated(rate, &patterns, &self.limits)?)
            }
            Control::Filter { allow, deny } => {
                Rules::new(Arc::new(Filter::new(&allow, &deny, &self.limits)?), sampler.clone())
            }
        };
        Ok(self.with_rules(rules))
    }

    fn with_rules(&self, rules: Rules) -> Self {
        Self { rules: Arc::new(rules), ..self.clone() }
    }

    /// These controls without sampling.
    #[must_use]
    pub fn unsampled(&self) -> Self {
        self.with_rules(Rules::new(Arc::clone(&self.rules.filter), Sampler::default()))
    }

    /// The limits on patterns.
    pub fn limits(&self) -> PatternLimits {
        self.limits
    }

    /// The number of patterns and wildcards to match a name against, in filter and sampling together.
    pub fn work(&self) -> usize {
        self.rules.filter.work().total() + self.rules.sampler.work().total()
    }

    /// Whether every event is kept, so that events need not be evaluated.
    pub fn keeps_all(&self) -> bool {
        self.enabled && self.rules.filter.keeps_all() && self.rules.sampler.keeps_all()
    }

    /// Evaluates an event's name, which decides everything but sampling.
    pub fn evaluate(&self, name: &str) -> NameOutcome {
        if self.enabled { self.rules.evaluate(name) } else { NameOutcome::Decided(Outcome::Disabled) }
    }
}

/// The outcome for all events of one name.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum NameOutcome {
    /// The same for all of them.
    Decided(Outcome),
    /// This share of them is kept.
    Sampled(f64),
}

impl NameOutcome {
    /// The outcome for one event. The correlation id is UTF-8; empty for none.
    pub fn of_event(self, correlation_id: &[u8]) -> Outcome {
        match self {
            Self::Decided(outcome) => outcome,
            Self::Sampled(rate) if sampler::keeps(rate, correlation_id) => Outcome::Keep,
            Self::Sampled(_) => Outcome::SampledOut,
        }
    }
}

#[cfg(test)]
mod tests;
