//! Families of series, as a sidecar's page has them, and sums of them.

use crate::exporter::{metrics::sample::Kind, number::Number};
use std::collections::{HashMap, HashSet};

/// A family of a page.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Family {
    /// As its samples have it: with `_total` if it is a counter.
    pub(super) name: String,
    pub(super) kind: Kind,
    /// Escaped.
    pub(super) help: String,
    /// No two have the same labels.
    pub(super) series: Vec<Series>,
}

/// A series.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Series {
    /// `a="b",c="d"`: without braces, escaped, and without `le`.
    pub(super) labels: Box<str>,
    pub(super) value: Value,
}

/// The value of a series.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Number(Number),
    Histogram(Box<Histogram>),
}

/// The samples of a histogram.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Histogram {
    /// Upper bounds in ascending order, the last one infinite, and how many values are not above it.
    pub(super) buckets: Vec<(f64, Number)>,
    /// The sum of the values; a histogram with negative values has none.
    pub(super) sum: Option<Number>,
}

impl Value {
    /// The sum of two values of the same kind; the first one if their kinds differ.
    fn plus(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Number(one), Self::Number(other)) => Self::Number(one.plus(*other)),
            (Self::Histogram(one), Self::Histogram(other)) => Self::Histogram(Box::new(one.plus(other))),
            _ => self.clone(),
        }
    }
}

impl Series {
    /// The memory that it uses, about, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let buckets = match &self.value {
            Value::Number(_) => 0,
            Value::Histogram(histogram) => histogram.buckets.len() + 2,
        };
        size_of::<Self>() + self.labels.len() + buckets * size_of::<(f64, Number)>()
    }
}

impl Histogram {
    /// The sum. A bound that only one of them has counts what the other has up to its next lower bound, so
    /// that the counts of the sum never fall, neither from bound to bound nor with time.
    fn plus(&self, other: &Self) -> Self {
        let mut bounds: Vec<f64> =
            self.buckets.iter().chain(&other.buckets).map(|(bound, _)| *bound).collect();
        bounds.sort_by(f64::total_cmp);
        bounds.dedup();
        let count = |bound| self.up_to(bound).plus(other.up_to(bound));
        Self {
            buckets: bounds.into_iter().map(|bound| (bound, count(bound))).collect(),
            sum: self.sum.zip(other.sum).map(|(one, other)| one.plus(other)),
        }
    }

    /// How many values there are.
    pub(super) fn count(&self) -> Number {
        self.up_to(f64::INFINITY)
    }

    /// The count of the highest bound that is not above this one.
    fn up_to(&self, bound: f64) -> Number {
        let at = self.buckets.partition_point(|(other, _)| *other <= bound);
        let bucket = at.checked_sub(1).and_then(|at| self.buckets.get(at));
        bucket.map_or(Number::Int(0), |(_, count)| *count)
    }
}

/// What workers have counted that have ended.
#[derive(Debug, Default)]
pub(super) struct Base {
    /// By the names of families and the labels of series.
    families: HashMap<String, HashMap<Box<str>, Value>>,
    bytes: usize,
}

impl Base {
    /// Adds the last page of a worker that has ended: its counters and histograms. About this much memory is
    /// used at most; returns how many series did not fit.
    pub(super) fn add(&mut self, page: Vec<Family>, max_bytes: usize) -> u64 {
        let mut refused = 0;
        for family in page.into_iter().filter(|family| family.kind != Kind::Gauge) {
            let known = self.families.entry(family.name).or_default();
            for series in family.series {
                let bytes = series.bytes();
                let Series { labels, value } = series;
                if let Some(sum) = known.get_mut(&labels) {
                    *sum = sum.plus(&value);
                } else if self.bytes + bytes <= max_bytes {
                    self.bytes += bytes;
                    known.insert(labels, value);
                } else {
                    refused += 1;
                }
            }
        }
        refused
    }

    /// Whether it has counted anything of a family.
    pub(super) fn has(&self, family: &str) -> bool {
        self.families.contains_key(family)
    }

    /// The memory that it uses, about.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Calls `each` with the labels and the value of each series of a family: first
    /// those of the running worker, added to the base, and then those that only the base has.
    pub(super) fn sums(&self, name: &str, living: Option<&Family>, mut each: impl FnMut(&str, &Value)) {
        let living = living.map_or(&[][..], |family| &family.series);
        let Some(base) = self.families.get(name).filter(|base| !base.is_empty()) else {
            for series in living {
                each(&series.labels, &series.value);
            }
            return;
        };
        let mut added = 0;
        for Series { labels, value } in living {
            match base.get(labels) {
                Some(before) => {
                    added += 1;
                    each(labels, &before.plus(value));
                }
                None => each(labels, value),
            }
        }
        if added == base.len() {
            return;
        }
        let living: HashSet<&str> = living.iter().map(|series| &*series.labels).collect();
        let mut rest: Vec<_> = base.iter().filter(|(labels, _)| !living.contains(&***labels)).collect();
        rest.sort_by_key(|(labels, _)| *labels);
        for (labels, value) in rest {
            each(labels, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(buckets: &[(f64, i64)], sum: f64) -> Histogram {
        let buckets = buckets.iter().map(|(bound, count)| (*bound, Number::Int(*count))).collect();
        Histogram { buckets, sum: Some(sum.into()) }
    }

    #[test]
    fn histograms_with_other_buckets_have_a_sum_that_never_falls() {
        let infinity = f64::INFINITY;
        let (one, other) = (
            histogram(&[(1.0, 2), (5.0, 4), (infinity, 5)], 1.5),
            histogram(&[(2.0, 10), (5.0, 20), (infinity, 30)], 2.0),
        );
        assert_eq!(one.plus(&other), histogram(&[(1.0, 2), (2.0, 12), (5.0, 24), (infinity, 35)], 3.5));
        assert_eq!(one.plus(&one), histogram(&[(1.0, 4), (5.0, 8), (infinity, 10)], 3.0));
        let negative = Histogram { sum: None, ..one.clone() };
        assert_eq!((one.plus(&negative).sum, one.plus(&negative).count()), (None, Number::Int(10)));
    }

    fn family(kind: Kind, series: &[(&str, i64)]) -> Family {
        let series = series.iter().map(|(labels, value)| Series {
            labels: (*labels).into(),
            value: Value::Number(Number::Int(*value)),
        });
        Family { name: "a".into(), kind, help: String::new(), series: series.collect() }
    }

    fn sums(base: &Base, living: Option<&Family>) -> Vec<(String, Value)> {
        let mut sums = Vec::new();
        base.sums("a", living, |labels, value| sums.push((labels.to_owned(), value.clone())));
        sums
    }

    fn expected(series: &[(&str, i64)]) -> Vec<(String, Value)> {
        let value = |value: &i64| Value::Number(Number::Int(*value));
        series.iter().map(|(labels, count)| ((*labels).to_owned(), value(count))).collect()
    }

    #[test]
    fn counters_of_ended_workers_stay_and_gauges_vanish() {
        let mut base = Base::default();
        assert_eq!(base.add(vec![family(Kind::Counter, &[("x", 1), ("y", 2)])], 9999), 0);
        assert_eq!(base.add(vec![family(Kind::Counter, &[("y", 3), ("z", 4)])], 9999), 0);
        assert_eq!(sums(&base, None), expected(&[("x", 1), ("y", 5), ("z", 4)]));
        let living = family(Kind::Counter, &[("z", 10), ("new", 1)]);
        assert_eq!(sums(&base, Some(&living)), expected(&[("z", 14), ("new", 1), ("x", 1), ("y", 5)]));
        let mut base = Base::default();
        base.add(vec![family(Kind::Gauge, &[("x", 1)])], 9999);
        assert_eq!(sums(&base, None), []);
    }

    #[test]
    fn series_beyond_the_limit_are_refused_and_known_ones_still_grow() {
        let mut base = Base::default();
        let page = family(Kind::Counter, &[("x", 1), ("y", 2), ("z", 3)]);
        let max_bytes = page.series.iter().take(2).map(Series::bytes).sum();
        assert_eq!(base.add(vec![page], max_bytes), 1);
        assert_eq!(base.add(vec![family(Kind::Counter, &[("x", 1), ("z", 3)])], max_bytes), 1);
        assert_eq!((sums(&base, None), base.bytes()), (expected(&[("x", 2), ("y", 2)]), max_bytes));
    }
}
