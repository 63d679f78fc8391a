//! The exporter's loop: it reads, batches and sends at the same time.
//!
//! The feed is read on while a request is on its way: a server that is slow or away fills the queue of finished spans
//! and nothing else. Each signal has one request on its way at a time. In a replay nothing may be dropped: there it is
//! the feed that waits while the queue is full.

use super::{
    Counter, Start,
    client::Client,
    endpoint::{Destination, Signal},
    environment::Environment,
    metrics::{self, Interval},
    queue::Queue,
    request::{Request, room},
    resource::Resource,
    retry::{Outcome, deliver},
    spans::Spans,
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

/// How much of the drain timeout is left for counting, at most a quarter of it. The machine may be busy.
const COUNTING: Duration = Duration::from_millis(200);

/// Exports until the feed has ended, and then what is left, as far as there is time.
pub async fn run(start: Start) {
    match Exporter::new(start) {
        Ok(exporter) => exporter.run().await,
        Err(cause) => tracing::info!("otlp: {cause}; nothing is exported"),
    }
}

struct Exporter {
    feed: Feed<Counter>,
    measures: Measures,
    environment: Environment,
    resource: Resource,
    drain_timeout: Duration,
    lossless: bool,
    spans: Spans,
    queue: Queue,
    /// How many of the queue's spans have waited long enough.
    due: usize,
    aggregator: Aggregator,
    counted: Counts,
    /// When metrics were last collected.
    collected: SystemTime,
    traces: Lane,
    metrics: Lane,
    /// Requests of metrics that are to follow the one on its way.
    collection: VecDeque<Request>,
    sending: JoinSet<(Signal, Outcome)>,
    hurry: CancellationToken,
}

/// The way of one signal.
struct Lane {
    client: Arc<Client>,
    limit: Option<Duration>,
    /// How many spans or data points are on their way; nothing is if it is 0.
    on_their_way: u64,
    task: Option<task::Id>,
    counters: SignalCounters,
}

/// The counters of a signal.
#[derive(Clone, Copy)]
struct SignalCounters {
    exported: Counter,
    rejected: Counter,
    failed: Counter,
}

impl Exporter {
    fn new(start: Start) -> Result<Self, String> {
        let Start { settings, environment, authorities, feed, worker, drain_timeout } = start;
        let lane = |destination: &Destination, authorities, limit, counters| {
            tracing::info!("otlp: {} go to {destination}", destination.signal.name());
            let warn = |cause| tracing::info!("otlp: {cause}");
            let client = Client::new(destination.clone(), authorities, warn)?;
            Ok::<_, String>(Lane { client: Arc::new(client), limit, on_their_way: 0, task: None, counters })
        };
        let lossless = worker.is_none();
        Ok(Self {
            feed,
            measures: settings.measures,
            resource: Resource::new(environment.attributes.clone(), worker),
            drain_timeout,
            lossless,
            spans: Spans::new(settings.flat, settings.span_timeout),
            queue: Queue::new(environment.batches.max_queue, lossless),
            due: 0,
            aggregator: Aggregator::new(settings.max_series),
            counted: Counts::default(),
            collected: SystemTime::now(),
            traces: lane(
                &environment.traces,
                authorities.traces,
                environment.batches.timeout,
                SignalCounters {
                    exported: Counter::SpansExported,
                    rejected: Counter::SpansRejected,
                    failed: Counter::SpansFailed,
                },
            )?,
            metrics: lane(
                &environment.metrics,
                authorities.metrics,
                environment.metric_timeout,
                SignalCounters {
                    exported: Counter::PointsExported,
                    rejected: Counter::PointsRejected,
                    failed: Counter::PointsFailed,
                },
            )?,
            collection: VecDeque::new(),
            sending: JoinSet::new(),
            hurry: CancellationToken::new(),
            environment,
        })
    }

    async fn run(mut self) {
        let every = |period| {
            let mut ticks = interval_at(tokio::time::Instant::now() + period, period);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        };
        let mut spans_due = every(self.environment.batches.delay);
        let mut metrics_due = every(self.environment.metric_interval);
        loop {
            tokio::select! {
                events = self.feed.next(), if !(self.lossless && self.queue.is_full()) => {
                    let Some(events) = events else { break };
                    self.take(&events);
                }
                _ = spans_due.tick() => {
                    self.spans.expire(Instant::now(), &mut self.queue);
                    self.due = self.queue.len();
                }
                // While the last ones are still to be sent, these would only be more of the same.
                _ = metrics_due.tick(), if self.collection.is_empty() => self.collect(),
                Some(done) = self.sending.join_next() => self.done(done),
            }
            self.send();
            self.count();
        }
        self.finish().await;
    }

    /// Sends what is left, as far as there is time; counts what is not sent.
    async fn finish(mut self) {
        self.hurry.cancel();
        self.spans.close(Instant::now(), &mut self.queue);
        if !self.environment.delta {
            // What is collected now has all of it.
            self.collection.clear();
        }
        self.collect();
        // Less than everybody's patience: what was not sent is still to be counted.
        let patience = self.drain_timeout.saturating_sub(COUNTING.min(self.drain_timeout / 4));
        let last = async {
            loop {
                self.due = self.queue.len();
                self.send();
                match self.sending.join_next().await {
                    Some(done) => self.done(done),
                    None => break,
                }
            }
        };
        let _ = timeout(patience, last).await;
        self.count();
        self.feed.count(Counter::SpansDropped, self.queue.len() as u64);
        let unsent: u64 = self.collection.iter().map(|request| request.items).sum();
        self.feed.count(self.traces.counters.failed, self.traces.on_their_way);
        self.feed.count(self.metrics.counters.failed, self.metrics.on_their_way + unsent);
    }

    /// Takes events: they end spans and change metrics.
    fn take(&mut self, events: &[Event]) {
        let now = Instant::now();
        for event in events {
            let context = self.spans.take(event, now, &mut self.queue);
            let timestamp_ns = event.event.timestamp_ns;
            for sample in self.measures.samples(event) {
                let exemplar = context.map(|context| Exemplar {
                    value: sample.value,
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
        self.collection.extend(metrics::requests(metrics, interval, &resource, destination));
        self.collected = now;
    }

    /// Sends what is to be sent, where nothing is on its way.
    fn send(&mut self) {
        let batches = self.environment.batches;
        let enough = self.due > 0 || self.queue.len() >= batches.max_batch;
        if self.traces.on_their_way == 0 && enough && !self.queue.is_empty() {
            let resource = self.resource.message();
            let spans = self.queue.take(batches.max_batch, room(&resource));
            self.due = self.due.saturating_sub(spans.len());
            let request = Request::of_spans(spans, resource, &self.traces.client.destination);
            self.start(Signal::Traces, request);
        }
        if self.metrics.on_their_way == 0
            && let Some(request) = self.collection.pop_front()
        {
            self.start(Signal::Metrics, request);
        }
    }

    fn start(&mut self, signal: Signal, request: Request) {
        let hurry = self.hurry.clone();
        let lane = self.lane(signal);
        lane.on_their_way = request.items;
        let (client, limit) = (Arc::clone(&lane.client), lane.limit);
        let sent = self.sending.spawn(async move {
            let send = || client.send(&request);
            (signal, deliver(signal.name(), send, limit, &hurry).await)
        });
        self.lane(signal).task = Some(sent.id());
    }

    fn lane(&mut self, signal: Signal) -> &mut Lane {
        match signal {
            Signal::Traces => &mut self.traces,
            Signal::Metrics => &mut self.metrics,
        }
    }

    /// A request has come to its end.
    fn done(&mut self, done: Result<(Signal, Outcome), JoinError>) {
        let (signal, outcome) = done.unwrap_or_else(|fault| {
            let is_traces = self.traces.task == Some(fault.id());
            let signal = if is_traces { Signal::Traces } else { Signal::Metrics };
            (signal, Outcome { accepted: None, retries: 0 })
        });
        let lane = self.lane(signal);
        let items = std::mem::take(&mut lane.on_their_way);
        let SignalCounters { exported, rejected, failed } = lane.counters;
        self.feed.count(Counter::Retries, outcome.retries);
        let Some(accepted) = outcome.accepted else {
            self.feed.count(failed, items);
            return;
        };
        self.feed.count(Counter::Exports, 1);
        let refused = accepted.rejected.min(items);
        self.feed.count(exported, items - refused);
        self.feed.count(rejected, refused);
        if refused > 0 || !accepted.message.is_empty() {
            let signal = signal.name();
            log::limited!(INFO, "otlp: {signal}: {refused} of {items} rejected: {}", accepted.message);
        }
    }

    /// Brings the counters in the books up to date.
    fn count(&mut self) {
        self.feed.count(Counter::SpansIncomplete, self.spans.take_incomplete());
        self.feed.count(Counter::SpansDropped, self.queue.take_dropped());
        let counts = self.aggregator.counts();
        let before = std::mem::replace(&mut self.counted, counts);
        self.feed.count(Counter::SamplesInvalid, counts.invalid - before.invalid);
        self.feed.count(Counter::SamplesOverflowed, counts.overflowed - before.overflowed);
        self.feed.count(Counter::SamplesRefused, counts.refused - before.refused);
    }
}
