//! Sampling: keeps a share of the events.

use super::{
    Refused,
    glob::Glob,
    limits::{PatternLimits, Work, matches},
    name::Name,
};
use std::{collections::HashSet, sync::Arc};
use xxhash_rust::xxh3::xxh3_64;

/// A base rate and the rates of patterns, which take precedence.
#[derive(Debug, Clone)]
pub(super) struct Sampler {
    base: f64,
    /// Each pattern once, the newest last.
    patterns: Vec<(Arc<Glob>, f64)>,
}

impl Default for Sampler {
    fn default() -> Self {
        Self { base: 1.0, patterns: Vec::new() }
    }
}

impl Sampler {
    /// A sampler with the rate of these patterns set. Without patterns it sets the base rate and removes all
    /// patterns.
    pub(super) fn updated(
        &self,
        rate: f64,
        patterns: &[String],
        limits: &PatternLimits,
    ) -> Result<Self, Refused> {
        if rate.is_nan() {
            return Err(Refused::NotANumber);
        }
        let rate = rate.clamp(0.0, 1.0);
        if patterns.is_empty() {
            return Ok(Self { base: rate, patterns: Vec::new() });
        }
        let compiled = limits.compile(patterns)?;
        let new: HashSet<&str> = patterns.iter().map(String::as_str).collect();
        let kept = self.patterns.iter().filter(|(glob, _)| !new.contains(glob.as_str()));
        let mut updated: Vec<_> = kept.cloned().collect();
        updated.extend(compiled.into_iter().map(|glob| (Arc::new(glob), rate)));
        let updated = Self { base: self.base, patterns: updated };
        limits.check(updated.work())?;
        Ok(updated)
    }

    pub(super) fn work(&self) -> Work {
        Work::of(self.patterns.iter().map(|(glob, _)| &**glob))
    }

    pub(super) fn keeps_all(&self) -> bool {
        self.base >= 1.0 && self.patterns.iter().all(|(_, rate)| *rate >= 1.0)
    }

    /// The rate of events with this name: that of the newest matching pattern, or the base rate.
    pub(super) fn rate(&self, name: &mut Name<'_>) -> f64 {
        let newest = self.patterns.iter().rev().find(|(glob, _)| matches(glob, name));
        newest.map_or(self.base, |(_, rate)| *rate)
    }
}

/// Whether an event is kept at this rate.
///
/// With a correlation id a hash of it decides, the same one in every sidecar: the events of a trace are kept
/// or dropped together, and two subscribers at the same rate receive the same traces. Without one it is
/// random.
pub(super) fn keeps(rate: f64, correlation_id: &[u8]) -> bool {
    if rate >= 1.0 {
        return true;
    }
    let position = if correlation_id.is_empty() { fastrand::f64() } else { unit(xxh3_64(correlation_id)) };
    position < rate
}

/// Maps the upper 53 bits, as many as a double holds, to the range from 0 up to but not including 1.
#[allow(clippy::cast_precision_loss, reason = "53 bits fit")]
fn unit(hash: u64) -> f64 {
    (hash >> 11) as f64 * (0.5f64).powi(53)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(updates: &[(f64, &[&str])]) -> Sampler {
        let mut sampler = Sampler::default();
        for (rate, patterns) in updates {
            let patterns: Vec<_> = patterns.iter().map(ToString::to_string).collect();
            sampler = sampler.updated(*rate, &patterns, &PatternLimits::DEFAULT).unwrap();
        }
        sampler
    }

    #[test]
    fn hash_is_xxh3_64_with_seed_0() {
        // The output of the reference implementation, `xxhsum -H3`.
        assert_eq!(xxh3_64(b""), 0x2d06_8005_38d3_94c2);
        assert!(unit(u64::MAX) < 1.0);
        assert!(unit(0).abs() < f64::EPSILON);
    }

    #[test]
    fn the_events_of_a_trace_are_kept_or_dropped_together() {
        let half = sampler(&[(0.5, &[])]);
        let kept = (0..10_000)
            .map(|n| format!("trace-{n}"))
            .filter(|id| keeps(half.rate(&mut Name::new("a.start")), id.as_bytes()));
        let kept: Vec<_> = kept.collect();
        assert!((4_800..5_200).contains(&kept.len()), "{}", kept.len());
        assert!(kept.iter().all(|id| keeps(half.rate(&mut Name::new("a.stop")), id.as_bytes())));
        // A higher rate keeps whatever a lower one keeps.
        let more = sampler(&[(0.6, &[])]);
        assert!(kept.iter().all(|id| keeps(more.rate(&mut Name::new("a.stop")), id.as_bytes())));
    }

    #[test]
    fn events_without_a_correlation_id_are_sampled_at_random() {
        let tenth = sampler(&[(0.1, &[])]);
        let kept = (0..10_000).filter(|_| keeps(tenth.rate(&mut Name::new("a")), b"")).count();
        assert!((700..1_300).contains(&kept), "{kept}");
    }

    #[test]
    fn the_newest_matching_pattern_wins() {
        let updates: &[(f64, &[&str])] =
            &[(0.0, &["a.*"]), (1.0, &["a.b"]), (1.0, &["a.*"]), (0.0, &["a.b"])];
        assert!(!keeps(sampler(&updates[..1]).rate(&mut Name::new("a.b")), b"x"));
        assert!(keeps(sampler(&updates[..2]).rate(&mut Name::new("a.b")), b"x"));
        assert!(!keeps(sampler(&updates[..2]).rate(&mut Name::new("a.c")), b"x"));
        assert!(keeps(sampler(&updates[..3]).rate(&mut Name::new("a.c")), b"x"));
        assert!(!keeps(sampler(updates).rate(&mut Name::new("a.b")), b"x"));
        assert!(keeps(sampler(updates).rate(&mut Name::new("other")), b"x"));
    }

    #[test]
    fn a_rate_without_patterns_sets_the_base_rate_and_removes_patterns() {
        let sampler = sampler(&[(0.0, &["a"]), (2.0, &[])]);
        assert!(sampler.keeps_all());
    }

    #[test]
    fn rates_are_clamped() {
        assert!(!keeps(sampler(&[(-1.0, &[])]).rate(&mut Name::new("a")), b""));
        assert!(keeps(sampler(&[(f64::INFINITY, &[])]).rate(&mut Name::new("a")), b""));
    }
}
