//! A consumer as the hub sees it: controls, a queue and counters.

use super::{
    CHUNK_BYTES, Chunk, ConsumerAccount, CounterSet,
    evaluation::{Evaluated, Evaluation},
    pool::Pool,
    queue::{Limits, Queue},
};
use crate::{
    control::{Controls, Outcome},
    event::{
        batch::{Batch, Frames, Origin},
        stats::ConsumerStats,
    },
};
use std::{mem, ops::Range, sync::Arc, task::Waker};

/// How the hub treats a consumer.
#[derive(Debug, Clone, Copy)]
pub struct ConsumerOptions {
    /// The bounds of its queue.
    pub limits: Limits,
    /// Whether it receives the backlog when it registers. While such a consumer is registered there is no
    /// backlog.
    pub takes_backlog: bool,
    /// Whether sampling applies to it.
    pub sampled: bool,
    /// Whether its counters stay in the snapshot after it has left. Otherwise those of a consumer that takes
    /// the backlog are added to a sum.
    pub stays_after_leaving: bool,
    /// Which events it takes.
    pub takes: Takes,
}

/// Which events a consumer takes. The others count as delivered, because it has what they say from the
/// [state of the worker](crate::worker::state::WorkerState).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// All.
    All,
    /// All but samples of what the worker uses.
    NoSamples,
    /// The worker's own.
    NoObserved,
}

impl Takes {
    fn events_from(self, origin: Origin) -> bool {
        match self {
            Self::All => true,
            Self::NoSamples => origin != Origin::Samples,
            Self::NoObserved => origin == Origin::Worker,
        }
    }
}

/// The least number of events that an observer's queue holds: it is emptied at intervals.
const OBSERVER_EVENTS: usize = 16 * 1024;

impl ConsumerOptions {
    /// A consumer that takes the backlog, is sampled, and is forgotten after it has left.
    pub(super) fn subscriber(limits: Limits) -> Self {
        Self { limits, takes_backlog: true, sampled: true, stays_after_leaving: false, takes: Takes::All }
    }

    /// A consumer for a viewer. Nothing depends on it: the backlog stays for a
    /// subscriber, no publisher waits for it, and it is forgotten after it has left.
    pub(super) fn observer(limits: Limits) -> Self {
        let limits = Limits { events: limits.events.max(OBSERVER_EVENTS), ..limits };
        Self { limits, takes_backlog: false, sampled: true, stays_after_leaving: false, takes: Takes::All }
    }

    /// Whether it is an [observer](Self::observer).
    pub(super) fn is_observer(&self) -> bool {
        !self.takes_backlog && !self.stays_after_leaving
    }
}

/// When an event that is taken counts as delivered.
#[derive(Debug, Clone, Copy)]
pub(super) enum Delivery {
    OnAcknowledgement,
    /// The same, and until then its room is free for others: what takes it has bounds of its own.
    WhenWritten,
}

/// What a consumer registers with.
#[derive(Debug)]
pub(super) struct Registration {
    pub(super) name: String,
    pub(super) options: ConsumerOptions,
    pub(super) controls: Controls,
    /// Its counters so far: of controls alone.
    pub(super) stats: ConsumerStats,
    pub(super) counters: Option<Arc<dyn CounterSet>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The backlog is still evaluated for it. What is published meanwhile is to be queued behind that.
    AwaitsBacklog,
    Active,
    Left,
}

#[derive(Debug)]
pub(super) struct Consumer {
    /// Identifies it within the hub.
    pub(super) key: u64,
    /// Counts the consumers that take the backlog, from 1; 0 for others.
    id: u64,
    name: String,
    pub(super) options: ConsumerOptions,
    controls: Controls,
    /// `controls.keeps_all()`, for every batch.
    keeps_all: bool,
    pool: Arc<Pool>,
    queue: Queue<Frames>,
    stats: ConsumerStats,
    counters: Option<Arc<dyn CounterSet>>,
    phase: Phase,
    lingering: bool,
    /// Wakes the task that waits for events.
    pub(super) waker: Option<Waker>,
    /// Whether the task waits until the queue is half full.
    pub(super) waits_for_half: bool,
}

impl Consumer {
    pub(super) fn new(key: u64, id: u64, registration: Registration, pool: &Arc<Pool>) -> Self {
        let Registration { name, options, controls, stats, counters } = registration;
        Self {
            key,
            id,
            name,
            options,
            keeps_all: controls.keeps_all(),
            controls,
            pool: Arc::clone(pool),
            queue: Queue::new(options.limits, pool),
            stats,
            counters,
            phase: if options.takes_backlog { Phase::AwaitsBacklog } else { Phase::Active },
            lingering: false,
            waker: None,
            waits_for_half: false,
        }
    }

    /// The controls in force, if they may reject an event.
    pub(super) fn controls_to_evaluate(&self) -> Option<&Controls> {
        (!self.keeps_all).then_some(&self.controls)
    }

    /// Whether it is offered what would otherwise wait in the backlog.
    pub(super) fn takes_backlog(&self) -> bool {
        self.options.takes_backlog && self.phase != Phase::Left
    }

    pub(super) fn has_room(&self, events: usize, bytes: usize, queues: usize) -> bool {
        self.phase != Phase::AwaitsBacklog && self.queue.has_room(events, bytes, queues)
    }

    /// Whether the task that waits for events is to be woken.
    pub(super) fn is_due(&self) -> bool {
        self.queue.len() > 0 && (!self.waits_for_half || self.queue.is_half_full())
    }

    /// Whether waiting for more would not make its next chunk larger, or could make its queue drop events.
    pub(super) fn has_full_chunk(&self) -> bool {
        self.queue.bytes() >= CHUNK_BYTES || self.queue.is_half_full()
    }

    /// Whether its queue has no room for as much as it holds.
    pub(super) fn is_half_full(&self) -> bool {
        self.queue.is_half_full()
    }

    /// Whether it is registered, as an observer.
    pub(super) fn observes(&self) -> bool {
        self.options.is_observer() && self.phase != Phase::Left
    }

    /// Whether nothing is queued or in flight.
    pub(super) fn is_drained(&self) -> bool {
        self.unsettled() == 0 && self.phase != Phase::AwaitsBacklog
    }

    fn unsettled(&self) -> u64 {
        (self.queue.len() + self.queue.in_flight()) as u64
    }

    /// Queues the events that its controls keep; without an evaluation, all of them.
    pub(super) fn offer(
        &mut self,
        batch: &Arc<Batch>,
        events: Range<usize>,
        evaluation: Option<&Evaluation>,
    ) {
        self.stats.offered += events.len() as u64;
        match evaluation.and_then(|evaluation| evaluation.of(&events)) {
            None => self.keep(batch, events),
            Some(outcomes) => self.enqueue_kept(batch, events.start, outcomes),
        }
        self.queue.settle(batch.shared_frames());
    }

    /// Queues the backlog, by its evaluations, in front of what was published since the consumer registered.
    /// Returns how many of its events are queued.
    pub(super) fn replay(&mut self, backlog: Vec<Evaluated>) -> usize {
        self.phase = Phase::Active;
        let mut newer = self.take_queue();
        newer.release();
        for Evaluated { batch, events, evaluation } in backlog {
            self.offer(&batch, events, evaluation.as_ref());
        }
        let replayed = self.queue.len();
        for (frames, events) in newer.runs() {
            self.enqueue(&frames, events);
            self.queue.settle(&frames);
        }
        replayed
    }

    fn enqueue_kept(&mut self, batch: &Arc<Batch>, first: usize, outcomes: &[Outcome]) {
        let mut start = first;
        for same in outcomes.chunk_by(|a, b| a == b) {
            let (events, count) = (start..start + same.len(), same.len() as u64);
            start = events.end;
            match same.first() {
                Some(Outcome::Keep) => self.keep(batch, events),
                Some(Outcome::Disabled) => self.stats.disabled += count,
                Some(Outcome::Filtered) => self.stats.filtered += count,
                Some(Outcome::SampledOut) => self.stats.sampled_out += count,
                None => {}
            }
        }
    }

    fn keep(&mut self, batch: &Batch, events: Range<usize>) {
        let is_left = self.phase == Phase::Left;
        if !self.options.takes.events_from(batch.origin()) && !is_left {
            self.stats.delivered += events.len() as u64;
        } else if batch.origin() == Origin::End && !is_left {
            // They are few, and no later event makes up for them: a full queue takes them, too.
            self.queue.push_run(batch.shared_frames(), events);
        } else {
            self.enqueue(batch.shared_frames(), events);
        }
    }

    fn enqueue(&mut self, frames: &Arc<Frames>, events: Range<usize>) {
        if self.phase == Phase::Left {
            self.stats.abandoned += events.len() as u64;
            return;
        }
        let bytes = frames.range(events.clone()).len();
        if self.queue.has_room(events.len(), bytes, 1) {
            self.queue.push_run(frames, events);
        } else {
            self.stats.dropped += events.map(|event| self.queue.push(frames, event)).sum::<u64>();
        }
    }

    /// Replaces the controls and returns the old ones, to be dropped after the lock is released, and the
    /// waker if events are queued.
    pub(super) fn apply(&mut self, controls: Controls) -> (Controls, Option<Waker>) {
        self.stats.controls_applied += 1;
        self.keeps_all = controls.keeps_all();
        let waker = if self.is_due() { self.waker.take() } else { None };
        (mem::replace(&mut self.controls, controls), waker)
    }

    pub(super) fn refuse_control(&mut self) {
        self.stats.controls_refused += 1;
    }

    /// Takes up to `most` bytes of whole frames, but one at least, if any are queued. The events are in
    /// flight until they are acknowledged or dropped.
    pub(super) fn take(&mut self, most: usize, delivery: Delivery) -> Option<Chunk> {
        let frames = self.queue.take(most)?;
        let events = frames.events();
        match delivery {
            Delivery::OnAcknowledgement => self.queue.add_in_flight(events, true),
            Delivery::WhenWritten => self.queue.add_in_flight(events, false),
        }
        Some(Chunk { frames, events: events as u64, is_last: self.queue.len() == 0 })
    }

    /// Counts events in flight as delivered.
    pub(super) fn acknowledge(&mut self, events: u64) {
        self.stats.delivered += self.queue.settle_in_flight(events);
    }

    /// Counts events in flight as dropped.
    pub(super) fn drop_in_flight(&mut self, events: u64) {
        let unsent = self.queue.settle_in_flight(events);
        self.stats.dropped += unsent;
        self.stats.unsent += unsent;
    }

    pub(super) fn stats(&self) -> ConsumerStats {
        ConsumerStats { queued: self.unsettled(), queued_bytes: self.queue.bytes() as u64, ..self.stats }
    }

    pub(super) fn account(&self) -> ConsumerAccount {
        ConsumerAccount {
            id: self.id,
            name: self.name.clone(),
            stats: self.stats(),
            counters: self.counters.as_ref().map(|counters| counters.values()).unwrap_or_default(),
        }
    }

    /// Abandons what is queued or in flight, and whatever is offered from now on. It returns the queue, to be
    /// dropped after the lock is released.
    pub(super) fn leave(&mut self) -> Queue<Frames> {
        self.phase = Phase::Left;
        self.stats.abandoned += self.unsettled();
        let mut queue = self.take_queue();
        queue.release();
        queue
    }

    fn take_queue(&mut self) -> Queue<Frames> {
        mem::replace(&mut self.queue, Queue::new(self.options.limits, &self.pool))
    }

    pub(super) fn linger(&mut self) {
        self.lingering = true;
    }

    pub(super) fn lingers(&self) -> bool {
        self.lingering && self.phase != Phase::Left
    }
}
