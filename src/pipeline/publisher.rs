//! Publishers: a live worker's events are dropped when queues are full; a recording waits.

use super::{Publisher, pace::Pace};
use crate::{
    event::{batch::Batch, stats::StreamStats},
    hub::{Coalescer, Hub},
    system::log,
};
use std::{sync::Arc, time::Instant};

/// Sees every event of a worker before it is published. The worker waits for it.
pub type Tap = Box<dyn FnMut(&Batch) + Send>;

/// Publishes without waiting, so that the worker is never slowed.
pub struct Dropping {
    coalescer: Coalescer,
    tap: Option<Tap>,
}

impl Dropping {
    /// Publishes by way of a coalescer.
    pub fn new(coalescer: Coalescer, tap: Option<Tap>) -> Self {
        Self { coalescer, tap }
    }
}

impl Publisher for Dropping {
    fn publish(&mut self, batch: Arc<Batch>, stats: &StreamStats, _: &mut dyn FnMut()) {
        if let Some(tap) = &mut self.tap {
            tap(&batch);
        }
        self.coalescer.publish(batch, stats);
    }

    fn account(&mut self, stats: &StreamStats) {
        self.coalescer.account(stats);
    }

    fn flush_due(&self) -> Option<Instant> {
        self.coalescer.due()
    }

    fn flush(&mut self) {
        self.coalescer.flush();
    }
}

/// Publishes and waits for room in every queue.
#[derive(Debug)]
pub struct Waiting {
    /// The hub to publish to.
    pub hub: Arc<Hub>,
    /// How many subscribers the first event waits for. If there are any, a full backlog waits for one, too.
    pub subscribers: usize,
    /// Whether the next event does not wait for them.
    pub begun: bool,
    /// The line to print on stderr before that wait, if one is wanted.
    pub notice: Option<String>,
    /// Disconnects the subscribers again and again, if set.
    pub failures: Option<Failures>,
    /// Keeps the recorded time between events, if set.
    pub pace: Option<Pace>,
}

/// Disconnects all subscribers each time that this many events were delivered to them and another one comes.
/// That waits for subscribers as the first one does.
#[derive(Debug)]
pub struct Failures {
    every: usize,
    /// How many events there are until the next time.
    left: usize,
}

impl Failures {
    /// After this many events, at least 1, and so on.
    pub fn new(every: usize) -> Self {
        Self { every, left: every }
    }
}

impl Waiting {
    fn wait_for_subscribers(&mut self, idle: &mut dyn FnMut()) {
        if self.begun {
            return;
        }
        self.begun = true;
        if let Some(notice) = &self.notice {
            log::error_line(notice);
        }
        self.hub.wait_for_subscribers(self.subscribers, idle);
    }

    /// Disconnects the subscribers, if it is time to, when they have everything before the next event.
    fn fail_if_due(&mut self, idle: &mut dyn FnMut()) {
        let Some(failures) = self.failures.as_mut().filter(|failures| failures.left == 0) else { return };
        failures.left = failures.every;
        self.begun = false;
        self.hub.wait_until_delivered(self.subscribers > 0, idle);
        self.hub.disconnect_subscribers();
    }
}

impl Publisher for Waiting {
    fn publish(&mut self, batch: Arc<Batch>, stats: &StreamStats, idle: &mut dyn FnMut()) {
        let Some(first) = batch.event(0) else {
            return self.hub.account(stats);
        };
        let due = first.timestamp_given.then_some(first.timestamp_ns);
        self.fail_if_due(idle);
        self.wait_for_subscribers(idle);
        if let (Some(pace), Some(timestamp_ns)) = (&mut self.pace, due) {
            pace.wait_for(timestamp_ns, idle);
        }
        let mut next = 0;
        while next < batch.len() {
            self.fail_if_due(idle);
            self.wait_for_subscribers(idle);
            let left = self.failures.as_ref().map_or(usize::MAX, |failures| failures.left);
            let events = next..batch.len().min(next.saturating_add(left));
            next = events.end;
            if let Some(failures) = &mut self.failures {
                failures.left = failures.left.saturating_sub(events.len());
            }
            self.hub.publish_waiting(&batch, events, stats, self.subscribers > 0, idle);
        }
    }

    fn account(&mut self, stats: &StreamStats) {
        self.hub.account(stats);
    }
}
