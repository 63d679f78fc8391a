//! The exporter's loop: it reads, batches and sends at the same time.
//!
//! The feed is read while a request is in flight: a server that is slow or down fills the queue of finished
//! spans and nothing else. Each signal has one request in flight at a time. A replay drops nothing: the feed
//! waits while the queue is full, and requests are sent again without limit.
//!
//! What a signal makes of events, and when it is sent, is in a file of its own.

mod logs;
mod metrics;
mod traces;

use super::{
    Counter, Start,
    endpoint::Destination,
    request::Request,
    resource::Resource,
    retry::{GivenUp, Outcome},
    signal::SignalPipeline,
    spans,
    timestamps::Timestamps,
    vitals::VitalsMetrics,
};
use crate::{
    event::view::{View, Views},
    exporter::{
        feed::Feed,
        metrics::aggregate::{Aggregator, Histograms},
    },
    hub::Chunk,
    net::source_file::SourceError,
    pipeline::output::{Drain, DrainEnd, Loss},
};
use logs::Logs;
use metrics::Metrics;
use std::future::pending;
use std::time::{Duration, Instant, SystemTime};
use tokio::{
    task::{self, JoinError, JoinSet},
    time::{Interval, MissedTickBehavior, interval_at},
};
use tokio_util::sync::CancellationToken;
use traces::Traces;

/// Why finished spans are dropped.
const QUEUE_FULL: &str = "too many were waiting (OTEL_BSP_MAX_QUEUE_SIZE, or 16 MiB)";

/// How many chunks of events are taken at a time before lines are handled. Timers and sockets wait meanwhile.
const MAX_CHUNKS: usize = 64;

/// A signal: what waits to be sent, and its way to the server.
trait Exporting {
    /// Sends its requests.
    fn pipeline(&mut self) -> &mut SignalPipeline;

    /// The next request, if one is due. There is none in flight.
    fn next_request(&mut self, resource: &Resource) -> Option<Request>;

    /// The events have ended: everything that is left is due.
    fn close(&mut self, resource: &Resource);

    /// Updates the exporter's counters.
    fn count(&mut self, feed: &Feed<Counter>);

    /// Counts the remaining items as lost.
    fn give_up(&mut self, feed: &Feed<Counter>, cause: &str);
}

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
    resource: Resource,
    timestamps: Timestamps,
    signals: Signals,
    ticks: Ticks,
    sending: JoinSet<Outcome>,
    /// Cancelled when the feed has ended.
    shutdown: CancellationToken,
    drain: Drain,
    drain_end: DrainEnd,
}

/// All signals.
struct Signals {
    traces: Traces,
    metrics: Metrics,
    logs: Option<Logs>,
}

impl Signals {
    fn all(&mut self) -> impl Iterator<Item = &mut dyn Exporting> {
        let Self { traces, metrics, logs } = self;
        [traces as &mut dyn Exporting, metrics].into_iter().chain(logs.as_mut().map(|logs| logs as _))
    }

    /// Handles the lines that stand before an event.
    fn handle_lines_before(&mut self, event: &View<'_>) {
        if let Some(logs) = &mut self.logs {
            logs.before(event.timestamp_ns(), self.traces.spans());
        }
    }

    /// Waits until there is something to do for lines.
    async fn lines_due(logs: &mut Option<Logs>) {
        match logs {
            Some(logs) => logs.due().await,
            None => pending().await,
        }
    }
}

/// When signals are due.
struct Ticks {
    flush_spans: Interval,
    flush_logs: Interval,
    collect_metrics: Interval,
}

impl Exporter {
    fn new(start: Start) -> Result<Self, SourceError> {
        let Start { settings, environment, tls, feed, lines, mode, drain, drain_end } = start;
        let lossless = drain == Drain::Complete;
        let pipeline = |destination: &Destination, limit: Option<Duration>| {
            let files = tls.of(destination.signal);
            SignalPipeline::new(destination, files, limit.filter(|_| !lossless))
        };
        let resource = Resource::new(environment.attributes.clone(), mode.worker().cloned());
        let histograms = if environment.exponential_histograms {
            Histograms::Exponential
        } else {
            Histograms::Explicit(settings.measures.buckets.clone())
        };
        // A replay has no run.
        let run = settings.run_span.filter(|_| mode.worker().is_some());
        let spans = spans::Options {
            flat: settings.flat,
            timeout: settings.span_timeout,
            instance: resource.instance().to_owned(),
            run: run.clone(),
        };
        let batches = environment.batches;
        let log_batches = environment.log_batches;
        let logs = lines.map(|lines| {
            let pipeline = pipeline(&environment.logs, log_batches.timeout)?;
            Ok(Logs::new(pipeline, lines, log_batches, run.as_deref(), lossless))
        });
        let traces = pipeline(&environment.traces, batches.timeout)?;
        let traces = Traces::new(traces, spans, batches, lossless);
        let vitals = VitalsMetrics::new(mode.worker().cloned());
        let metrics = pipeline(&environment.metrics, environment.metric_timeout)?;
        let aggregator = Aggregator::new(settings.max_series, histograms);
        let metrics = Metrics::new(metrics, settings.measures, aggregator, environment.delta, vitals);
        Ok(Self {
            feed,
            resource,
            timestamps: Timestamps::new(mode.worker().is_some()),
            signals: Signals { traces, metrics, logs: logs.transpose()? },
            ticks: Ticks {
                flush_spans: every(batches.delay),
                flush_logs: every(log_batches.delay),
                collect_metrics: every(environment.metric_interval),
            },
            sending: JoinSet::new(),
            shutdown: CancellationToken::new(),
            drain,
            drain_end,
        })
    }

    async fn run(mut self) -> Vec<Loss> {
        let drain_end = self.drain_end.clone();
        loop {
            tokio::select! {
                chunk = self.feed.chunk(), if !self.must_wait() => {
                    let Some(chunk) = chunk else { break };
                    self.take(&chunk);
                }
                () = Signals::lines_due(&mut self.signals.logs) => self.take_lines(),
                _ = self.ticks.flush_spans.tick() => self.signals.traces.flush(),
                _ = self.ticks.flush_logs.tick() => self.signals.logs.iter_mut().for_each(Logs::flush),
                _ = self.ticks.collect_metrics.tick(), if !self.signals.metrics.is_pending() => {
                    self.signals.metrics.collect(&self.resource);
                }
                Some(done) = self.sending.join_next_with_id() => self.done(done),
                // What it has not read by then stays in the hub's queue.
                _ = drain_end.ended() => break,
            }
            if let Some(logs) = &mut self.signals.logs {
                logs.advance(self.signals.traces.spans());
            }
            self.send();
            self.count();
        }
        self.finish().await
    }

    /// Sends what is left, as far as there is time; counts and returns what is not sent.
    async fn finish(mut self) -> Vec<Loss> {
        self.shutdown.cancel();
        if let Some(logs) = &mut self.signals.logs {
            // Before the spans that are open are closed.
            logs.finish(self.signals.traces.spans(), || self.drain_end.reason().is_some());
        }
        self.signals.all().for_each(|signal| signal.close(&self.resource));
        // Lines are counted before what became of them.
        self.count();
        let drain_end = self.drain_end.clone();
        let cause = tokio::select! {
            () = self.send_all() => "",
            cause = drain_end.ended() => cause,
        };
        self.count();
        let losses = self.signals.all().flat_map(|signal| {
            signal.give_up(&self.feed, cause);
            signal.pipeline().take_losses()
        });
        losses.collect()
    }

    /// Whether events stay in the hub's queue, because none may be dropped and there is no room for more.
    fn must_wait(&self) -> bool {
        self.drain == Drain::Complete && self.signals.traces.is_full()
    }

    /// Sends until nothing is left.
    async fn send_all(&mut self) {
        loop {
            self.send();
            match self.sending.join_next_with_id().await {
                Some(done) => self.done(done),
                None => break,
            }
        }
    }

    /// Takes events: they end spans and change metrics.
    fn take(&mut self, chunk: &Chunk) {
        let (now, time) = (Instant::now(), SystemTime::now());
        if let Some(logs) = &mut self.signals.logs {
            logs.fetch();
        }
        let (mut views, mut odd) = (Views::of(&chunk.frames), 0);
        while let Some(event) = views.read() {
            odd += u64::from(self.timestamps.is_odd(event, time));
            self.signals.handle_lines_before(event);
            let span = self.signals.traces.take(event, now);
            self.signals.metrics.take(event, span);
        }
        self.feed.count(Counter::TimestampsOdd, odd);
        self.feed.acknowledge(views.count());
        self.feed.drop_unread(chunk, &views);
    }

    /// Takes lines, and the events before them that are still in the hub's queue.
    fn take_lines(&mut self) {
        let Some(published) = self.signals.logs.as_mut().map(Logs::fetch) else { return };
        for _ in 0..MAX_CHUNKS {
            if self.must_wait() {
                return;
            }
            let Some(chunk) = self.feed.try_chunk() else { break };
            self.take(&chunk);
        }
        if let Some(logs) = &mut self.signals.logs {
            logs.set_ready(published);
        }
    }

    /// Sends what is due, where nothing is in flight.
    fn send(&mut self) {
        for signal in self.signals.all() {
            if signal.pipeline().is_idle()
                && let Some(request) = signal.next_request(&self.resource)
            {
                signal.pipeline().start(request, &mut self.sending, self.shutdown.clone());
            }
        }
    }

    /// A request has come to its end.
    fn done(&mut self, done: Result<(task::Id, Outcome), JoinError>) {
        let (task, outcome) =
            done.unwrap_or_else(|error| (error.id(), Outcome { result: Err(GivenUp::Panicked), retries: 0 }));
        let mut pipelines = self.signals.all().map(Exporting::pipeline);
        if let Some(pipeline) = pipelines.find(|pipeline| pipeline.is_sent_by(task)) {
            pipeline.count(outcome, &self.feed);
        }
    }

    /// Updates the exporter's counters.
    fn count(&mut self) {
        self.signals.all().for_each(|signal| signal.count(&self.feed));
    }
}

/// Ticks from one period from now on.
fn every(period: Duration) -> Interval {
    let mut ticks = interval_at(tokio::time::Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
