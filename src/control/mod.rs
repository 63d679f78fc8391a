//! What a subscriber wants: switched on or off, filtered, sampled. Pure; knows neither queues nor gRPC.
//!
//! Checks come in this order: toggle, filter (deny before allow), sampling.

pub mod glob;
mod sampler;

use glob::Glob;
use sampler::Sampler;
use std::collections::HashMap;

/// How many patterns a subscription may hold, and how long they may be: judging an event may have to try them all,
/// each over the whole of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PatternLimits {
    /// The most in its filter, and as many in its sampling.
    pub count: usize,
    /// The longest, in bytes.
    pub bytes: usize,
}

impl PatternLimits {
    /// More than anybody writes by hand.
    pub const DEFAULT: Self = Self { count: 1024, bytes: 1024 };

    fn check<'p>(self, patterns: impl IntoIterator<Item = &'p String>) -> Result<(), Refused> {
        let mut count = 0;
        for pattern in patterns {
            count += 1;
            if pattern.len() > self.bytes {
                return Err(Refused::PatternTooLong);
            }
        }
        if count > self.count { Err(Refused::TooManyPatterns) } else { Ok(()) }
    }
}

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
}

/// The state of one subscription's controls.
#[derive(Debug, Clone)]
pub struct Controls {
    enabled: bool,
    allow: Vec<Glob>,
    deny: Vec<Glob>,
    sampler: Sampler,
    limits: PatternLimits,
    /// What these make of the names that came.
    known: HashMap<Box<str>, ByName>,
}

impl Default for Controls {
    /// Everything passes.
    fn default() -> Self {
        Self {
            enabled: true,
            allow: Vec::new(),
            deny: Vec::new(),
            sampler: Sampler::default(),
            limits: PatternLimits::DEFAULT,
            known: HashMap::new(),
        }
    }
}

impl Controls {
    /// Everything passes, and so many patterns may be set.
    pub fn within(limits: PatternLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Applies a change.
    ///
    /// # Errors
    ///
    /// If it asks for something that cannot be done; nothing is changed then.
    pub fn apply(&mut self, control: Control) -> Result<(), Refused> {
        self.known.clear();
        match control {
            Control::Toggle(enabled) => self.enabled = enabled,
            Control::Sampling { rate, patterns } => {
                self.limits.check(&patterns)?;
                self.sampler.update(rate, &patterns, self.limits.count)?;
            }
            Control::Filter { allow, deny } => {
                self.limits.check(allow.iter().chain(&deny))?;
                self.allow = allow.iter().map(|pattern| Glob::new(pattern)).collect();
                self.deny = deny.iter().map(|pattern| Glob::new(pattern)).collect();
            }
        }
        Ok(())
    }

    /// The same, but with all of what the filter lets through.
    #[must_use]
    pub fn unsampled(&self) -> Self {
        Self { sampler: Sampler::default(), known: HashMap::new(), ..self.clone() }
    }

    /// Whether every event is kept, so that there is no need to judge one by one.
    pub fn keeps_all(&self) -> bool {
        self.enabled && self.allow.is_empty() && self.deny.is_empty() && self.sampler.keeps_all()
    }

    /// Judges an event by its name, as far as that goes.
    ///
    /// Trying many patterns takes long, and names are few: what was found is remembered until a control changes it.
    pub fn judge_name(&mut self, name: &str) -> ByName {
        if !self.enabled {
            return ByName::Decided(Verdict::SwitchedOff);
        }
        if let Some(known) = self.known.get(name) {
            return *known;
        }
        let matches = |globs: &[Glob]| globs.iter().any(|glob| glob.matches(name));
        let found = if matches(&self.deny) || !(self.allow.is_empty() || matches(&self.allow)) {
            ByName::Decided(Verdict::Filtered)
        } else {
            ByName::Sampled(self.sampler.rate(name))
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
mod tests {
    use super::*;

    fn controls(changes: impl IntoIterator<Item = Control>) -> Controls {
        let mut controls = Controls::default();
        for change in changes {
            controls.apply(change).unwrap();
        }
        controls
    }

    fn filter(allow: &[&str], deny: &[&str]) -> Control {
        let own = |globs: &[&str]| globs.iter().map(ToString::to_string).collect();
        Control::Filter { allow: own(allow), deny: own(deny) }
    }

    fn sampling(rate: f64, patterns: &[&str]) -> Control {
        Control::Sampling { rate, patterns: patterns.iter().map(ToString::to_string).collect() }
    }

    #[test]
    fn deny_is_stronger_than_allow() {
        let mut controls = controls([filter(&["tool.*"], &["*.stop"])]);
        assert_eq!(controls.judge_name("tool.execution.start").judge(b""), Verdict::Keep);
        assert_eq!(controls.judge_name("tool.execution.stop").judge(b""), Verdict::Filtered);
        assert_eq!(controls.judge_name("python.call.start").judge(b""), Verdict::Filtered);
    }

    #[test]
    fn filter_replaces_both_lists_and_empty_lists_clear() {
        let mut replaced = controls([filter(&["a"], &["b"]), filter(&[], &["c"])]);
        assert_eq!(replaced.judge_name("b").judge(b""), Verdict::Keep);
        assert_eq!(replaced.judge_name("c").judge(b""), Verdict::Filtered);
        assert!(controls([filter(&["a"], &["b"]), filter(&[], &[])]).keeps_all());
    }

    #[test]
    fn toggle_comes_before_filter_and_filter_before_sampling() {
        let changes = [Control::Toggle(false), filter(&[], &["*"]), sampling(0.0, &[])];
        let mut controls = controls(changes);
        assert_eq!(controls.judge_name("a").judge(b""), Verdict::SwitchedOff);
        controls.apply(Control::Toggle(true)).unwrap();
        assert_eq!(controls.judge_name("a").judge(b""), Verdict::Filtered);
        controls.apply(filter(&[], &[])).unwrap();
        assert_eq!(controls.judge_name("a").judge(b""), Verdict::SampledOut);
    }

    #[test]
    fn what_is_refused_changes_nothing() {
        let mut controls = Controls::within(PatternLimits { count: 3, bytes: 5 });
        controls.apply(filter(&["a"], &[])).unwrap();
        let too_many = vec!["b".to_owned(); 4];
        let refused = controls.apply(Control::Filter { allow: too_many.clone(), deny: vec![] });
        assert_eq!(refused, Err(Refused::TooManyPatterns));
        let refused = controls.apply(Control::Sampling { rate: 0.0, patterns: too_many });
        assert_eq!(refused, Err(Refused::TooManyPatterns));
        assert_eq!(controls.apply(filter(&["b"], &["123456"])), Err(Refused::PatternTooLong));
        assert_eq!(controls.apply(sampling(0.0, &["b", "123456"])), Err(Refused::PatternTooLong));
        assert_eq!(controls.apply(sampling(f64::NAN, &[])), Err(Refused::NotANumber));
        assert_eq!(controls.judge_name("a").judge(b""), Verdict::Keep);
        assert_eq!(controls.judge_name("b").judge(b""), Verdict::Filtered);
        // Sampling holds what several controls have set.
        controls.apply(sampling(0.5, &["1", "2", "12345"])).unwrap();
        controls.apply(sampling(0.5, &["1", "2"])).unwrap();
        assert_eq!(controls.apply(sampling(0.5, &["3"])), Err(Refused::TooManyPatterns));
    }
}
