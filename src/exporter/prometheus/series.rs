//! A worker's events as series.

use super::{exemplar, names, names::Names, page::Page};
use crate::exporter::{
    event::Event,
    metrics::{
        aggregate::{Aggregator, Metric, Point},
        sample::{Kind, Measures},
    },
};
use std::borrow::Cow;

/// What may keep a number from having a series of its own, in the order of [`Metrics::left_out`].
pub const LEFT_OUT: [&str; 4] = ["collisions", "invalid", "overflowed", "refused"];

/// What all events have come to.
#[derive(Debug)]
pub struct Metrics {
    measures: Measures,
    /// The keys of metadata that are labels, and what they are called.
    labels: Vec<(String, String)>,
    aggregator: Aggregator,
    names: Names,
    collisions: u64,
}

impl Metrics {
    /// No events yet. At most so many series to a metric, the overflow series not counted.
    pub fn new(measures: Measures, max_series: usize) -> Self {
        let (labels, collisions) = names::labels(&measures.labels);
        Self {
            measures,
            labels,
            aggregator: Aggregator::new(max_series),
            names: Names::default(),
            collisions,
        }
    }

    /// Adds an event.
    pub fn add(&mut self, event: &Event) {
        let metadata = &event.event.metadata;
        // To Prometheus an empty label is none, so the two would be one series, twice.
        let labels = self.labels.iter().filter_map(|(key, label)| {
            let value = metadata.get(key).filter(|value| !value.is_empty())?;
            Some((label.as_str(), value.as_str()))
        });
        let metrics = self.aggregator.metrics().len();
        for sample in self.measures.samples(event) {
            let exemplar =
                if sample.kind == Kind::Histogram { exemplar::of(event, sample.value) } else { None };
            self.aggregator.add(&sample, labels.clone(), event.event.timestamp_ns, exemplar);
        }
        if self.aggregator.metrics().len() > metrics {
            for (dotted, metric) in self.aggregator.metrics() {
                self.collisions += u64::from(!self.names.learn(dotted, metric));
            }
        }
    }

    /// How many metrics and labels have no name of their own, and how many samples were not numbers, joined an overflow
    /// series, or were of too many metrics.
    pub fn left_out(&self) -> [u64; LEFT_OUT.len()] {
        let counts = self.aggregator.counts();
        [self.collisions, counts.invalid, counts.overflowed, counts.refused]
    }

    /// Writes all families, by name.
    pub fn write(&self, page: &mut Page) {
        for (family, dotted) in self.names.families() {
            let Some(metric) = self.aggregator.metrics().get(dotted) else { continue };
            let mut written = page.family(family, metric.kind, &help(dotted, metric));
            for (labels, series) in &metric.series {
                let labels: Vec<_> =
                    labels.iter().map(|(label, value)| (names::series_label(label), value)).collect();
                match &series.point {
                    Point::Counter(value) | Point::Gauge(value, _) => {
                        written.series(&labels, *value);
                    }
                    Point::Histogram(histogram) => written.histogram(&labels, metric.bounds(), histogram),
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
        (_, Kind::Histogram) => format!("The distribution of {dotted}.").into(),
    }
}
