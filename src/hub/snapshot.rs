//! The hub's account of a moment.

use crate::event::stats::{BacklogStats, ConsumerStats, StreamStats};
use std::collections::BTreeMap;

/// A moment's account of everything the hub knows.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The worker's stderr.
    pub stream: StreamStats,
    /// Events waiting for a subscriber.
    pub backlog: BacklogStats,
    /// Those subscribed, by time of arrival.
    pub subscribers: Vec<ConsumerAccount>,
    /// Those who left, summed up.
    pub departed: ConsumerStats,
    /// How many have left.
    pub departed_count: u64,
    /// The exporters.
    pub exporters: Vec<ConsumerAccount>,
}

/// One consumer's account.
#[derive(Debug, Clone, Default)]
pub struct ConsumerAccount {
    /// A subscriber's number, from 1 up; 0 for an exporter.
    pub id: u64,
    /// An exporter's name, or a subscriber's peer address.
    pub name: String,
    /// Its books.
    pub stats: ConsumerStats,
    /// What an exporter counts itself, by name.
    pub counters: BTreeMap<&'static str, u64>,
}

impl Snapshot {
    /// Whether everything is accounted for.
    pub fn balances(&self) -> bool {
        let consumers = self.subscribers.iter().chain(&self.exporters);
        self.stream.balances()
            && self.backlog.balances()
            && self.departed.balances()
            && consumers.map(|consumer| &consumer.stats).all(ConsumerStats::balances)
    }
}
