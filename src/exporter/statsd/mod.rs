//! `--export-statsd`: metrics to a StatsD or DogStatsD server.
//!
//! ```text
//! feed → samples → lines → packets (merged and packed) → sender (a socket)
//! ```
//!
//! A datagram is sent when it is full, and 100 ms after its first line at the latest. An event is delivered
//! when its count was sent, and dropped if that failed; until then it is in flight. See [`Counter`] for what
//! else is counted.

pub mod args;
mod environment;
mod lines;
mod number;
mod origin;
mod packets;
mod resolver;
mod sender;
mod tags;
pub mod target;
#[cfg(test)]
mod tests;

pub use args::{Dialect, Prefix, Settings};

use super::{
    counters::counters,
    feed::{Feed, spawn_async},
    metrics::sample::Measures,
};
use crate::{
    event::view::{View, Views},
    pipeline::output::{Context, Drain, DrainEnd, Output, Running, StartError, Undelivered},
};
use environment::Environment;
use lines::{Encoder, Line};
use packets::Packets;
use sender::{SendError, Sender};
use std::{env, time::Duration};
use tokio::time::{Instant, timeout_at};

/// The exporter's name in counters.
pub const NAME: &str = "statsd";

counters! {
    /// What the exporter counts itself.
    pub enum Counter {
        /// Datagrams sent.
        Datagrams = "datagrams",
        /// Samples that the protocol cannot express.
        Invalid = "invalid",
        /// Lines that are longer than a datagram.
        Oversized = "oversized",
        /// Datagrams that could not be sent.
        Unsent = "unsent",
    }
}

/// Maximum time that a line waits in a datagram that is not full.
const FLUSH_AFTER: Duration = Duration::from_millis(100);

impl Output for Settings {
    fn destination(&self) -> Option<(&'static str, String)> {
        self.target.as_ref().map(|target| (NAME, target.to_string()))
    }

    fn start(self: Box<Self>, context: &Context) -> Result<Running, StartError> {
        let Context { hub, drain, drain_end, .. } = context.clone();
        let Self { target, dialect, distributions, prefix, measures } = *self;
        let environment = Environment::read(target, dialect, &|name| env::var_os(name));
        let Environment { target, source, dialect, common, warnings } =
            environment.map_err(StartError::Option)?;
        for warning in warnings {
            tracing::info!("statsd: {warning}");
        }
        tracing::info!("statsd: metrics go to {target} ({source}), dialect {dialect}");
        if let Some(option) = distributions.as_ref().filter(|_| dialect == Dialect::Statsd) {
            let line = format!("{}: needs --statsd-dialect dogstatsd", option.name());
            return Err(StartError::Option(line));
        }
        let encoder = Encoder::new(dialect, distributions.is_some(), &prefix, common);
        let packets = Packets::new(target.max_datagram_bytes());
        let sender = Sender::new(target, drain == Drain::Complete);
        let feed = Feed::register(&hub, NAME, false);
        spawn_async(NAME, move |done| async move {
            let undelivered = export(&feed, encoder, &measures, packets, sender, &drain_end).await;
            drop(feed);
            done.drained(undelivered.loss("event"));
        })
    }
}

/// Sends events until the stream has ended.
async fn export(
    feed: &Feed<Counter>,
    mut encoder: Encoder,
    measures: &Measures,
    packets: Packets,
    sender: Sender,
    drain_end: &DrainEnd,
) -> Undelivered {
    let mut outbox = Outbox {
        packets,
        sender,
        counts: Counts::default(),
        last_error: String::new(),
        undelivered: Undelivered::default(),
    };
    outbox.sender.prepare().await;
    let mut flush_at: Option<Instant> = None;
    loop {
        let next = async {
            match flush_at {
                None => feed.chunk().await.map(Some),
                Some(at) => timeout_at(at, feed.chunk()).await.map_or(Some(None), |chunk| chunk.map(Some)),
            }
        };
        let next = tokio::select! {
            // What it has not read by then stays in the hub's queue.
            biased;
            _ = drain_end.ended() => None,
            next = next => next,
        };
        let is_end = next.is_none();
        if let Some(chunk) = next.flatten() {
            let mut events = Views::of(&chunk.frames);
            while let Some(event) = events.read() {
                outbox.add(event, measures, &mut encoder).await;
            }
            feed.drop_unread(&chunk, &events);
        }
        if is_end || flush_at.is_some_and(|at| at <= Instant::now()) {
            outbox.flush().await;
        }
        outbox.report(feed);
        if is_end {
            return outbox.undelivered;
        }
        let waiting = !outbox.packets.is_empty();
        flush_at = waiting.then(|| flush_at.unwrap_or_else(|| Instant::now() + FLUSH_AFTER));
    }
}

/// Packs lines and sends them.
struct Outbox {
    packets: Packets,
    sender: Sender,
    counts: Counts,
    /// Why the last datagram that failed was not sent.
    last_error: String,
    undelivered: Undelivered,
}

impl Outbox {
    async fn add(&mut self, event: &View<'_>, measures: &Measures, encoder: &mut Encoder) {
        encoder.label(measures.labels(event));
        for sample in measures.samples(event) {
            match encoder.line(&sample) {
                Some(line) => self.add_line(line).await,
                None => self.counts.invalid += 1,
            }
        }
    }

    async fn add_line(&mut self, line: Line<'_>) {
        self.packets.add(line, &mut self.counts);
        self.send_full().await;
    }

    async fn flush(&mut self) {
        self.packets.flush(&mut self.counts);
        self.send_full().await;
    }

    async fn send_full(&mut self) {
        while let Some(packet) = self.packets.take_full() {
            match self.sender.send(packet.text.as_bytes()).await {
                Ok(()) => {
                    self.counts.datagrams += 1;
                    self.counts.sent_events += packet.events;
                }
                Err(error) => self.not_sent(packet.events, &error),
            }
        }
    }

    /// Counts a datagram that was not sent.
    fn not_sent(&mut self, events: u64, error: &SendError) {
        self.counts.unsent += 1;
        self.counts.lost_events += events;
        self.last_error = error.to_string();
    }

    /// Adds what was counted to the exporter's counters.
    fn report(&mut self, feed: &Feed<Counter>) {
        let Counts { datagrams, unsent, invalid, oversized, sent_events, lost_events } =
            std::mem::take(&mut self.counts);
        feed.count(Counter::Datagrams, datagrams);
        feed.count(Counter::Unsent, unsent);
        feed.count(Counter::Invalid, invalid);
        feed.count(Counter::Oversized, oversized);
        feed.acknowledge(sent_events);
        feed.drop_in_flight(lost_events);
        let reason = if unsent > 0 { &self.last_error } else { "longer than a datagram" };
        self.undelivered.add(lost_events, reason);
    }
}

/// Counts since the last report.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    datagrams: u64,
    unsent: u64,
    invalid: u64,
    oversized: u64,
    /// Events whose count was sent, and those whose count was not.
    sent_events: u64,
    lost_events: u64,
}
