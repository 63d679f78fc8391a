//! The course of a measurement: a series of bounded length.

/// How many points are kept. When there are more, neighbours are joined in pairs: so there are always at
/// least half as many.
const MAX_POINTS: usize = 128;

/// The means of consecutive values.
#[derive(Debug, Clone, PartialEq)]
pub struct Course {
    points: Vec<f64>,
    /// How many values each point is the mean of: a power of two.
    stride: u64,
    /// The values since the last point, of which `finite` have this sum and this range.
    pending: u64,
    finite: u64,
    sum: f64,
    range: (f64, f64),
}

/// The range of no values.
const NO_RANGE: (f64, f64) = (f64::INFINITY, f64::NEG_INFINITY);

impl Default for Course {
    fn default() -> Self {
        Self { points: Vec::new(), stride: 1, pending: 0, finite: 0, sum: 0.0, range: NO_RANGE }
    }
}

impl Course {
    /// Adds the next value.
    pub fn add(&mut self, value: f64) {
        self.pending += 1;
        if value.is_finite() {
            self.finite += 1;
            self.sum += value;
            self.range = (self.range.0.min(value), self.range.1.max(value));
        }
        if self.pending < self.stride {
            return;
        }
        if self.points.len() >= MAX_POINTS {
            self.points = self.points.chunks(2).map(mean).collect();
            self.stride *= 2;
            return;
        }
        self.points.extend(self.unfinished());
        (self.pending, self.finite, self.sum, self.range) = (0, 0, 0.0, NO_RANGE);
    }

    /// The series, oldest first; NaN where no value was finite. The last point may be the mean of fewer
    /// values than the others.
    pub fn points(&self) -> Vec<f64> {
        self.points.iter().copied().chain(self.unfinished()).collect()
    }

    /// The mean of the values since the last point. Rounding does not take it out of their range.
    #[allow(clippy::cast_precision_loss, reason = "2^53 values are not measured in a lifetime")]
    fn unfinished(&self) -> Option<f64> {
        let (min, max) = self.range;
        let mean = if self.finite == 0 { f64::NAN } else { (self.sum / self.finite as f64).clamp(min, max) };
        (self.pending > 0).then_some(mean)
    }
}

/// The mean of the finite ones among two points.
fn mean(pair: &[f64]) -> f64 {
    match *pair {
        [one, other] if one.is_finite() && other.is_finite() => one / 2.0 + other / 2.0,
        [one, other] if !one.is_finite() => other,
        [one, ..] => one,
        [] => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn course(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
        let mut course = Course::default();
        values.into_iter().for_each(|value| course.add(value));
        course.points()
    }

    #[test]
    fn few_values_are_kept_as_they_are() {
        assert_eq!(course([2.0, 1.0, 0.5]), [2.0, 1.0, 0.5]);
        assert_eq!(course((0..128_u8).map(f64::from)).len(), 128);
    }

    #[test]
    fn more_values_are_joined_and_their_number_is_bounded() {
        for count in [129, 255, 256, 1000, 100_000] {
            let points = course((0..count).map(f64::from));
            assert!((64..=129).contains(&points.len()), "{count}: {}", points.len());
            assert!(points.is_sorted(), "{count}");
            assert!(points.first() < points.last());
        }
        assert_eq!(course((0..130_u8).map(f64::from))[..3], [0.5, 2.5, 4.5]);
        assert_eq!(course((0..129_u8).map(f64::from)).last(), Some(&128.0));
    }

    #[test]
    fn a_constant_stays_constant() {
        for value in [0.0001, 1e300, -0.1, 13_991_936.0] {
            let points = course([value; 1000]);
            assert_eq!(points, vec![value; points.len()]);
        }
    }

    #[test]
    fn values_that_are_not_finite_are_gaps_until_they_are_joined_with_others() {
        assert!(course([f64::NAN])[0].is_nan());
        let joined = course((0..200).map(|at| if at % 2 == 0 { f64::INFINITY } else { 1.0 }));
        assert_eq!(joined, vec![1.0; joined.len()]);
    }
}
