//! Aggregates samples into series, for Prometheus and OTLP.
//!
//! Memory is bounded whatever a worker prints. The series of a metric are limited, and those of all metrics
//! together to ten times that, not counting each metric's first; further samples go to the metric's overflow
//! series. Label values are truncated. The number of metrics and the length of their names are limited;
//! samples of others are counted and dropped.

use super::{
    buckets::Buckets,
    exponential::Exponential,
    histogram::{Exemplar, Histogram},
    key::{Key, Known},
    sample::{Kind, Sample, Subject},
    sorted::Sorted,
};
use crate::exporter::{event::cut, number::Number};
use std::{borrow::Cow, time::SystemTime};

/// The most metrics.
pub const MAX_METRICS: usize = 1000;

/// All metrics together may have this many times the series of one: some metrics have many labels, not all.
const SERIES_FACTOR: usize = 10;

/// A gauge ignores an event that is older than the latest one by at most this, in nanoseconds: it arrived out
/// of order. If it is older still the clock was set back.
const MOST_OUT_OF_ORDER_NS: i64 = 10_000_000_000;

/// The longest name of a metric, in bytes.
pub const MAX_NAME_BYTES: usize = 256;

/// The longest value of a label, in bytes: longer ones are truncated.
pub const MAX_LABEL_BYTES: usize = 256;

/// The one label of an overflow series, the same as in OpenTelemetry's metrics SDK:
/// <https://opentelemetry.io/docs/specs/otel/metrics/sdk/#overflow-attribute>.
pub const OVERFLOW_LABEL: (&str, &str) = ("otel.metric.overflow", "true");

/// The names and values of labels.
pub type Labels = Vec<(Cow<'static, str>, String)>;

/// The aggregated samples of one metric with the same labels.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// The time of the first sample.
    pub since: SystemTime,
    /// The aggregated value.
    pub point: Point,
}

/// The state of a series.
#[derive(Debug, Clone, PartialEq)]
pub enum Point {
    /// The sum.
    Counter(Number),
    /// The latest value and its time in nanoseconds since the Unix epoch.
    Gauge(Number, i64),
    /// The distribution, in buckets with given bounds.
    Histogram(Box<Histogram>),
    /// The distribution, in exponential buckets.
    Exponential(Box<Exponential>),
}

/// All series of one name.
#[derive(Debug, Clone)]
pub struct Metric {
    /// How samples are joined.
    pub kind: Kind,
    /// Whether values are seconds; the unit of others is not known.
    pub seconds: bool,
    /// By labels.
    pub series: Sorted<Labels, Series>,
}

/// What became of samples.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Not a finite number, or negative where only more can come: left out.
    pub invalid: u64,
    /// Joined an overflow series.
    pub overflowed: u64,
    /// Of more metrics than there may be, or of one with too long a name: left out.
    pub refused: u64,
}

/// How histograms are made.
#[derive(Debug, Clone)]
pub enum Histograms {
    /// With buckets of given bounds.
    Explicit(Buckets),
    /// With exponential buckets.
    Exponential,
}

impl Histograms {
    /// A histogram without samples for a subject or, if that has too many series, for their overflow.
    fn start(&self, subject: Subject<'_>, is_overflow: bool) -> Point {
        let Self::Explicit(buckets) = self else { return Point::Exponential(Box::default()) };
        let bounds = match subject {
            Subject::Duration { operation, .. } if !is_overflow => buckets.of_durations(operation),
            Subject::Duration { .. } => buckets.of_all_durations(),
            _ => buckets.of_values(&metric_name(subject)),
        };
        Point::Histogram(Box::new(Histogram::new(bounds)))
    }
}

/// Metrics by their dotted names, without prefix.
pub type Metrics = Sorted<String, Metric>;

/// The metrics of one exporter.
#[derive(Debug)]
pub struct Aggregator {
    max_series: usize,
    histograms: Histograms,
    metrics: Metrics,
    /// The places of series, except of overflow series.
    known: Known<Place>,
    key: Key,
    /// Of all metrics, overflow series included.
    series: usize,
    counts: Counts,
}

/// The places of a metric and of one of its series.
#[derive(Debug, Clone, Copy)]
struct Place {
    metric: usize,
    series: usize,
}

impl Aggregator {
    /// An aggregator with at most `max_series` for each metric, not counting the overflow series.
    pub fn new(max_series: usize, histograms: Histograms) -> Self {
        Self {
            max_series,
            histograms,
            metrics: Metrics::default(),
            known: Known::default(),
            key: Key::default(),
            series: 0,
            counts: Counts::default(),
        }
    }

    /// Adds a sample to its series, which has these labels and those of the sample's subject.
    pub fn add<'a>(
        &mut self,
        sample: &Sample<'_>,
        labels: impl Iterator<Item = (&'a str, &'a str)> + Clone,
        timestamp_ns: i64,
        exemplar: Option<Exemplar>,
    ) {
        let Sample { kind, value, .. } = *sample;
        let float = value.as_f64();
        let valid = match kind {
            Kind::Counter => float.is_finite() && float >= 0.0,
            Kind::Gauge => true,
            Kind::Histogram | Kind::Distribution => {
                float.is_finite() && (float >= 0.0 || !is_duration(sample.subject))
            }
        };
        if !valid {
            self.counts.invalid += 1;
            return;
        }
        let labels = labels.map(|(name, value)| (name, cut(value, MAX_LABEL_BYTES)));
        self.key.start(labelled(sample.subject));
        for (name, value) in labels.clone() {
            self.key.label(name, value);
        }
        let place = self.known.get(&self.key).or_else(|| self.find(sample, labels, timestamp_ns));
        let metric = place.and_then(|place| Some((self.metrics.at(place.metric)?, place.series)));
        let Some(series) = metric.and_then(|(metric, series)| metric.series.at(series)) else { return };
        match &mut series.point {
            Point::Counter(sum) => *sum = sum.plus(value),
            // Events of several threads may come out of order, but not by so much: then the clock was set
            // back.
            Point::Gauge(latest, at)
                if timestamp_ns >= *at || at.saturating_sub(timestamp_ns) > MOST_OUT_OF_ORDER_NS =>
            {
                (*latest, *at) = (latest.followed_by(value), timestamp_ns);
            }
            Point::Gauge(..) => {}
            Point::Histogram(histogram) => histogram.add(float, exemplar),
            Point::Exponential(histogram) => histogram.add(float, exemplar),
        }
    }

    /// Finds the series of a sample by its labels, or adds it. None if the metric is refused.
    fn find<'a>(
        &mut self,
        sample: &Sample<'_>,
        labels: impl Iterator<Item = (&'a str, &'a str)>,
        timestamp_ns: i64,
    ) -> Option<Place> {
        let metric = self.metric(sample)?;
        let series = &self.metrics.at(metric)?.series;
        let mut key = subject_labels(sample.subject);
        key.extend(labels.map(|(name, value)| (Cow::Owned(name.to_owned()), value.to_owned())));
        // Each metric has its first series, however many metrics there are.
        let full = series.len() >= self.max_series
            || (!series.is_empty() && self.series >= self.max_series.saturating_mul(SERIES_FACTOR));
        let is_overflow = full && series.place(&key).is_none();
        if is_overflow {
            self.counts.overflowed += 1;
            let (name, value) = OVERFLOW_LABEL;
            key = vec![(Cow::Borrowed(name), value.to_owned())];
        }
        let series = series.place(&key).or_else(|| {
            let series = Series {
                since: SystemTime::now(),
                point: match sample.kind {
                    Kind::Counter => Point::Counter(Number::Int(0)),
                    Kind::Gauge => Point::Gauge(sample.value, timestamp_ns),
                    Kind::Histogram | Kind::Distribution => {
                        self.histograms.start(sample.subject, is_overflow)
                    }
                },
            };
            self.series += 1;
            Some(self.metrics.at(metric)?.series.add(key, series))
        })?;
        let place = Place { metric, series };
        // One series has several keys if a measurement's name has dots.
        if !is_overflow && self.known.count() < 2 * self.series {
            self.known.add(&self.key, place);
        }
        Some(place)
    }

    /// The place of a sample's metric, which is added if there is room.
    fn metric(&mut self, sample: &Sample<'_>) -> Option<usize> {
        let name = metric_name(sample.subject);
        let known = self.metrics.place(&*name);
        if known.is_none() && (self.metrics.len() >= MAX_METRICS || name.len() > MAX_NAME_BYTES) {
            self.counts.refused += 1;
            return None;
        }
        Some(known.unwrap_or_else(|| {
            let seconds = is_duration(sample.subject);
            let metric = Metric { kind: sample.kind, seconds, series: Sorted::default() };
            self.metrics.add(name.into_owned(), metric)
        }))
    }

    /// All metrics.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The samples that are in no series of their own.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Takes all metrics out and starts again, for delta temporality.
    pub fn take(&mut self) -> Metrics {
        self.series = 0;
        self.known.clear();
        std::mem::take(&mut self.metrics)
    }
}

fn is_duration(subject: Subject<'_>) -> bool {
    matches!(subject, Subject::Duration { .. })
}

/// `events`, `operation.duration`, or `OPERATION.KEY`.
fn metric_name(subject: Subject<'_>) -> Cow<'static, str> {
    match subject {
        Subject::Event(_) => "events".into(),
        Subject::Duration { .. } => "operation.duration".into(),
        Subject::Measurement { operation, key } => format!("{operation}.{key}").into(),
    }
}

/// A subject with what of its names is in labels.
fn labelled(subject: Subject<'_>) -> Subject<'_> {
    match subject {
        Subject::Event(name) => Subject::Event(cut(name, MAX_LABEL_BYTES)),
        Subject::Duration { operation, failed } => {
            Subject::Duration { operation: cut(operation, MAX_LABEL_BYTES), failed }
        }
        Subject::Measurement { .. } => subject,
    }
}

/// The labels of a sample's subject.
fn subject_labels(subject: Subject<'_>) -> Labels {
    match labelled(subject) {
        Subject::Event(name) => vec![("event".into(), name.to_owned())],
        Subject::Duration { operation, failed } => {
            let result = if failed { "error" } else { "ok" };
            vec![("operation".into(), operation.to_owned()), ("result".into(), result.to_owned())]
        }
        Subject::Measurement { .. } => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::glob::Glob;

    fn aggregator(max_series: usize) -> Aggregator {
        Aggregator::new(max_series, Histograms::Explicit(Buckets::default()))
    }

    fn sample(key: &str, kind: Kind, value: f64) -> Sample<'_> {
        Sample { subject: Subject::Measurement { operation: "a", key }, kind, value: value.into() }
    }

    fn point<'a>(aggregator: &'a Aggregator, name: &str) -> &'a Point {
        &aggregator.metrics()[name].series.values().next().unwrap().point
    }

    #[test]
    fn samples_are_aggregated_by_kind() {
        let mut aggregator = aggregator(10);
        for (at, value) in [(1, 2.0), (3, 0.5), (2, 40.0)] {
            for kind in [("sum", Kind::Counter), ("last", Kind::Gauge), ("spread", Kind::Histogram)] {
                aggregator.add(&sample(kind.0, kind.1, value), std::iter::empty(), at, None);
            }
        }
        assert_eq!(point(&aggregator, "a.sum"), &Point::Counter(Number::Float(42.5)));
        assert_eq!(
            point(&aggregator, "a.last"),
            &Point::Gauge(Number::Float(0.5), 3),
            "the one with the latest time"
        );
        let set_back = 3 - MOST_OUT_OF_ORDER_NS - 1;
        aggregator.add(&sample("last", Kind::Gauge, 7.0), std::iter::empty(), set_back, None);
        assert_eq!(point(&aggregator, "a.last"), &Point::Gauge(Number::Float(7.0), set_back));
        let Point::Histogram(histogram) = point(&aggregator, "a.spread") else { panic!("no histogram") };
        assert_eq!((histogram.count(), histogram.sum, histogram.min, histogram.max), (3, 42.5, 0.5, 40.0));
        // 0.5 is the upper bound of a bucket, and in it.
        let buckets = histogram.bounds.iter().zip(&histogram.buckets);
        let filled: Vec<_> = buckets.filter(|(_, count)| **count > 0).map(|(bound, _)| *bound).collect();
        assert_eq!(filled, [0.5, 5.0, 50.0]);
    }

    #[test]
    fn values_that_would_spoil_a_sum_are_counted_and_dropped() {
        let mut aggregator = aggregator(10);
        for value in [f64::NAN, f64::INFINITY, -1.0] {
            aggregator.add(&sample("sum", Kind::Counter, value), std::iter::empty(), 0, None);
        }
        let duration = Subject::Duration { operation: "a", failed: false };
        let negative = Sample { subject: duration, kind: Kind::Histogram, value: Number::Float(-1.0) };
        aggregator.add(&negative, std::iter::empty(), 0, None);
        aggregator.add(&sample("spread", Kind::Histogram, f64::NAN), std::iter::empty(), 0, None);
        assert_eq!(aggregator.counts(), Counts { invalid: 5, ..Counts::default() });
        assert!(aggregator.metrics().is_empty());
    }

    #[test]
    fn series_and_metrics_are_bounded() {
        let mut aggregator = aggregator(2);
        for user in ["x", "y", "z", "y", "w"] {
            aggregator.add(&sample("sum", Kind::Counter, 1.0), [("user", user)].into_iter(), 0, None);
        }
        let series = &aggregator.metrics()["a.sum"].series;
        let overflow = vec![(Cow::Borrowed(OVERFLOW_LABEL.0), OVERFLOW_LABEL.1.to_owned())];
        assert_eq!(series.len(), 3);
        assert_eq!(series[&overflow].point, Point::Counter(Number::Float(2.0)));
        for number in 0..MAX_METRICS {
            aggregator.add(&sample(&number.to_string(), Kind::Gauge, 1.0), std::iter::empty(), 0, None);
        }
        assert_eq!(aggregator.counts(), Counts { overflowed: 2, refused: 1, invalid: 0 });
    }

    #[test]
    fn the_series_of_operations_have_their_own_bounds() {
        let rule = |glob: &str, bound: f64| (Glob::new(glob), [bound].into());
        let rules = vec![rule("*", 1.0), rule("train", 60.0), rule("a.rows", 10.0)];
        let mut aggregator = Aggregator::new(2, Histograms::Explicit(Buckets { rules }));
        for operation in ["train", "load", "train.too.many"] {
            let subject = Subject::Duration { operation, failed: false };
            let sample = Sample { subject, kind: Kind::Histogram, value: Number::Float(2.0) };
            aggregator.add(&sample, std::iter::empty(), 0, None);
        }
        aggregator.add(&sample("rows", Kind::Distribution, 1.0), std::iter::empty(), 0, None);
        let bounds = |metric: &str| -> Vec<(String, f64)> {
            let series = aggregator.metrics()[metric].series.iter();
            let bounds = series.map(|(labels, series)| match &series.point {
                Point::Histogram(histogram) => {
                    let first = labels.first().map(|(_, value)| value.clone());
                    (first.unwrap_or_default(), histogram.bounds[0])
                }
                other => panic!("{other:?}"),
            });
            bounds.collect()
        };
        let expected = [("load", 1.0), ("train", 60.0), ("true", 1.0)];
        let expected = expected.map(|(operation, bound)| (operation.to_owned(), bound));
        assert_eq!(bounds("operation.duration"), expected, "the overflow series has bounds of its own");
        assert_eq!(bounds("a.rows"), [(String::new(), 10.0)]);
    }

    #[test]
    fn all_series_together_are_bounded_but_each_metric_has_one() {
        let mut aggregator = aggregator(2);
        for key in 0..50 {
            for user in ["x", "y"] {
                let key = key.to_string();
                aggregator.add(&sample(&key, Kind::Gauge, 1.0), [("user", user)].into_iter(), 0, None);
            }
        }
        assert_eq!(aggregator.metrics().len(), 50);
        // Ten metrics have two series each, the others one and the overflow series.
        assert_eq!(aggregator.counts(), Counts { overflowed: 40, ..Counts::default() });
        aggregator.take();
        aggregator.add(&sample("0", Kind::Gauge, 1.0), [("user", "z")].into_iter(), 0, None);
        aggregator.add(&sample("0", Kind::Gauge, 1.0), [("user", "w")].into_iter(), 0, None);
        assert_eq!(aggregator.counts().overflowed, 40, "what was taken no longer counts");
    }

    #[test]
    fn names_that_are_split_differently_are_one_series_and_long_ones_are_found_again() {
        let mut aggregator = aggregator(10);
        let long = "l".repeat(2000);
        for _ in 0..3 {
            for (operation, key) in [("a.b", "c"), ("a", "b.c")] {
                let subject = Subject::Measurement { operation, key };
                let sample = Sample { subject, kind: Kind::Counter, value: Number::Int(1) };
                aggregator.add(&sample, [("user", "x")].into_iter(), 0, None);
                aggregator.add(&sample, [("user", "x"), ("tool", "y")].into_iter(), 0, None);
            }
            let subject = Subject::Event(&long);
            let sample = Sample { subject, kind: Kind::Counter, value: Number::Int(1) };
            let labels: Vec<_> = ["k1", "k2", "k3", "k4"].map(|key| (key, long.as_str())).into();
            aggregator.add(&sample, labels.into_iter(), 0, None);
        }
        let sums = |metric: &str| -> Vec<_> {
            let series = aggregator.metrics()[metric].series.values();
            series.map(|series| series.point.clone()).collect()
        };
        assert_eq!(sums("a.b.c"), [Point::Counter(Number::Int(6)), Point::Counter(Number::Int(6))]);
        assert_eq!(sums("events"), [Point::Counter(Number::Int(3))]);
    }

    #[test]
    fn long_names_are_refused_and_long_values_cut() {
        let mut aggregator = aggregator(2);
        let long = "µ".repeat(MAX_LABEL_BYTES);
        aggregator.add(&sample(&long, Kind::Gauge, 1.0), std::iter::empty(), 0, None);
        aggregator.add(&sample("b", Kind::Gauge, 1.0), [("user", long.as_str())].into_iter(), 0, None);
        assert_eq!(aggregator.counts(), Counts { refused: 1, ..Counts::default() });
        let labels = aggregator.metrics()["a.b"].series.keys().next().unwrap();
        assert_eq!(labels[0].1, "µ".repeat(MAX_LABEL_BYTES / 2));
    }
}
