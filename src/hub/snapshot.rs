//! The hub's counters at one moment.

use crate::event::stats::{BacklogStats, ConsumerStats, SourceStats};
use std::fmt;

/// Everything the hub counts, at a batch boundary.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Where events come from.
    pub sources: SourceStats,
    /// Events that wait for a subscriber.
    pub backlog: BacklogStats,
    /// The subscribers registered now, by time of registration.
    pub subscribers: Vec<ConsumerAccount>,
    /// The observers registered now, by time of registration.
    pub observers: Vec<ConsumerAccount>,
    /// The sum of the subscribers that have left.
    pub disconnected: ConsumerStats,
    /// How many have left.
    pub disconnected_count: u64,
    /// The consumers that stay after leaving, by time of registration.
    pub exporters: Vec<ConsumerAccount>,
    /// How many more subscribers a replay waits for.
    pub awaited_subscribers: usize,
}

/// The counters of one consumer.
#[derive(Debug, Clone, Default)]
pub struct ConsumerAccount {
    /// A subscriber's number, from 1; 0 for others.
    pub id: u64,
    /// An exporter's name, or the peer address of a subscriber or observer.
    pub name: String,
    /// What became of the events offered to it.
    pub stats: ConsumerStats,
    /// The consumer's own counters, zeros included, by name.
    pub counters: Vec<(&'static str, u64)>,
}

/// A closed set of counters that a consumer keeps itself. The hub only includes them in its snapshots.
pub trait CounterSet: fmt::Debug + Send + Sync {
    /// All counters with their values, in the order of their names.
    fn values(&self) -> Vec<(&'static str, u64)>;
}

impl Snapshot {
    /// Whether every byte, line and event is accounted for.
    pub fn balances(&self) -> bool {
        let consumers = self.subscribers.iter().chain(&self.observers).chain(&self.exporters);
        self.sources.balances()
            && self.backlog.balances()
            && self.disconnected.balances()
            && consumers.map(|consumer| &consumer.stats).all(ConsumerStats::balances)
    }
}
