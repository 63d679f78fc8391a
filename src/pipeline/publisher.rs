//! From the pipeline to the hub: a live worker's events are dropped when queues are full, recorded ones wait.

use super::{Publisher, pace::Pace};
use crate::{
    event::{batch::Batch, stats::StreamStats},
    hub::Hub,
};
use std::sync::Arc;

/// Never waits: a worker is not slowed.
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

/// Waits for room in every queue: a recording has time.
#[derive(Debug)]
pub struct Waiting {
    /// Where to.
    pub hub: Arc<Hub>,
    /// Whether a full backlog waits for a subscriber.
    pub need_subscriber: bool,
    /// Whether the recorded time between events is kept.
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
