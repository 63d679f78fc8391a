//! The exporter's loop: it reads, batches and sends at the same time.
//!
//! The feed is read while a request is in flight: a server that is slow or down fills the queue of finished
//! spans and nothing else. Each signal has one request in flight at a time. A replay drops nothing: the feed
//! waits while the queue is full, and requests are sent again without limit.

use super::{
    Counter, Start,
    endpoint::Signal,
    environment::Environment,
    metrics::{self, Interval},
    queue::Queue,
    request::{Request, room},
    resource::Resource,
    retry::{GivenUp, Outcome},
    signal::{SignalCounters, SignalPipeline},
    spans::{self, Spans},
    timestamps::Timestamps,
};
use crate::{
    exporter::{
        event::Event,
        feed::Feed,
        metrics::{
            aggregate::{Aggregator, Counts, Histograms},
            histogram::Exemplar,
            sample::Measures,
        },
    },
    net::source_file::SourceError,
    pipeline::output::{Drain, DrainEnd, Loss},
};
use std::{
    collections::VecDeque,
    time::{Duration, Instant, SystemTime},
};
use tokio::{
    task::{JoinError, JoinSet},
    time::{MissedTickBehavior, interval_at},
};
use tokio_util::sync::CancellationToken;

/// Why finished spans are dropped.
const QUEUE_FULL: &str = "too many were waiting (OTEL_BSP_MAX_QUEUE_SIZE, or 16 MiB)";

/// Exports until the feed has ended, and then what is left, as far as there is time. Returns what was not
/// delivered.
pub async fn run(start: Start) -> Vec<Loss> {
    match Exporter::new(start) {
        Ok(exporter) => exporter.run().await,
        Err(cause) => {
            tracing::info!("otlp: {cause}; nothing is exported");
            vec![Loss::Failed(format!("{cause}; nothing is exported"))]
        }
    }
}

struct Exporter {
    feed: Feed<Counter>,
    measures: Measures,
    environment: Environment,
    resource: Resource,
    drain: Drain,
    spans: Spans,
    timestamps: Timestamps,
    queue: Queue,
    /// How many of the queue's spans have waited for the schedule delay.
    flushable: usize,
    aggregator: Aggregator,
    counted: Counts,
    /// When metrics were last collected.
    collected: SystemTime,
    traces: SignalPipeline,
    metrics: SignalPipeline,
    /// Requests of metrics that follow the one in flight.
    pending_metrics: VecDeque<Request>,
    /// Whether the next of them is the first of all metrics.
    is_first: bool,
    sending: JoinSet<(Signal, Outcome)>,
    /// Cancelled when the feed has ended.
    shutdown: CancellationToken,
    drain_end: DrainEnd,
}

impl Exporter {
    fn new(start: Start) -> Result<Self, SourceError> {
        let Start { settings, environment, tls, feed, mode, drain, drain_end } = start;
        let lossless = drain == Drain::Complete;
        let pipeline = |destination, tls, limit: Option<Duration>, counters| {
            SignalPipeline::new(destination, tls, limit.filter(|_| !lossless), counters)
        };
        let resource = Resource::new(environment.attributes.clone(), mode.worker().cloned());
        let instance = resource.instance().to_owned();
        let histograms = if environment.exponential_histograms {
            Histograms::Exponential
        } else {
            Histograms::Explicit(settings.measures.buckets.clone())
        };
        Ok(Self {
            feed,
            measures: settings.measures,
            resource,
            drain,
            spans: Spans::new(spans::Options {
                flat: settings.flat,
                timeout: settings.span_timeout,
                instance,
            }),
            timestamps: Timestamps::new(mode.worker().is_some()),
            queue: Queue::new(environment.batches.max_queue, lossless),
            flushable: 0,
            aggregator: Aggregator::new(settings.max_series, histograms),
            counted: Counts::default(),
            collected: SystemTime::now(),
            traces: pipeline(
                &environment.traces,
                tls.traces,
                environment.batches.timeout,
                SignalCounters {
                    exported: Counter::SpansExported,
                    rejected: Counter::SpansRejected,
                    failed: Counter::SpansFailed,
                },
            )?,
            metrics: pipeline(
                &environment.metrics,
                tls.metrics,
                environment.metric_timeout,
                SignalCounters {
                    exported: Counter::PointsExported,
                    rejected: Counter::PointsRejected,
                    failed: Counter::PointsFailed,
                },
            )?,
            pending_metrics: VecDeque::new(),
            is_first: false,
            sending: JoinSet::new(),
            shutdown: CancellationToken::new(),
            drain_end,
            environment,
        })
    }

    async fn run(mut self) -> Vec<Loss> {
        let every = |period| {
            let mut ticks = interval_at(tokio::time::Instant::now() + period, period);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        };
        let mut flush_spans = every(self.environment.batches.delay);
        let mut collect_metrics = every(self.environment.metric_interval);
        let drain_end = self.drain_end.clone();
        loop {
            tokio::select! {
                events = self.feed.next(), if !(self.drain == Drain::Complete && self.queue.is_full()) => {
                    let Some(events) = events else { break };
                    self.take(&events);
                }
                _ = flush_spans.tick() => {
                    self.spans.find_overdue(Instant::now());
                    self.flushable = self.queue.len();
                }
                // While the last ones are still to be sent, these would only be more of the same.
                _ = collect_metrics.tick(), if self.pending_metrics.is_empty() => self.collect(),
                Some(done) = self.sending.join_next() => self.done(done),
                // What it has not read by then stays in the hub's queue.
                _ = drain_end.ended() => break,
            }
            self.send();
            self.count();
        }
        self.finish().await
    }

    /// Sends what is left, as far as there is time; counts and returns what is not sent.
    async fn finish(mut self) -> Vec<Loss> {
        self.shutdown.cancel();
        self.spans.close(Instant::now(), &mut self.queue);
        if !self.environment.delta {
            // What is collected now has all of it.
            self.pending_metrics.clear();
        }
        self.collect();
        let drain_end = self.drain_end.clone();
        let cause = tokio::select! {
            () = self.send_all() => "",
            cause = drain_end.ended() => cause,
        };
        self.count();
        let waiting = self.pending_metrics.iter().map(|request| request.items).sum();
        self.traces.give_up(self.queue.len() as u64, Counter::SpansDropped, &self.feed, cause);
        self.metrics.give_up(waiting, Counter::PointsFailed, &self.feed, cause);
        self.traces.losses("span").chain(self.metrics.losses("data point")).collect()
    }

    /// Sends until nothing is left.
    async fn send_all(&mut self) {
        loop {
            self.flushable = self.queue.len();
            self.send();
            match self.sending.join_next().await {
                Some(done) => self.done(done),
                None => break,
            }
        }
    }

    /// Takes events: they end spans and change metrics.
    fn take(&mut self, events: &[Event]) {
        let now = Instant::now();
        self.feed.count(Counter::TimestampsOdd, self.timestamps.odd(events, SystemTime::now()));
        let [traces, metrics] = [&self.traces, &self.metrics].map(|signal| signal.destination().enabled);
        for event in events {
            let context = if traces { self.spans.take(event, now, &mut self.queue) } else { None };
            if !metrics {
                continue;
            }
            let timestamp_ns = event.event.timestamp_ns;
            for sample in self.measures.samples(event) {
                let exemplar = context.map(|context| Exemplar {
                    value: sample.value.as_f64(),
                    timestamp_ns,
                    trace_id: context.trace_id,
                    span_id: context.span_id,
                });
                self.aggregator.add(&sample, self.measures.labels(event), timestamp_ns, exemplar);
            }
        }
        self.feed.acknowledge(events.len() as u64);
    }

    /// Makes requests of what the metrics are now.
    fn collect(&mut self) {
        if !self.metrics.destination().enabled {
            return;
        }
        let now = SystemTime::now();
        let since = self.environment.delta.then_some(self.collected);
        let interval = Interval { now, since };
        let taken = self.environment.delta.then(|| self.aggregator.take());
        let metrics = taken.as_ref().unwrap_or(self.aggregator.metrics());
        let resource = self.resource.message();
        let destination = self.metrics.destination();
        self.pending_metrics.extend(metrics::requests(metrics, interval, &resource, destination));
        self.is_first = true;
        self.collected = now;
    }

    /// Sends what is to be sent, where nothing is in flight.
    fn send(&mut self) {
        let batches = self.environment.batches;
        let enough = self.flushable > 0 || self.queue.len() >= batches.max_batch;
        if self.traces.is_idle() && enough && !self.queue.is_empty() {
            let resource = self.resource.message();
            let spans = self.queue.take(batches.max_batch, room(&resource));
            self.flushable = self.flushable.saturating_sub(spans.len());
            let request = Request::of_spans(spans, resource, self.traces.destination());
            self.traces.start(request, &mut self.sending, self.shutdown.clone());
        }
        if self.metrics.is_idle()
            && let Some(request) = self.pending_metrics.pop_front()
        {
            if std::mem::take(&mut self.is_first) && !self.environment.delta {
                // Cumulative metrics have everything again.
                self.metrics.forget_losses();
            }
            self.metrics.start(request, &mut self.sending, self.shutdown.clone());
        }
    }

    /// A request has come to its end.
    fn done(&mut self, done: Result<(Signal, Outcome), JoinError>) {
        let (signal, outcome) = done.unwrap_or_else(|error| {
            let is_traces = self.traces.is_sent_by(error.id());
            let signal = if is_traces { Signal::Traces } else { Signal::Metrics };
            (signal, Outcome { result: Err(GivenUp::Panicked), retries: 0 })
        });
        match signal {
            Signal::Traces => self.traces.count(outcome, &self.feed),
            Signal::Metrics => self.metrics.count(outcome, &self.feed),
        }
    }

    /// Updates the exporter's counters.
    fn count(&mut self) {
        let spans = self.spans.take_counts();
        self.feed.count(Counter::SpansIncomplete, spans.incomplete);
        self.feed.count(Counter::SpansOverdue, spans.overdue);
        self.feed.count(Counter::SpansUnsampled, spans.unsampled);
        self.feed.count(Counter::ContextInvalid, spans.invalid);
        let dropped = self.queue.take_dropped();
        self.feed.count(Counter::SpansDropped, dropped);
        self.traces.add_dropped(dropped, QUEUE_FULL);
        let counts = self.aggregator.counts();
        let before = std::mem::replace(&mut self.counted, counts);
        self.feed.count(Counter::SamplesInvalid, counts.invalid - before.invalid);
        self.feed.count(Counter::SamplesOverflowed, counts.overflowed - before.overflowed);
        self.feed.count(Counter::SamplesRefused, counts.refused - before.refused);
    }
}
