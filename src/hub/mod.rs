//! Fan-out: every event to every subscriber and exporter, each behind controls and a bounded queue of its own.
//!
//! The hub knows neither gRPC nor exporters. The reader publishes whole batches; consumers take chunks of ready
//! frames and are woken when there are new ones. Everything stands under one lock that is taken once for a batch
//! or a chunk, so that a [`Snapshot`] is always that of a batch's boundary, and its books balance. The worker waits for
//! that lock, so controls are made ready before it is taken, and what is left of old ones is dropped after.
//!
//! Events that come while nobody is subscribed wait in a backlog for the next subscriber, who is handed what its
//! starting controls keep of it. Exporters are there from the start and take no part in that.
//!
//! # Why nobody is left asleep
//!
//! - A task leaves its waker under the same lock under which it found its queue empty and the stream open. Who then adds an
//!   event, or closes, holds that lock later, so it finds the waker and takes it along. It wakes after the lock is free:
//!   at worst a task is woken for what it has taken already, and looks again.
//! - A thread that waits for room counts itself as waiting under the lock under which it found none, and the condition
//!   variable gives that lock up and waits in one step. Who makes room later holds the lock, so it sees the count. Only
//!   taking and acknowledging events look at the count; subscribing, leaving and closing notify in any case.
//! - `until` has its `Notified` before it looks, and `notify_waiters` reaches every one that is there, polled or not. A
//!   change is made before it is notified of.
//!
//! `tests/hub_model.rs` has loom try the orders that threads can take.

mod consumer;
mod queue;
mod snapshot;
mod state;

pub use queue::{Limits, WhenFull};
pub use snapshot::{ConsumerAccount, Snapshot};

use crate::{
    control::{Control, Controls, PatternLimits},
    event::{batch::Batch, stats::StreamStats},
    system::sync::{Condvar, Mutex, MutexGuard, Notify},
};
use bytes::Bytes;
use consumer::{Consumer, Delivery};
use state::{ConsumerId, State};
use std::{
    sync::{Arc, PoisonError},
    task::{Context, Poll, Waker},
};

/// About how many bytes a consumer is handed at a time. More makes a stalled subscriber hold more memory in its
/// connection, less makes more calls per event.
const CHUNK_BYTES: usize = 32 * 1024;

/// The fan-out.
#[derive(Debug)]
pub struct Hub {
    state: Mutex<State>,
    start: Controls,
    limits: Limits,
    /// For threads: room in a queue, a subscriber come or gone.
    room: Condvar,
    /// For tasks: a subscriber come or gone, a queue drained, the stream closed.
    changed: Notify,
}

impl Hub {
    /// A hub whose subscriptions start with these controls, and may each have so much waiting.
    pub fn new(start: Controls, limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State::new(limits)),
            start,
            limits,
            room: Condvar::new(),
            changed: Notify::new(),
        })
    }

    /// The state is whole between any two statements that could panic, so a poisoned lock changes nothing.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers an exporter, with bounds of its own. Its events start with the next batch.
    pub fn export(self: &Arc<Self>, name: &str, limits: Limits) -> Subscription {
        self.export_judged(name, limits, self.start.clone())
    }

    /// The same for one that counts: sampling does not apply to it.
    pub fn export_unsampled(self: &Arc<Self>, name: &str, limits: Limits) -> Subscription {
        self.export_judged(name, limits, self.start.unsampled())
    }

    fn export_judged(self: &Arc<Self>, name: &str, limits: Limits, controls: Controls) -> Subscription {
        let exporter = Consumer::new(0, name.to_owned(), controls.clone(), limits);
        let mut state = self.lock();
        let id = ConsumerId::Exporter(state.exporters.len());
        state.exporters.push(exporter);
        Subscription { hub: Arc::clone(self), id, controls: Mutex::new(controls) }
    }

    /// Registers a subscriber and hands it the backlog.
    pub fn subscribe(self: &Arc<Self>, name: &str) -> Subscription {
        let mut state = self.lock();
        state.last_id += 1;
        let id = state.last_id;
        let controls = self.start.clone();
        let mut subscriber = Consumer::new(id, name.to_owned(), controls.clone(), self.limits);
        state.hand_over_backlog(&mut subscriber);
        state.subscribers.push(subscriber);
        drop(state);
        self.notify();
        let id = ConsumerId::Subscriber(id);
        Subscription { hub: Arc::clone(self), id, controls: Mutex::new(controls) }
    }

    /// Hands a batch to everyone, never waiting, together with the account of the stream that goes with it.
    pub fn publish(&self, batch: Batch, stream: &StreamStats) {
        let events = 0..batch.len();
        let mut state = self.lock();
        state.stream = *stream;
        if events.is_empty() {
            return;
        }
        state.offer(&Arc::new(batch), events);
        wake(state);
    }

    /// Hands a batch to everyone, waiting for room in every queue instead of dropping. With `need_subscriber`
    /// it also waits for a subscriber when there is none and the backlog is full; without, the backlog drops.
    pub fn publish_waiting(&self, batch: Batch, stream: &StreamStats, need_subscriber: bool) {
        let batch = Arc::new(batch);
        let mut state = self.lock();
        state.stream = *stream;
        for index in 0..batch.len() {
            let bytes = batch.frame_range(index..index + 1).len();
            while !state.has_room_everywhere(bytes, need_subscriber) {
                let wakers = state.wakers();
                if wakers.is_empty() {
                    state = self.wait(state);
                } else {
                    drop(state);
                    wakers.into_iter().for_each(Waker::wake);
                    state = self.lock();
                }
            }
            state.offer(&batch, index..index + 1);
        }
        wake(state);
    }

    /// Replaces the account of the stream: what was held has been passed on.
    pub fn account(&self, stream: &StreamStats) {
        self.lock().stream = *stream;
    }

    /// Waits until this many are subscribed.
    pub fn wait_for_subscribers(&self, count: usize) {
        self.wait_while(|state| state.subscribers.len() < count);
    }

    /// Waits until nothing is queued or in flight and, if asked, the backlog is empty.
    pub fn wait_until_delivered(&self, backlog_too: bool) {
        self.wait_while(|state| !state.is_delivered(backlog_too));
    }

    fn wait_while(&self, condition: impl Fn(&State) -> bool) {
        let mut state = self.lock();
        while condition(&state) {
            state = self.wait(state);
        }
    }

    /// Waits for a change.
    fn wait<'a>(&self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        state.waiting += 1;
        let mut state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        state.waiting -= 1;
        state
    }

    /// Says that no more events will come: queues drain, then each consumer is told the end.
    pub fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        wake(state);
        self.notify();
    }

    /// Waits until no more events will come.
    pub async fn closed(&self) {
        self.until(|state| state.closed).await;
    }

    /// Waits until somebody has subscribed, now or before, and every exporter that asked to [linger] is done.
    ///
    /// [linger]: Subscription::linger
    pub async fn lingered(&self) {
        self.until(|state| state.last_id > 0 && !state.exporters.iter().any(Consumer::lingers)).await;
    }

    /// Waits until every subscriber has left and every exporter is done.
    pub async fn all_left(&self) {
        self.until(|state| state.subscribers.is_empty() && state.exporters.iter().all(Consumer::has_left))
            .await;
    }

    async fn until(&self, condition: impl Fn(&State) -> bool) {
        loop {
            let changed = self.changed.notified();
            if condition(&self.lock()) {
                return;
            }
            changed.await;
        }
    }

    /// The account of this moment.
    pub fn snapshot(&self) -> Snapshot {
        self.lock().snapshot()
    }

    /// Notifies threads that wait for room in a queue, or for queues to drain.
    fn notify_waiting_threads(&self, state: MutexGuard<'_, State>) {
        // Skip the futex wake when no thread is waiting.
        let waiting = state.waiting > 0;
        drop(state);
        if waiting {
            self.room.notify_all();
        }
    }

    fn notify(&self) {
        self.room.notify_all();
        self.changed.notify_waiters();
    }
}

/// Wakes the consumers that wait for what has changed, once the lock is free for them.
fn wake(mut state: MutexGuard<'_, State>) {
    let wakers = state.wakers();
    drop(state);
    wakers.into_iter().for_each(Waker::wake);
}

/// Frames of some events, taken from a queue.
#[derive(Debug)]
pub struct Chunk {
    /// Whole gRPC frames, one for each event.
    pub frames: Bytes,
    /// How many events there are.
    pub events: u64,
}

/// A consumer's end of its queue. Dropping it unsubscribes; an exporter's account stays.
#[derive(Debug)]
pub struct Subscription {
    hub: Arc<Hub>,
    id: ConsumerId,
    /// The controls in force, for the next ones to be made of without the hub's lock. Its own lock is held while that
    /// is done, so that of two changes neither is lost.
    controls: Mutex<Controls>,
}

impl Subscription {
    /// Applies a control, or counts that it is refused.
    pub fn control(&self, control: Control) {
        let mut controls = self.controls();
        let Ok(changed) = controls.changed(control) else {
            return self.refuse_control();
        };
        let old = self.with(|consumer| consumer.put_in_force(changed.clone()));
        *controls = changed;
        drop(old);
    }

    /// How many patterns its controls may have.
    pub fn pattern_limits(&self) -> PatternLimits {
        self.controls().limits()
    }

    /// How many patterns and wildcards its controls have to try for a name.
    pub fn pattern_work(&self) -> usize {
        self.controls().work()
    }

    fn controls(&self) -> MutexGuard<'_, Controls> {
        self.controls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts events in flight as delivered. See [`poll_chunk`](Self::poll_chunk).
    pub fn acknowledge(&self, events: u64) {
        self.settle(events, Consumer::acknowledge);
    }

    /// Counts events in flight as dropped: they could not be written or sent.
    pub fn drop_in_flight(&self, events: u64) {
        self.settle(events, Consumer::drop_in_flight);
    }

    fn settle(&self, events: u64, settle: impl FnOnce(&mut Consumer, u64)) {
        if events == 0 {
            return;
        }
        let mut state = self.hub.lock();
        if let Some(consumer) = state.consumer(self.id) {
            settle(consumer, events);
        }
        self.hub.notify_waiting_threads(state);
    }

    /// Adds to a counter of this consumer's own, beside its books.
    pub fn count(&self, counter: &'static str, by: u64) {
        self.with(|consumer| consumer.count(counter, by));
    }

    /// Asks that the end wait for this consumer for as long as it would for a first subscriber.
    pub fn linger(&self) {
        self.with(Consumer::linger);
    }

    /// Counts a control that could not be understood.
    pub fn refuse_control(&self) {
        self.with(Consumer::refuse_control);
    }

    /// What it returns is dropped when the lock is released.
    fn with<T>(&self, act: impl FnOnce(&mut Consumer) -> T) -> Option<T> {
        self.hub.lock().consumer(self.id).map(act)
    }

    /// Takes the next whole frames, about `CHUNK_BYTES` of them. `None` is the end: the stream is closed and everything
    /// was taken.
    ///
    /// The events are *in flight*, and counted as queued, until [`acknowledge`](Self::acknowledge) counts them as
    /// delivered or [`drop_in_flight`](Self::drop_in_flight) as dropped. What is in flight when the subscription is
    /// dropped is abandoned.
    pub fn poll_chunk(&self, context: &mut Context<'_>) -> Poll<Option<Chunk>> {
        self.poll(context, Delivery::OnAcknowledgement)
    }

    /// Takes the next frames like [`poll_chunk`](Self::poll_chunk) and acknowledges them in the same step.
    pub fn poll_frames(&self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.poll(context, Delivery::AtOnce).map(|chunk| chunk.map(|chunk| chunk.frames))
    }

    fn poll(&self, context: &mut Context<'_>, delivery: Delivery) -> Poll<Option<Chunk>> {
        let mut state = self.hub.lock();
        let closed = state.closed;
        let Some(consumer) = state.consumer(self.id) else {
            return Poll::Ready(None);
        };
        if let Some(chunk) = consumer.take(CHUNK_BYTES, delivery) {
            self.hub.notify_waiting_threads(state);
            return Poll::Ready(Some(chunk));
        }
        if closed {
            return Poll::Ready(None);
        }
        consumer.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let left = self.hub.lock().leave(self.id);
        self.hub.notify();
        drop(left);
    }
}
