//! The state behind the hub's lock.

use super::{
    Snapshot,
    consumer::{Consumer, Registration},
    evaluation::Plan,
    pool::Pool,
    queue::{Limits, Queue, WhenFull},
    wakers::Wakers,
};
use crate::{
    control::Controls,
    event::{
        batch::{Batch, Frames},
        stats::{BacklogStats, ConsumerStats, SourceStats},
    },
};
use std::{
    mem,
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

/// All observers together may use this fraction of the memory, given as its denominator: observers that do
/// not read must not make the queues of subscribers drop events.
const OBSERVERS_PART: usize = 8;

#[derive(Debug)]
pub(super) struct State {
    pub(super) sources: SourceStats,
    /// The memory of the backlog and all queues.
    pool: Arc<Pool>,
    /// The part of it that observers may keep.
    observers_pool: Arc<Pool>,
    backlog_limits: Limits,
    backlog: Queue<Batch>,
    backlog_stats: BacklogStats,
    /// How many events the backlog has dropped since it was replayed last.
    pub(super) backlog_missing: u64,
    /// By time of registration.
    consumers: Vec<Consumer>,
    disconnected: ConsumerStats,
    disconnected_count: u64,
    /// How many consumers have registered; the last one has this key.
    pub(super) registered: u64,
    /// How many consumers that take the backlog have registered.
    pub(super) subscribed: u64,
    /// How many subscriptions have not begun yet.
    pub(super) opening: usize,
    /// Changes with every registration and every control that is applied.
    pub(super) version: u64,
    /// No more events will be published.
    pub(super) closed: bool,
    /// When consumers were woken for events last.
    pub(super) last_flush: Option<Instant>,
    /// How many threads wait for room, or for subscribers.
    pub(super) waiting: usize,
    /// How many threads wait for the delivery of everything.
    pub(super) draining: usize,
    /// How many subscribers the next event of a replay waits for; 0 while it does not wait.
    pub(super) wanted_subscribers: usize,
}

impl State {
    /// The newest events are worth most to the next subscriber, so that the backlog drops the oldest.
    pub(super) fn new(limits: Limits, total_bytes: usize) -> Self {
        let pool = Pool::new(total_bytes);
        let backlog_limits = Limits { when_full: WhenFull::DropOldest, ..limits };
        Self {
            sources: SourceStats::default(),
            backlog_limits,
            backlog: Queue::new(backlog_limits, &pool),
            observers_pool: Pool::part(&pool, OBSERVERS_PART),
            pool,
            backlog_stats: BacklogStats::default(),
            backlog_missing: 0,
            consumers: Vec::new(),
            disconnected: ConsumerStats::default(),
            disconnected_count: 0,
            registered: 0,
            subscribed: 0,
            opening: 0,
            version: 0,
            closed: false,
            last_flush: None,
            waiting: 0,
            draining: 0,
            wanted_subscribers: 0,
        }
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let accounts = |is_meant: fn(&Consumer) -> bool| {
            let meant = self.consumers.iter().filter(|consumer| is_meant(consumer));
            meant.map(Consumer::account).collect()
        };
        Snapshot {
            sources: self.sources,
            backlog: BacklogStats { waiting: self.backlog.len() as u64, ..self.backlog_stats },
            subscribers: accounts(Consumer::takes_backlog),
            observers: accounts(Consumer::observes),
            disconnected: self.disconnected,
            disconnected_count: self.disconnected_count,
            exporters: accounts(|consumer| consumer.options.stays_after_leaving),
            awaited_subscribers: self.wanted_subscribers.saturating_sub(self.subscriber_count()),
        }
    }

    /// Registers a consumer and returns its key, and the backlog if it takes it: the consumer waits until
    /// that is [evaluated and replayed](Consumer::replay).
    pub(super) fn add(&mut self, registration: Registration) -> (u64, Option<Queue<Batch>>) {
        self.version += 1;
        self.registered += 1;
        let (mut id, mut backlog) = (0, None);
        if registration.options.takes_backlog {
            self.subscribed += 1;
            id = self.subscribed;
            self.backlog_stats.replayed += self.backlog.len() as u64;
            self.backlog_missing = 0;
            backlog = Some(mem::replace(&mut self.backlog, Queue::new(self.backlog_limits, &self.pool)));
        }
        let pool = if registration.options.is_observer() { &self.observers_pool } else { &self.pool };
        self.consumers.push(Consumer::new(self.registered, id, registration, pool));
        (self.registered, backlog)
    }

    /// Marks a consumer as left. Its counters stay, or are added to those of the disconnected subscribers if
    /// it was one. It returns what remains of it, to be dropped after the lock is released.
    pub(super) fn leave(&mut self, key: u64) -> (Option<Queue<Frames>>, Vec<Consumer>) {
        let queue = self.consumer(key).map(Consumer::leave);
        let leaves = |consumer: &mut Consumer| consumer.key == key && !consumer.options.stays_after_leaving;
        let left: Vec<_> = self.consumers.extract_if(.., leaves).collect();
        for consumer in left.iter().filter(|consumer| consumer.options.takes_backlog) {
            self.disconnected.add(&consumer.stats());
            self.disconnected_count += 1;
        }
        (queue, left)
    }

    /// Makes all subscribers leave, and returns what remains of them, to be woken and dropped after the lock
    /// is released.
    pub(super) fn disconnect_subscribers(&mut self) -> Vec<Consumer> {
        let subscribers = self.consumers.iter().filter(|consumer| consumer.takes_backlog());
        let keys: Vec<_> = subscribers.map(|consumer| consumer.key).collect();
        keys.into_iter().flat_map(|key| self.leave(key).1).collect()
    }

    pub(super) fn consumer(&mut self, key: u64) -> Option<&mut Consumer> {
        self.consumers.iter_mut().find(|consumer| consumer.key == key)
    }

    /// The consumers whose controls may reject an event, by key.
    pub(super) fn controls_to_evaluate(&self) -> impl Iterator<Item = (u64, Controls)> {
        let controls = |consumer: &Consumer| Some((consumer.key, consumer.controls_to_evaluate()?.clone()));
        self.consumers.iter().filter_map(controls)
    }

    /// The first subscriber that has registered since the plan was made, if none of before is left.
    pub(super) fn successor(&self, plan: &Plan) -> Option<&Consumer> {
        let first = self.consumers.iter().find(|consumer| consumer.takes_backlog())?;
        (!plan.covers(first.key)).then_some(first)
    }

    /// Offers events to every consumer of the plan, and to the backlog if none of them takes it.
    pub(super) fn offer(&mut self, batch: &Arc<Batch>, events: Range<usize>, plan: &Plan) {
        let mut taken = false;
        for consumer in self.consumers.iter_mut().filter(|consumer| plan.covers(consumer.key)) {
            taken |= consumer.takes_backlog();
            consumer.offer(batch, events.clone(), plan.evaluation(consumer.key));
        }
        if taken {
            return;
        }
        let count = events.len() as u64;
        if self.subscriber_count() > 0 {
            // They were offered to the successor, which has left since.
            self.disconnected.offered += count;
            self.disconnected.abandoned += count;
            return;
        }
        self.backlog_stats.accepted += count;
        let dropped: u64 = events.map(|event| self.backlog.push(batch, event)).sum();
        self.backlog_stats.dropped += dropped;
        self.backlog_missing += dropped;
        self.backlog.settle_merged(batch);
    }

    /// When the events that are queued now are to be flushed. None is now: then that is noted.
    pub(super) fn flush_due(&mut self, now: Instant, interval: Duration) -> Option<Instant> {
        let due = self.last_flush.and_then(|last| last.checked_add(interval)).filter(|due| *due > now);
        if due.is_none() {
            self.last_flush = Some(now);
        }
        due
    }

    /// Takes the wakers of consumers that have something to do and are `included`, to be woken after the lock
    /// is released.
    pub(super) fn wakers(&mut self, included: impl Fn(&Consumer) -> bool) -> Wakers {
        let closed = self.closed;
        let ready = self.consumers.iter_mut().filter(|consumer| closed || consumer.is_due());
        ready.filter(|consumer| included(consumer)).filter_map(|consumer| consumer.waker.take()).collect()
    }

    /// Whether a consumer has something to do and was not woken for it.
    pub(super) fn has_held_back(&self) -> bool {
        self.consumers.iter().any(|consumer| consumer.waker.is_some() && consumer.is_due())
    }

    /// Whether these events of a batch fit every queue but those of observers and, if a subscriber is needed
    /// and there is none, the backlog.
    pub(super) fn has_room_everywhere(
        &self,
        batch: &Batch,
        events: Range<usize>,
        need_subscriber: bool,
    ) -> bool {
        let (count, queues) = (events.len(), self.consumers.len() + 1);
        let bytes = batch.frame_range(events).len();
        self.awaited().all(|consumer| consumer.has_room(count, bytes, queues))
            && (!need_subscriber
                || self.subscriber_count() > 0
                || self.backlog.has_room(count, bytes, queues))
    }

    /// The end of as many of these events as fit together; at least of the first. It is found by halving.
    pub(super) fn end_of_fitting(&self, batch: &Batch, events: Range<usize>, need_subscriber: bool) -> usize {
        let Range { start, mut end } = events;
        while end > start + 1 && !self.has_room_everywhere(batch, start..end, need_subscriber) {
            end = start + (end - start) / 2;
        }
        end
    }

    pub(super) fn is_delivered(&self, backlog_too: bool) -> bool {
        self.awaited().all(Consumer::is_drained) && !(backlog_too && self.has_backlog())
    }

    /// The consumers that a publisher waits for.
    fn awaited(&self) -> impl Iterator<Item = &Consumer> {
        self.consumers.iter().filter(|consumer| !consumer.options.is_observer())
    }

    /// Whether events wait for a subscriber.
    pub(super) fn has_backlog(&self) -> bool {
        self.backlog.len() > 0
    }

    /// How many consumers that take the backlog are registered.
    pub(super) fn subscriber_count(&self) -> usize {
        self.consumers.iter().filter(|consumer| consumer.takes_backlog()).count()
    }

    /// Whether an observer is registered.
    pub(super) fn has_observer(&self) -> bool {
        self.consumers.iter().any(Consumer::observes)
    }

    /// Whether there was a subscriber, now or before, and no consumer lingers.
    pub(super) fn has_lingered(&self) -> bool {
        self.subscribed > 0 && !self.consumers.iter().any(Consumer::lingers)
    }
}
