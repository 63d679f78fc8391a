//! A consumer's handle.

use super::{
    CHUNK_BYTES, Hub,
    consumer::{Consumer, Delivery},
    state::State,
};
use crate::{
    control::{Control, Controls, PatternLimits},
    event::batch::FrameSlice,
    system::sync::{Mutex, MutexGuard},
};
use std::{
    sync::{Arc, PoisonError},
    task::{Context, Poll, Waker},
};

/// Frames taken from a queue.
#[derive(Debug)]
pub struct Chunk {
    /// Whole gRPC frames, one for each event.
    pub frames: FrameSlice,
    /// How many events there are.
    pub events: u64,
    /// Whether no others are queued.
    pub is_last: bool,
}

/// A consumer's end of its queue. Dropping it unsubscribes.
#[derive(Debug)]
pub struct Subscription {
    hub: Arc<Hub>,
    key: u64,
    /// The controls in force. The next ones are made of them without the hub's lock, under this one, so that
    /// no change is lost.
    controls: Mutex<Controls>,
    replayed: usize,
}

impl Subscription {
    pub(super) fn new(hub: Arc<Hub>, key: u64, controls: Controls, replayed: usize) -> Self {
        Self { hub, key, controls: Mutex::new(controls), replayed }
    }

    /// How many events of the backlog were queued for it when it began, by its first controls. It gets them
    /// before all others.
    pub fn replayed(&self) -> usize {
        self.replayed
    }

    /// Applies a control, or counts it as refused.
    pub fn control(&self, control: Control) {
        let mut controls = self.controls();
        let Ok(changed) = controls.changed(control) else {
            return self.refuse_control();
        };
        let mut state = self.hub.lock();
        state.version += 1;
        let consumer = state.consumer(self.key);
        // It does not wait for the rest of a flush interval.
        let (old, waker) = consumer.map(|consumer| consumer.apply(changed.clone())).unzip();
        drop(state);
        *controls = changed;
        waker.flatten().into_iter().for_each(Waker::wake);
        drop(old);
    }

    /// The limits on patterns of its controls.
    pub fn pattern_limits(&self) -> PatternLimits {
        self.controls().limits()
    }

    /// The number of patterns and wildcards to match a name against.
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
        let Some(consumer) = state.consumer(self.key) else { return };
        settle(consumer, events);
        let (has_room, is_drained) = (!consumer.is_half_full(), consumer.is_drained());
        self.notify_waiting(state, has_room, is_drained);
    }

    /// Notifies threads that wait for room once half of the queue is free, and those that wait for queues to
    /// drain once this one is empty: a thread that publishes as fast as this consumer takes would otherwise
    /// wait and wake up for every chunk.
    fn notify_waiting(&self, state: MutexGuard<'_, State>, has_room: bool, is_drained: bool) {
        let concerns = state.waiting > 0 && has_room || state.draining > 0 && is_drained;
        drop(state);
        if concerns {
            self.hub.room.notify_all();
        }
    }

    /// Makes the end of the session wait for this consumer as long as for a first subscriber.
    pub fn linger(&self) {
        self.with(Consumer::linger);
    }

    /// Counts a control that could not be read.
    pub fn refuse_control(&self) {
        self.with(Consumer::refuse_control);
    }

    fn with(&self, act: impl FnOnce(&mut Consumer)) {
        if let Some(consumer) = self.hub.lock().consumer(self.key) {
            act(consumer);
        }
    }

    /// Whether the hub has [disconnected](Hub::disconnect_subscribers) it.
    pub fn is_disconnected(&self) -> bool {
        self.hub.lock().consumer(self.key).is_none()
    }

    /// Takes the next whole frames, up to 32 KiB or one frame. `None` is the end: the stream is closed and
    /// everything was taken.
    ///
    /// The events are *in flight*, and counted as queued, until [`acknowledge`](Self::acknowledge) counts
    /// them as delivered or [`drop_in_flight`](Self::drop_in_flight) as dropped. What is in flight when the
    /// subscription is dropped is abandoned.
    pub fn poll_chunk(&self, context: &mut Context<'_>) -> Poll<Option<Chunk>> {
        self.poll(context, Delivery::OnAcknowledgement)
    }

    /// Takes the next frames like [`poll_chunk`](Self::poll_chunk), for a connection that holds a bounded
    /// number of bytes: what is in flight does not count towards the bound on events.
    pub fn poll_to_write(&self, context: &mut Context<'_>) -> Poll<Option<Chunk>> {
        self.poll(context, Delivery::WhenWritten)
    }

    fn poll(&self, context: &mut Context<'_>, delivery: Delivery) -> Poll<Option<Chunk>> {
        let mut state = self.hub.lock();
        let closed = state.closed;
        let Some(consumer) = state.consumer(self.key) else {
            return Poll::Ready(None);
        };
        if let Some(chunk) = consumer.take(CHUNK_BYTES, delivery) {
            let (has_room, is_drained) = (!consumer.is_half_full(), consumer.is_drained());
            self.notify_waiting(state, has_room, is_drained);
            return Poll::Ready(Some(chunk));
        }
        if closed {
            return Poll::Ready(None);
        }
        consumer.waker = Some(context.waker().clone());
        consumer.waits_for_half = false;
        Poll::Pending
    }

    /// Waits until the queue is half full, or the stream is closed. Until then events wake no task. A
    /// consumer that takes events at intervals polls this in between, so that none are dropped.
    pub fn poll_half_full(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.hub.lock();
        let closed = state.closed;
        match state.consumer(self.key) {
            Some(consumer) if !closed && !consumer.is_half_full() => {
                consumer.waker = Some(context.waker().clone());
                consumer.waits_for_half = true;
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let remains = self.hub.lock().leave(self.key);
        self.hub.notify();
        drop(remains);
    }
}
