//! Publishers: a live worker's events are dropped when queues are full; a recording waits.

use super::{Publisher, pace::Pace};
use crate::{
    event::{batch::Batch, stats::StreamStats},
    hub::Hub,
};
use std::sync::Arc;

/// Publishes without waiting, so that the worker is never slowed.
#[derive(Debug)]
pub struct Dropping(pub Arc<Hub>);

impl Publisher for Dropping {
    fn publish(&mut self, batch: Batch, stats: &StreamStats) {
        self.0.publish(batch, stats);
    }

    fn account(&mut self, stats: &StreamStats) {
        self.0.account(stats);
    }
}

/// Publishes and waits for room in every queue.
#[derive(Debug)]
pub struct Waiting {
    /// The hub to publish to.
    pub hub: Arc<Hub>,
    /// Whether a full backlog waits for a subscriber.
    pub need_subscriber: bool,
    /// Keeps the recorded time between events, if set.
    pub pace: Option<Pace>,
}

impl Publisher for Waiting {
    fn publish(&mut self, batch: Batch, stats: &StreamStats) {
        if let (Some(pace), Some(first)) = (&mut self.pace, batch.event(0))
            && first.timestamp_given
        {
            pace.wait_for(first.timestamp_ns);
        }
        self.hub.publish_waiting(batch, stats, self.need_subscriber);
    }

    fn account(&mut self, stats: &StreamStats) {
        self.hub.account(stats);
    }
}
