//! Everything that stands under the hub's lock.

use super::{
    Snapshot,
    consumer::Consumer,
    queue::{Limits, Queue},
};
use crate::event::{
    batch::Batch,
    stats::{BacklogStats, ConsumerStats, StreamStats},
};
use std::{ops::Range, sync::Arc, task::Waker};

#[derive(Debug)]
pub(super) struct State {
    pub(super) stream: StreamStats,
    pub(super) backlog: Queue,
    pub(super) backlog_stats: BacklogStats,
    pub(super) subscribers: Vec<Consumer>,
    pub(super) exporters: Vec<Consumer>,
    pub(super) departed: ConsumerStats,
    pub(super) departed_count: u64,
    pub(super) last_id: u64,
    /// No events will come any more.
    pub(super) closed: bool,
    /// How many threads wait for a change.
    pub(super) waiting: usize,
}

impl State {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            stream: StreamStats::default(),
            backlog: Queue::new(limits),
            backlog_stats: BacklogStats::default(),
            subscribers: Vec::new(),
            exporters: Vec::new(),
            departed: ConsumerStats::default(),
            departed_count: 0,
            last_id: 0,
            closed: false,
            waiting: 0,
        }
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let account = |consumers: &[Consumer]| consumers.iter().map(Consumer::account).collect();
        Snapshot {
            stream: self.stream,
            backlog: BacklogStats { waiting: self.backlog.len() as u64, ..self.backlog_stats },
            subscribers: account(&self.subscribers),
            departed: self.departed,
            departed_count: self.departed_count,
            exporters: account(&self.exporters),
        }
    }

    /// Nobody takes this consumer's events any more. A subscriber's account joins that of the departed, an
    /// exporter's stays. It returns what is left of it, to be dropped when the lock is released.
    pub(super) fn leave(&mut self, id: ConsumerId) -> (Option<Queue>, Vec<Consumer>) {
        let queue = self.consumer(id).map(Consumer::leave);
        let left: Vec<_> = match id {
            ConsumerId::Exporter(_) => Vec::new(),
            ConsumerId::Subscriber(id) => {
                self.subscribers.extract_if(.., |subscriber| subscriber.id == id).collect()
            }
        };
        for subscriber in &left {
            self.departed.add(&subscriber.stats());
            self.departed_count += 1;
        }
        (queue, left)
    }

    pub(super) fn consumers(&mut self) -> impl Iterator<Item = &mut Consumer> {
        self.exporters.iter_mut().chain(&mut self.subscribers)
    }

    pub(super) fn consumer(&mut self, id: ConsumerId) -> Option<&mut Consumer> {
        match id {
            ConsumerId::Exporter(index) => self.exporters.get_mut(index),
            ConsumerId::Subscriber(id) => self.subscribers.iter_mut().find(|subscriber| subscriber.id == id),
        }
    }

    pub(super) fn offer(&mut self, batch: &Arc<Batch>, events: Range<usize>) {
        for consumer in self.consumers() {
            consumer.offer(batch, events.clone());
        }
        if self.subscribers.is_empty() {
            self.backlog_stats.taken_in += events.len() as u64;
            for event in events {
                self.backlog_stats.dropped += self.backlog.push(batch, event);
            }
            self.backlog.settle(batch);
        }
    }

    pub(super) fn hand_over_backlog(&mut self, subscriber: &mut Consumer) {
        self.backlog_stats.handed_over += self.backlog.len() as u64;
        for (batch, events) in self.backlog.drain() {
            subscriber.offer(&batch, events);
        }
    }

    /// Takes the wakers of those that have something to do, to be woken when the lock is released.
    pub(super) fn wakers(&mut self) -> Vec<Waker> {
        let closed = self.closed;
        let due = self.consumers().filter(|consumer| closed || consumer.has_queued());
        due.filter_map(|consumer| consumer.waker.take()).collect()
    }

    /// Whether nobody would have to give up anything for an event of this size.
    pub(super) fn has_room_everywhere(&self, bytes: usize, need_subscriber: bool) -> bool {
        let mut consumers = self.exporters.iter().chain(&self.subscribers);
        consumers.all(|consumer| consumer.has_room(1, bytes))
            && (!need_subscriber || !self.subscribers.is_empty() || self.backlog.has_room(1, bytes))
    }

    pub(super) fn is_delivered(&self, backlog_too: bool) -> bool {
        let mut consumers = self.exporters.iter().chain(&self.subscribers);
        consumers.all(Consumer::is_drained) && !(backlog_too && self.backlog.len() > 0)
    }
}

/// Which consumer.
#[derive(Debug, Clone, Copy)]
pub(super) enum ConsumerId {
    Exporter(usize),
    Subscriber(u64),
}
