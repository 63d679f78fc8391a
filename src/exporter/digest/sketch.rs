//! The distribution of durations, for quantiles with a bounded relative error.
//!
//! The buckets are those of [exponential](crate::exporter::metrics::exponential) histograms, but at one
//! scale. The exported histograms adapt their scale to the range of the samples, so that one slow call would
//! make all quantiles coarse; here the bound of the error comes first.

use crate::exporter::metrics::exponential::{Buckets, index};

/// Each bucket's upper bound is 2.2 % above its lower one.
const SCALE: i32 = 5;

/// The range of the buckets, in seconds: a nanosecond to 31 years. They take 15 KiB at most, and usually a
/// tenth of that.
const RANGE: (f64, f64) = (1e-9, 1e9);

/// As long as there are no more durations than this, they are kept, and quantiles are exact.
const MAX_EXACT: usize = 32;

/// A distribution of durations.
#[derive(Debug, Clone, PartialEq)]
pub struct Sketch {
    buckets: Buckets,
    /// All durations; empty once there are more than [`MAX_EXACT`].
    exact: Vec<f64>,
    /// Durations of 0, and negative ones.
    zeros: u64,
    count: u64,
    sum: f64,
    min: f64,
    max: f64,
}

impl Default for Sketch {
    fn default() -> Self {
        let (min, max) = (f64::INFINITY, f64::NEG_INFINITY);
        Self { buckets: Buckets::default(), exact: Vec::new(), zeros: 0, count: 0, sum: 0.0, min, max }
    }
}

impl Sketch {
    /// Adds a duration in seconds. One that is not finite is ignored.
    pub fn add(&mut self, seconds: f64) {
        if !seconds.is_finite() {
            return;
        }
        if seconds > 0.0 {
            self.buckets.add(index(seconds.clamp(RANGE.0, RANGE.1), SCALE), 1);
        } else {
            self.zeros += 1;
        }
        if self.exact.len() as u64 == self.count && self.exact.len() < MAX_EXACT {
            self.exact.push(seconds);
        } else {
            self.exact = Vec::new();
        }
        self.count += 1;
        self.sum += seconds;
        self.min = self.min.min(seconds);
        self.max = self.max.max(seconds);
    }

    /// The number of durations.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The sum, in seconds.
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// The shortest and the longest duration, in seconds.
    pub fn range(&self) -> Option<(f64, f64)> {
        (self.count > 0).then_some((self.min, self.max))
    }

    /// The duration in seconds that a ratio from 0 to 1 of all are not above; none if there are none. It is
    /// exact of up to 32 durations, and within 1.1 % of more.
    pub fn quantile(&self, ratio: f64) -> Option<f64> {
        let (min, max) = self.range()?;
        #[allow(clippy::cast_precision_loss, reason = "a rank beyond 2^53 is near enough")]
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "casts saturate")]
        let rank = ((self.count as f64 * ratio).ceil() as u64).max(1);
        if self.exact.len() as u64 == self.count {
            let mut sorted = self.exact.clone();
            sorted.sort_by(f64::total_cmp);
            let at = usize::try_from(rank).unwrap_or(usize::MAX).min(sorted.len());
            return at.checked_sub(1).and_then(|at| sorted.get(at)).copied();
        }
        let mut seen = self.zeros;
        if seen >= rank {
            return Some(0.0_f64.clamp(min, max));
        }
        let width = 2_f64.powi(-SCALE);
        for (index, count) in (self.buckets.offset..).zip(&self.buckets.counts) {
            seen += count;
            if seen >= rank {
                // The value whose relative distance to both bounds of the bucket is the same.
                let lower = libm::exp2(f64::from(index) * width);
                let middle = lower * 2.0 / (1.0 + libm::exp2(-width));
                return Some(middle.clamp(min, max));
            }
        }
        Some(max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sketch(durations: &[f64]) -> Sketch {
        let mut sketch = Sketch::default();
        for duration in durations {
            sketch.add(*duration);
        }
        sketch
    }

    proptest! {
        #[test]
        fn quantiles_are_within_the_bound(
            mut durations in prop::collection::vec(1e-9..1e5_f64, 1..200),
            ratio in 0.0..=1.0_f64,
        ) {
            let quantile = sketch(&durations).quantile(ratio).unwrap();
            durations.sort_by(f64::total_cmp);
            #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let rank = ((durations.len() as f64 * ratio).ceil() as usize).max(1);
            let exact = durations[rank - 1];
            prop_assert!((quantile - exact).abs() <= exact * 0.011, "{quantile} is not about {exact}");
        }
    }

    #[test]
    fn few_durations_are_exact() {
        assert_eq!(sketch(&[0.123]).quantile(0.5), Some(0.123));
        let few = sketch(&[0.31, 0.18, 0.31]);
        let ratios = [0.0, 0.5, 0.95, 0.99].into_iter();
        let quantiles: Vec<_> = ratios.filter_map(|ratio| few.quantile(ratio)).collect();
        assert_eq!(quantiles, [0.18, 0.31, 0.31, 0.31]);
        assert_eq!(sketch(&[-1.0, 2.0]).quantile(0.5), Some(-1.0));
        assert_eq!(sketch(&[]).quantile(0.5), None);
        assert_eq!(sketch(&[f64::NAN, f64::INFINITY]).quantile(0.5), None);
    }

    #[test]
    fn memory_is_bounded_whatever_the_durations() {
        let extreme = sketch(&[f64::MAX, f64::MIN_POSITIVE, -1.0, 0.0, 1.0, f64::MAX].repeat(7));
        assert!(
            extreme.exact.is_empty() && extreme.buckets.counts.len() < 1950,
            "{}",
            extreme.buckets.counts.len()
        );
        assert_eq!((extreme.count(), extreme.quantile(0.0)), (42, Some(0.0)));
        assert!(extreme.quantile(1.0).unwrap() > 9e8);
    }
}
