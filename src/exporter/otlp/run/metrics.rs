//! Metrics: events change aggregates, which are collected at intervals.

use super::Exporting;
use crate::event::view::View;
use crate::exporter::{
    feed::Feed,
    metrics::{
        aggregate::{Aggregator, Counts},
        histogram::Exemplar,
        sample::Measures,
    },
    otlp::{
        Counter,
        metrics::{self, Interval},
        request::Request,
        resource::Resource,
        signal::SignalPipeline,
        vitals::VitalsMetrics,
    },
    trace_ids::Context,
};
use std::{collections::VecDeque, time::SystemTime};

pub(super) struct Metrics {
    pipeline: SignalPipeline,
    measures: Measures,
    aggregator: Aggregator,
    counted: Counts,
    /// Whether temporality is delta; otherwise it is cumulative.
    delta: bool,
    vitals: VitalsMetrics,
    /// When metrics were last collected.
    collected: SystemTime,
    /// Requests that follow the one in flight.
    pending: VecDeque<Request>,
    /// Whether the next of them is the first of all metrics.
    is_first: bool,
}

impl Metrics {
    pub(super) fn new(
        pipeline: SignalPipeline,
        measures: Measures,
        aggregator: Aggregator,
        delta: bool,
        vitals: VitalsMetrics,
    ) -> Self {
        Self {
            pipeline,
            measures,
            aggregator,
            counted: Counts::default(),
            delta,
            vitals,
            collected: SystemTime::now(),
            pending: VecDeque::new(),
            is_first: false,
        }
    }

    /// Takes an event of this sampled span.
    pub(super) fn take(&mut self, event: &View<'_>, span: Option<Context>) {
        if !self.pipeline.destination().enabled {
            return;
        }
        let timestamp_ns = event.timestamp_ns();
        for sample in self.measures.samples(event) {
            let exemplar = span.map(|span| Exemplar {
                value: sample.value.as_f64(),
                timestamp_ns,
                trace_id: span.trace_id,
                span_id: span.span_id,
            });
            self.aggregator.add(&sample, self.measures.labels(event), timestamp_ns, exemplar);
        }
    }

    /// Whether the last ones are still to be sent: other ones would only be more of the same.
    pub(super) fn is_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Makes requests of what the metrics are now.
    pub(super) fn collect(&mut self, resource: &Resource) {
        if !self.pipeline.destination().enabled {
            return;
        }
        let now = SystemTime::now();
        let since = self.delta.then_some(self.collected);
        let interval = Interval { now, since };
        let taken = self.delta.then(|| self.aggregator.take());
        let metrics = taken.as_ref().unwrap_or(self.aggregator.metrics());
        let destination = self.pipeline.destination();
        let vitals = self.vitals.collect(interval);
        self.pending.extend(metrics::requests(metrics, vitals, interval, &resource.encoded(), destination));
        self.is_first = true;
        self.collected = now;
    }
}

impl Exporting for Metrics {
    fn pipeline(&mut self) -> &mut SignalPipeline {
        &mut self.pipeline
    }

    fn next_request(&mut self, _: &Resource) -> Option<Request> {
        let request = self.pending.pop_front()?;
        if std::mem::take(&mut self.is_first) && !self.delta {
            // Cumulative metrics have everything again.
            self.pipeline.forget_losses();
        }
        Some(request)
    }

    fn close(&mut self, resource: &Resource) {
        if !self.delta {
            // The last collection has all of it.
            self.pending.clear();
        }
        self.collect(resource);
    }

    fn count(&mut self, feed: &Feed<Counter>) {
        let counts = self.aggregator.counts();
        let before = std::mem::replace(&mut self.counted, counts);
        feed.count(Counter::SamplesInvalid, counts.invalid - before.invalid);
        feed.count(Counter::SamplesOverflowed, counts.overflowed - before.overflowed);
        feed.count(Counter::SamplesRefused, counts.refused - before.refused);
    }

    fn give_up(&mut self, feed: &Feed<Counter>, cause: &str) {
        let waiting = self.pending.iter().map(|request| request.items).sum();
        self.pipeline.give_up(waiting, Counter::PointsFailed, feed, cause);
    }
}
