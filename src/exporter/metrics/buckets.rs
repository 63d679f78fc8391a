//! The bounds of histograms' buckets: defaults, and those that `--metric-buckets` sets.

use super::last_match;
use crate::control::glob::Glob;
use std::sync::{Arc, LazyLock};

/// The upper bounds of a histogram's buckets: finite, in ascending order.
pub type Bounds = Arc<[f64]>;

/// The bounds for durations, in seconds: from 1 µs, the call of a function, to a week of training. Between
/// 5 ms and 10 s, where requests are, they are those that Prometheus' and OpenTelemetry's libraries use by
/// default; down to 100 µs the steps are the same. Beyond that the steps are wider, because each bucket is a
/// series in Prometheus, for every operation and result.
const DURATIONS: [f64; 28] = [
    1e-6, 5e-6, 1e-5, 5e-5, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0, 604_800.0,
];

/// The bounds for any other measurement. Its unit is not known: powers of ten, with halves of them where most
/// counts and sizes are.
const VALUES: [f64; 26] = [
    1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 50.0, 100.0, 500.0, 1e3, 5e3, 1e4, 5e4,
    1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12,
];

/// All histograms with default bounds share them.
static DEFAULT_DURATIONS: LazyLock<Bounds> = LazyLock::new(|| DURATIONS.into());
static DEFAULT_VALUES: LazyLock<Bounds> = LazyLock::new(|| VALUES.into());

/// The bounds by names: the option `--metric-buckets`.
#[derive(Debug, Clone, Default)]
pub struct Buckets {
    /// The last match is used.
    pub rules: Vec<(Glob, Bounds)>,
}

impl Buckets {
    /// The bounds for the durations of an operation: a glob matches the operation, or its measurement
    /// `OPERATION.duration`.
    pub fn of_durations(&self, operation: &str) -> Bounds {
        let key = format!("{operation}.duration");
        let rule = last_match(&self.rules, |glob| glob.matches(&key) || glob.matches(operation));
        rule.unwrap_or(&DEFAULT_DURATIONS).clone()
    }

    /// The bounds for the durations of several operations.
    pub fn of_all_durations(&self) -> Bounds {
        let rule = last_match(&self.rules, |glob| glob.matches("operation.duration"));
        rule.unwrap_or(&DEFAULT_DURATIONS).clone()
    }

    /// The bounds for a measurement by its dotted name.
    pub fn of_values(&self, name: &str) -> Bounds {
        last_match(&self.rules, |glob| glob.matches(name)).unwrap_or(&DEFAULT_VALUES).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_bounds_ascend_from_microseconds_to_days() {
        for bounds in [&DURATIONS[..], &VALUES] {
            assert!(bounds.is_sorted_by(|one, next| one < next), "{bounds:?}");
        }
        assert!(DURATIONS[0] <= 1e-6 && DURATIONS[DURATIONS.len() - 1] >= 3.0 * 86_400.0);
    }

    #[test]
    fn the_last_glob_that_matches_sets_the_bounds() {
        let rules = [("*", [1.0]), ("train", [2.0]), ("*.duration", [3.0]), ("load", [4.0]), ("a.*", [5.0])];
        let rules = rules.map(|(glob, bounds)| (Glob::new(glob), bounds.into()));
        let mut buckets = Buckets { rules: rules.into() };
        assert_eq!(*buckets.of_durations("train"), [3.0]);
        assert_eq!(*buckets.of_durations("load"), [4.0]);
        assert_eq!(*buckets.of_all_durations(), [3.0]);
        assert_eq!(*buckets.of_values("b.rows"), [1.0]);
        assert_eq!(*buckets.of_values("a.rows"), [5.0]);
        buckets.rules.truncate(2);
        assert_eq!(*buckets.of_durations("train"), [2.0]);
        assert_eq!(*buckets.of_all_durations(), [1.0]);
        buckets.rules.clear();
        assert_eq!(*buckets.of_durations("train"), DURATIONS);
        assert_eq!(*buckets.of_values("train.rows"), VALUES);
    }
}
