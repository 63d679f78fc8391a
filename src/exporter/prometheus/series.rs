//! Aggregates a worker's events into metric families.

use super::{
    exemplar,
    names::{self, Names, Prefix},
    page::Page,
};
use crate::{
    event::view::View,
    exporter::{
        counters::counters,
        metrics::{
            aggregate::{Aggregator, Histograms, Metric, Point},
            sample::{Kind, Measures},
        },
        otlp::run_span::RunSpan,
    },
};
use std::{borrow::Cow, sync::Arc};

counters! {
    /// Why a metric, label or sample has no series of its own.
    pub enum RejectReason {
        /// A metric or label whose name collides with another one's.
        Collision = "collisions",
        /// A sample that is not a valid number.
        Invalid = "invalid",
        /// A sample that went to an overflow series.
        Overflowed = "overflowed",
        /// A sample of a metric beyond the limit.
        Refused = "refused",
    }
}

/// The metrics of all events so far.
#[derive(Debug)]
pub struct Metrics {
    measures: Measures,
    /// Metadata keys that are labels, with their label names.
    labels: Vec<(String, String)>,
    aggregator: Aggregator,
    names: Names,
    collisions: u64,
    /// The span that events without a trace of their own are below.
    run: Option<Arc<RunSpan>>,
}

impl Metrics {
    /// Creates an empty set with at most `max_series` series per metric, not counting the overflow series.
    pub fn new(measures: Measures, max_series: usize, prefix: &Prefix) -> Self {
        let (labels, collisions) = names::labels(&measures.labels);
        let histograms = Histograms::Explicit(measures.buckets.clone());
        Self {
            measures,
            labels,
            aggregator: Aggregator::new(max_series, histograms),
            names: Names::new(prefix),
            collisions,
            run: None,
        }
    }

    /// The same with exemplars that point at the trace of a run.
    #[must_use]
    pub fn of_run(self, run: Option<Arc<RunSpan>>) -> Self {
        Self { run, ..self }
    }

    /// Keeps the names of these families, without prefix, free of the worker's metrics.
    pub fn reserve(&mut self, families: &[(&str, Kind)]) {
        for (family, kind) in families {
            self.names.reserve(family, *kind);
        }
    }

    /// Adds an event.
    pub fn add(&mut self, event: &View<'_>) {
        // Prometheus treats an empty label as absent, so both would be the same series.
        let labels = self.labels.iter().filter_map(|(key, label)| {
            let value = event.metadatum(key).filter(|value| !value.is_empty())?;
            Some((label.as_str(), value))
        });
        let metrics = self.aggregator.metrics().len();
        for sample in self.measures.samples(event) {
            let is_histogram = matches!(sample.kind, Kind::Histogram | Kind::Distribution);
            let exemplar = || exemplar::of(event, sample.value.as_f64(), self.run.as_deref());
            let exemplar = is_histogram.then(exemplar).flatten();
            self.aggregator.add(&sample, labels.clone(), event.timestamp_ns(), exemplar);
        }
        if self.aggregator.metrics().len() > metrics {
            for (dotted, metric) in self.aggregator.metrics().iter() {
                self.collisions += u64::from(!self.names.learn(dotted, metric));
            }
        }
    }

    /// How many there are for each reason.
    pub fn rejected(&self) -> [(RejectReason, u64); 4] {
        let counts = self.aggregator.counts();
        [
            (RejectReason::Collision, self.collisions),
            (RejectReason::Invalid, counts.invalid),
            (RejectReason::Overflowed, counts.overflowed),
            (RejectReason::Refused, counts.refused),
        ]
    }

    /// Writes all families in the order of their names.
    pub fn write(&self, page: &mut Page) {
        for (family, dotted) in self.names.families() {
            let Some(metric) = self.aggregator.metrics().get(dotted) else { continue };
            let mut written = page.family(family, metric.kind, &help(dotted, metric));
            for (labels, series) in metric.series.iter() {
                let labels: Vec<_> =
                    labels.iter().map(|(label, value)| (names::series_label(label), value)).collect();
                match &series.point {
                    Point::Counter(value) => written.counter(&labels, *value, series.since),
                    Point::Gauge(value, _) => {
                        written.series(&labels, *value);
                    }
                    Point::Histogram(histogram) => written.histogram(&labels, histogram, series.since),
                    // The text formats have no exponential histograms, so the aggregator makes none.
                    Point::Exponential(_) => {}
                }
            }
        }
    }
}

fn help(dotted: &str, metric: &Metric) -> Cow<'static, str> {
    match (dotted, metric.kind) {
        ("events", _) => "Events by name.".into(),
        ("operation.duration", _) => "How long operations took, in seconds.".into(),
        (_, Kind::Counter) => format!("The sum of {dotted}.").into(),
        (_, Kind::Gauge) => format!("The latest {dotted}.").into(),
        (_, Kind::Histogram | Kind::Distribution) => format!("The distribution of {dotted}.").into(),
    }
}
