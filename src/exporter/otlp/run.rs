//! The exporter's loop: it reads, batches and sends at the same time.
//!
//! The feed is read while a request is in flight: a server that is slow or down fills the queue of finished
//! spans and nothing else. Each signal has one request in flight at a time. A replay drops nothing: the feed
//! waits while the queue is full, and requests are sent again without limit.

use super::{
    Counter, Start,
    client::Client,
    endpoint::{Destination, Signal},
    environment::Environment,
    metrics::{self, Interval},
    queue::Queue,
    request::{Request, room},
    resource::Resource,
    retry::{GivenUp, Outcome, deliver},
    spans::{self, Spans},
    timestamps::Timestamps,
};
use crate::{
    exporter::{
        event::Event,
        feed::Feed,
        metrics::{
            aggregate::{Aggregator, Counts, Exemplar},
            sample::Measures,
        },
    },
    net::source_file::SourceError,
    pipeline::output::{Drain, Loss, Undelivered},
    system::log,
};
use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};
use tokio::{
    task::{self, JoinError, JoinSet},
    time::{MissedTickBehavior, interval_at, timeout},
};
use tokio_util::sync::CancellationToken;

/// How much of the drain timeout is reserved for counting, at most a quarter of it. The machine may be busy.
const COUNTING: Duration = Duration::from_millis(200);

/// The reason of losses at the end.
const DRAIN_TIMEOUT_EXPIRED: &str = "the drain timeout expired";

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
    shutdown: CancellationToken,
}

/// Sends one signal.
struct SignalPipeline {
    client: Arc<Client>,
    /// How long a request is sent again.
    limit: Option<Duration>,
    /// The number of spans or data points in flight.
    in_flight: u64,
    task: Option<task::Id>,
    counters: SignalCounters,
    undelivered: Undelivered,
}

/// The counters of a signal.
#[derive(Clone, Copy)]
struct SignalCounters {
    exported: Counter,
    rejected: Counter,
    failed: Counter,
}

impl Exporter {
    fn new(start: Start) -> Result<Self, SourceError> {
        let Start { settings, environment, tls, feed, mode, drain } = start;
        let lossless = drain == Drain::Complete;
        let pipeline = |destination: &Destination, tls, limit: Option<Duration>, counters| {
            tracing::info!("otlp: {} go to {destination}", destination.signal.name());
            let client = Client::new(destination.clone(), tls)?;
            Ok::<_, SourceError>(SignalPipeline {
                client: Arc::new(client),
                limit: limit.filter(|_| !lossless),
                in_flight: 0,
                task: None,
                counters,
                undelivered: Undelivered::default(),
            })
        };
        let resource = Resource::new(environment.attributes.clone(), mode.worker().cloned());
        let instance = resource.instance().to_owned();
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
            aggregator: Aggregator::new(settings.max_series),
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
        match self.drain {
            Drain::Complete => self.send_all().await,
            Drain::Within(limit) => {
                let limit = limit.saturating_sub(COUNTING.min(limit / 4));
                let _ = timeout(limit, self.send_all()).await;
            }
        }
        self.count();
        let (unsent_spans, unsent_requests) = (self.queue.len() as u64, self.pending_metrics.iter());
        let unsent_points: u64 = unsent_requests.map(|request| request.items).sum();
        let (spans, points) = (self.traces.in_flight, self.metrics.in_flight + unsent_points);
        self.feed.count(Counter::SpansDropped, unsent_spans);
        self.feed.count(self.traces.counters.failed, spans);
        self.feed.count(self.metrics.counters.failed, points);
        self.traces.undelivered.add(unsent_spans + spans, DRAIN_TIMEOUT_EXPIRED);
        self.metrics.undelivered.add(points, DRAIN_TIMEOUT_EXPIRED);
        let losses = [self.traces.undelivered.loss("span"), self.metrics.undelivered.loss("data point")];
        losses.into_iter().flatten().collect()
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
        for event in events {
            let context = self.spans.take(event, now, &mut self.queue);
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
        let now = SystemTime::now();
        let since = self.environment.delta.then_some(self.collected);
        let interval = Interval { now, since };
        let taken = self.environment.delta.then(|| self.aggregator.take());
        let metrics = taken.as_ref().unwrap_or(self.aggregator.metrics());
        let resource = self.resource.message();
        let destination = &self.metrics.client.destination;
        self.pending_metrics.extend(metrics::requests(metrics, interval, &resource, destination));
        self.is_first = true;
        self.collected = now;
    }

    /// Sends what is to be sent, where nothing is in flight.
    fn send(&mut self) {
        let batches = self.environment.batches;
        let enough = self.flushable > 0 || self.queue.len() >= batches.max_batch;
        if self.traces.in_flight == 0 && enough && !self.queue.is_empty() {
            let resource = self.resource.message();
            let spans = self.queue.take(batches.max_batch, room(&resource));
            self.flushable = self.flushable.saturating_sub(spans.len());
            let request = Request::of_spans(spans, resource, &self.traces.client.destination);
            self.start(Signal::Traces, request);
        }
        if self.metrics.in_flight == 0
            && let Some(request) = self.pending_metrics.pop_front()
        {
            if std::mem::take(&mut self.is_first) && !self.environment.delta {
                // Cumulative metrics have everything again.
                self.metrics.undelivered = Undelivered::default();
            }
            self.start(Signal::Metrics, request);
        }
    }

    fn start(&mut self, signal: Signal, request: Request) {
        let shutdown = self.shutdown.clone();
        let pipeline = self.pipeline(signal);
        pipeline.in_flight = request.items;
        let (client, limit) = (Arc::clone(&pipeline.client), pipeline.limit);
        let sent = self.sending.spawn(async move {
            let send = || client.send(&request);
            (signal, deliver(signal.name(), send, limit, &shutdown).await)
        });
        self.pipeline(signal).task = Some(sent.id());
    }

    fn pipeline(&mut self, signal: Signal) -> &mut SignalPipeline {
        match signal {
            Signal::Traces => &mut self.traces,
            Signal::Metrics => &mut self.metrics,
        }
    }

    /// A request has come to its end.
    fn done(&mut self, done: Result<(Signal, Outcome), JoinError>) {
        let (signal, Outcome { result, retries }) = done.unwrap_or_else(|error| {
            let is_traces = self.traces.task == Some(error.id());
            let signal = if is_traces { Signal::Traces } else { Signal::Metrics };
            (signal, Outcome { result: Err(GivenUp::Panicked), retries: 0 })
        });
        let pipeline = self.pipeline(signal);
        let items = std::mem::take(&mut pipeline.in_flight);
        let SignalCounters { exported, rejected, failed } = pipeline.counters;
        let accepted = match result {
            Ok(accepted) => accepted,
            Err(cause) => {
                log::limited!(INFO, "otlp: {}: given up: {cause}", signal.name());
                pipeline.undelivered.add(items, cause);
                self.feed.count(Counter::Retries, retries);
                self.feed.count(failed, items);
                return;
            }
        };
        let refused = accepted.rejected.min(items);
        pipeline.undelivered.add(refused, format_args!("rejected: {}", accepted.message));
        self.feed.count(Counter::Retries, retries);
        self.feed.count(Counter::Exports, 1);
        self.feed.count(exported, items - refused);
        self.feed.count(rejected, refused);
        if let Some(cause) = accepted.unreadable {
            let signal = signal.name();
            log::limited!(INFO, "otlp: {signal}: accepted, but the answer cannot be read: {cause}");
        }
        if refused > 0 || !accepted.message.is_empty() {
            let signal = signal.name();
            log::limited!(INFO, "otlp: {signal}: {refused} of {items} rejected: {}", accepted.message);
        }
    }

    /// Updates the exporter's counters.
    fn count(&mut self) {
        let spans = self.spans.take_counts();
        self.feed.count(Counter::SpansIncomplete, spans.incomplete);
        self.feed.count(Counter::SpansOverdue, spans.overdue);
        self.feed.count(Counter::SpansUnsampled, spans.unsampled);
        self.feed.count(Counter::ContextInvalid, spans.invalid);
        self.feed.count(Counter::SpansDropped, self.queue.take_dropped());
        let counts = self.aggregator.counts();
        let before = std::mem::replace(&mut self.counted, counts);
        self.feed.count(Counter::SamplesInvalid, counts.invalid - before.invalid);
        self.feed.count(Counter::SamplesOverflowed, counts.overflowed - before.overflowed);
        self.feed.count(Counter::SamplesRefused, counts.refused - before.refused);
    }
}
