//! Histograms with exponential buckets, whose resolution adapts to the range of the samples.
//!
//! At scale `s` the bucket of index `i` has the absolute values in `(base^i, base^(i + 1)]`, where `base` is
//! `2^(2^-s)`. One scale less joins buckets in pairs: index `i` becomes `i >> 1`. A histogram starts at the
//! largest scale, and lowers it as often as its samples no longer fit in the buckets that it may have.
//!
//! Specifications: <https://opentelemetry.io/docs/specs/otel/metrics/data-model/#exponentialhistogram> and
//! <https://opentelemetry.io/docs/specs/otel/metrics/sdk/#base2-exponential-bucket-histogram-aggregation>.

use super::histogram::Exemplar;
use std::iter::repeat_n;

/// The largest scale and the most buckets of either sign: the defaults of the specification. With 160 buckets
/// values that differ by a factor of 1000 are within 5 % of their bucket's bounds.
const MAX_SCALE: i32 = 20;
const MAX_BUCKETS: u32 = 160;

/// How many exemplars are kept, as the specification recommends.
const MAX_EXEMPLARS: i32 = 20;

/// A distribution over exponential buckets.
#[derive(Debug, Clone, PartialEq)]
pub struct Exponential {
    /// The scale.
    pub scale: i32,
    /// The number of samples that are zero.
    pub zeros: u64,
    /// The buckets of positive samples.
    pub positive: Buckets,
    /// The buckets of negative samples, by their absolute values.
    pub negative: Buckets,
    /// The latest exemplar of each power of two, modulo their number: so a rare large value keeps its own.
    /// Empty before the first one.
    exemplars: Vec<Option<Exemplar>>,
    /// The sum of all samples.
    pub sum: f64,
    /// The smallest sample.
    pub min: f64,
    /// The largest sample.
    pub max: f64,
}

/// Consecutive buckets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Buckets {
    /// The index of the first one.
    pub offset: i32,
    /// The number of samples in each.
    pub counts: Vec<u64>,
}

impl Default for Exponential {
    fn default() -> Self {
        Self {
            scale: MAX_SCALE,
            zeros: 0,
            positive: Buckets::default(),
            negative: Buckets::default(),
            exemplars: Vec::new(),
            sum: 0.0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
        }
    }
}

impl Exponential {
    /// The number of samples.
    pub fn count(&self) -> u64 {
        let buckets = [&self.positive, &self.negative];
        self.zeros + buckets.into_iter().flat_map(|buckets| &buckets.counts).sum::<u64>()
    }

    /// The exemplars that are kept.
    pub fn exemplars(&self) -> impl Iterator<Item = &Exemplar> {
        self.exemplars.iter().flatten()
    }

    /// Adds a finite sample.
    pub fn add(&mut self, value: f64, exemplar: Option<Exemplar>) {
        if value == 0.0 {
            self.zeros += 1;
        } else {
            self.add_to_bucket(value);
        }
        if let Some(exemplar) = exemplar {
            self.exemplars.resize(MAX_EXEMPLARS.unsigned_abs() as usize, None);
            let slot = Parts::of(value).exponent.rem_euclid(MAX_EXEMPLARS);
            if let Some(latest) = self.exemplars.get_mut(slot.unsigned_abs() as usize) {
                *latest = Some(exemplar);
            }
        }
        self.sum += value;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }

    fn add_to_bucket(&mut self, value: f64) {
        let index = index(value, self.scale);
        let is_positive = value > 0.0;
        let buckets = if is_positive { &self.positive } else { &self.negative };
        let steps = buckets.excess(index);
        if steps > 0 {
            self.scale -= steps;
            self.positive.join(steps);
            self.negative.join(steps);
        }
        let buckets = if is_positive { &mut self.positive } else { &mut self.negative };
        buckets.add(index >> steps, 1);
    }
}

impl Buckets {
    /// By how much the scale has to be lowered until this index fits.
    fn excess(&self, index: i32) -> i32 {
        if self.counts.is_empty() {
            return 0;
        }
        let buckets = i32::try_from(self.counts.len()).unwrap_or(i32::MAX);
        let last = self.offset.saturating_add(buckets - 1);
        let (mut low, mut high, mut steps) = (self.offset.min(index), last.max(index), 0);
        while high.abs_diff(low) >= MAX_BUCKETS {
            (low, high, steps) = (low >> 1, high >> 1, steps + 1);
        }
        steps
    }

    /// Lowers the scale.
    fn join(&mut self, steps: i32) {
        let before = std::mem::take(self);
        for (index, count) in (before.offset..).zip(before.counts) {
            self.add(index >> steps, count);
        }
    }

    /// Adds samples to the bucket of this index, which becomes the first or the last one if need be.
    pub(in crate::exporter) fn add(&mut self, index: i32, samples: u64) {
        if self.counts.is_empty() {
            self.offset = index;
        }
        let distance = self.offset.abs_diff(index) as usize;
        if index < self.offset {
            self.counts.splice(0..0, repeat_n(0, distance));
            self.offset = index;
        } else if distance >= self.counts.len() {
            self.counts.resize(distance + 1, 0);
        }
        let place = self.offset.abs_diff(index) as usize;
        if let Some(count) = self.counts.get_mut(place) {
            *count += samples;
        }
    }
}

/// A double's absolute value as `significand * 2^exponent`.
struct Parts {
    /// At least 1 and less than 2.
    significand: f64,
    exponent: i32,
}

impl Parts {
    fn of(value: f64) -> Self {
        const SIGNIFICAND_BITS: u64 = (1 << 52) - 1;
        const EXPONENT_BITS: u64 = 0x7ff;
        if value.is_subnormal() {
            let Self { significand, exponent } = Self::of(value * 2_f64.powi(54));
            return Self { significand, exponent: exponent - 54 };
        }
        let bits = value.to_bits();
        let significand = f64::from_bits(bits & SIGNIFICAND_BITS | 1.0_f64.to_bits());
        // Eleven bits.
        let exponent = i32::try_from(bits >> 52 & EXPONENT_BITS).unwrap_or_default() - 1023;
        Self { significand, exponent }
    }
}

/// The index of a number's bucket; not zero. A power of two is the upper bound of its bucket at any scale,
/// and must not depend on how a logarithm is rounded.
#[allow(clippy::cast_possible_truncation, reason = "the bucket within a power of two is at most 2^20")]
pub(in crate::exporter) fn index(value: f64, scale: i32) -> i32 {
    let Parts { significand, exponent } = Parts::of(value);
    let is_power_of_two = significand.to_bits() == 1.0_f64.to_bits();
    if scale <= 0 {
        return (exponent - i32::from(is_power_of_two)) >> -scale;
    }
    let first = exponent << scale;
    if is_power_of_two {
        return first - 1;
    }
    let per_power_of_two = 1 << scale;
    let bucket = (libm::log2(significand) * f64::from(per_power_of_two)).ceil() as i32 - 1;
    first + bucket.clamp(0, per_power_of_two - 1)
}

#[cfg(test)]
mod tests;
