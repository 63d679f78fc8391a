//! Publishers: a live worker's events are dropped when queues are full; a recording waits.

use super::{Publisher, pace::Pace};
use crate::{
    event::{batch::Batch, stats::StreamStats},
    hub::Hub,
    system::log,
};
use std::sync::Arc;

/// Publishes without waiting, so that the worker is never slowed.
#[derive(Debug)]
pub struct Dropping(pub Arc<Hub>);

impl Publisher for Dropping {
    fn publish(&mut self, batch: Batch, stats: &StreamStats, _: &mut dyn FnMut()) {
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
    /// How many subscribers the first event waits for. If there are any, a full backlog waits for one, too.
    pub subscribers: usize,
    /// Whether the first event has waited for them.
    pub begun: bool,
    /// The line to print on stderr before that wait, if one is wanted.
    pub notice: Option<String>,
    /// Keeps the recorded time between events, if set.
    pub pace: Option<Pace>,
}

impl Waiting {
    fn wait_for_subscribers(&mut self, idle: &mut dyn FnMut()) {
        if self.begun {
            return;
        }
        self.begun = true;
        if let Some(notice) = self.notice.take() {
            log::error_line(notice);
        }
        self.hub.wait_for_subscribers(self.subscribers, idle);
    }
}

impl Publisher for Waiting {
    fn publish(&mut self, batch: Batch, stats: &StreamStats, idle: &mut dyn FnMut()) {
        let Some(first) = batch.event(0) else {
            return self.hub.account(stats);
        };
        let due = first.timestamp_given.then_some(first.timestamp_ns);
        self.wait_for_subscribers(idle);
        if let (Some(pace), Some(timestamp_ns)) = (&mut self.pace, due) {
            pace.wait_for(timestamp_ns, idle);
        }
        self.hub.publish_waiting(batch, stats, self.subscribers > 0, idle);
    }

    fn account(&mut self, stats: &StreamStats) {
        self.hub.account(stats);
    }
}
