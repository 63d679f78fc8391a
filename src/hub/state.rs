//! The state behind the hub's lock.

use super::{
    Snapshot,
    consumer::Consumer,
    evaluation::{BacklogEvaluations, Evaluation, Plan},
    queue::{Limits, Queue},
};
use crate::{
    control::Controls,
    event::{
        batch::Batch,
        stats::{BacklogStats, ConsumerStats, StreamStats},
    },
};
use std::{ops::Range, sync::Arc, task::Waker};

#[derive(Debug)]
pub(super) struct State {
    /// The controls that consumers start with.
    start: Controls,
    pub(super) stream: StreamStats,
    pub(super) backlog: Queue,
    backlog_stats: BacklogStats,
    /// By time of registration.
    consumers: Vec<Consumer>,
    disconnected: ConsumerStats,
    disconnected_count: u64,
    /// How many consumers have registered; the last one has this key.
    pub(super) registered: u64,
    /// How many consumers that take the backlog have registered.
    pub(super) subscribed: u64,
    /// Changes with every registration and every control that is applied.
    pub(super) version: u64,
    /// No more events will be published.
    pub(super) closed: bool,
    /// How many threads wait for a change.
    pub(super) waiting: usize,
}

impl State {
    pub(super) fn new(start: Controls, limits: Limits) -> Self {
        Self {
            start,
            stream: StreamStats::default(),
            backlog: Queue::new(limits),
            backlog_stats: BacklogStats::default(),
            consumers: Vec::new(),
            disconnected: ConsumerStats::default(),
            disconnected_count: 0,
            registered: 0,
            subscribed: 0,
            version: 0,
            closed: false,
            waiting: 0,
        }
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let stay = |consumer: &&Consumer| consumer.options.stays_after_leaving;
        Snapshot {
            stream: self.stream,
            backlog: BacklogStats { waiting: self.backlog.len() as u64, ..self.backlog_stats },
            subscribers: self
                .consumers
                .iter()
                .filter(|consumer| !stay(consumer))
                .map(Consumer::account)
                .collect(),
            disconnected: self.disconnected,
            disconnected_count: self.disconnected_count,
            exporters: self.consumers.iter().filter(stay).map(Consumer::account).collect(),
        }
    }

    pub(super) fn add(&mut self, consumer: Consumer) {
        self.version += 1;
        self.consumers.push(consumer);
    }

    /// Marks a consumer as left. Its counters stay or are added to those of the disconnected. It returns what
    /// remains of it, to be dropped after the lock is released.
    pub(super) fn leave(&mut self, key: u64) -> (Option<Queue>, Vec<Consumer>) {
        let queue = self.consumer(key).map(Consumer::leave);
        let leaves = |consumer: &mut Consumer| consumer.key == key && !consumer.options.stays_after_leaving;
        let left: Vec<_> = self.consumers.extract_if(.., leaves).collect();
        for consumer in &left {
            self.disconnected.add(&consumer.stats());
            self.disconnected_count += 1;
        }
        (queue, left)
    }

    pub(super) fn consumer(&mut self, key: u64) -> Option<&mut Consumer> {
        self.consumers.iter_mut().find(|consumer| consumer.key == key)
    }

    /// The consumers whose controls may reject an event, by key.
    pub(super) fn controls_to_evaluate(&self) -> impl Iterator<Item = (u64, Controls)> {
        let controls = |consumer: &Consumer| Some((consumer.key, consumer.controls_to_evaluate()?.clone()));
        self.consumers.iter().filter_map(controls)
    }

    /// Offers events to every consumer, and to the backlog if none of them takes it.
    ///
    /// Those that registered after the plan was made are subject to the controls that all start with, which
    /// the operator has set: controls of theirs may be slow, and this runs under the lock.
    pub(super) fn offer(&mut self, batch: &Arc<Batch>, events: Range<usize>, plan: &Plan) {
        for consumer in &mut self.consumers {
            if plan.covers(consumer.key) {
                consumer.offer(batch, events.clone(), plan.evaluation(consumer.key));
            } else {
                let controls =
                    if consumer.options.sampled { self.start.clone() } else { self.start.unsampled() };
                let evaluation =
                    (!controls.keeps_all()).then(|| Evaluation::new(&controls, batch, events.clone()));
                consumer.offer(batch, events.clone(), evaluation.as_ref());
            }
        }
        if self.subscriber_count() == 0 {
            self.backlog_stats.accepted += events.len() as u64;
            for event in events {
                self.backlog_stats.dropped += self.backlog.push(batch, event);
            }
            self.backlog.settle(batch);
        }
    }

    /// Offers the backlog to a consumer that starts with these controls, by evaluations made before or, of
    /// what is new since, by its controls.
    pub(super) fn replay_backlog(
        &mut self,
        consumer: &mut Consumer,
        controls: &Controls,
        mut evaluations: BacklogEvaluations,
    ) {
        let keeps_all = controls.keeps_all();
        self.backlog_stats.replayed += self.backlog.len() as u64;
        for (batch, events) in self.backlog.drain() {
            let evaluation = (!keeps_all).then(|| {
                let made = evaluations.next(&batch, &events);
                made.unwrap_or_else(|| Evaluation::new(controls, &batch, events.clone()))
            });
            consumer.offer(&batch, events, evaluation.as_ref());
        }
    }

    /// Takes the wakers of consumers that have something to do, to be woken after the lock is released.
    pub(super) fn wakers(&mut self) -> Vec<Waker> {
        let closed = self.closed;
        let ready = self.consumers.iter_mut().filter(|consumer| closed || consumer.has_queued());
        ready.filter_map(|consumer| consumer.waker.take()).collect()
    }

    /// Whether an event of this size fits every queue and, if a subscriber is needed and there is none, the
    /// backlog.
    pub(super) fn has_room_everywhere(&self, bytes: usize, need_subscriber: bool) -> bool {
        self.consumers.iter().all(|consumer| consumer.has_room(1, bytes))
            && (!need_subscriber || self.subscriber_count() > 0 || self.backlog.has_room(1, bytes))
    }

    pub(super) fn is_delivered(&self, backlog_too: bool) -> bool {
        self.consumers.iter().all(Consumer::is_drained) && !(backlog_too && self.backlog.len() > 0)
    }

    /// How many consumers that take the backlog are registered.
    pub(super) fn subscriber_count(&self) -> usize {
        self.consumers
            .iter()
            .filter(|consumer| consumer.options.takes_backlog && !consumer.has_left())
            .count()
    }

    /// Whether there was a subscriber, now or before, and no consumer lingers.
    pub(super) fn has_lingered(&self) -> bool {
        self.subscribed > 0 && !self.consumers.iter().any(Consumer::lingers)
    }
}
