//! What every exporter reads, and the thread it runs on.

use super::counters::{Counter, Counters};
use crate::{
    event::view::Views,
    hub::{Chunk, ConsumerOptions, Hub, Limits, Subscription, Takes, WhenFull},
    pipeline::output::{self, Done, Running, StartError},
    system::thread::lower_priority,
};
use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
};
use tokio::task::yield_now;

/// What may wait for an exporter, in bytes of messages.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// The least memory that an event needs, in bytes: what filters need of it stands beside its message and is
/// larger than the shortest messages.
const EVENT_BYTES: usize = 64;

/// What may wait for an exporter. Files and counts are meant to be complete, so that bursts get more room
/// than a subscriber has by default. Of a burst the first events are worth as much as the last, and leaving
/// out what comes costs nothing.
const LIMITS: Limits =
    Limits { events: MAX_BYTES / EVENT_BYTES, bytes: MAX_BYTES, when_full: WhenFull::DropNewest };

/// An exporter as a consumer of the hub. Sampling applies to those that export single events, not to those
/// that count.
pub fn options(sampled: bool) -> ConsumerOptions {
    ConsumerOptions {
        limits: LIMITS,
        takes_backlog: false,
        sampled,
        stays_after_leaving: true,
        takes: Takes::All,
    }
}

/// An exporter's queue in the hub, and its own counters. Dropping it means that the exporter is done.
#[derive(Debug)]
pub struct Feed<C> {
    subscription: Subscription,
    counters: Arc<Counters<C>>,
}

impl<C: Counter> Feed<C> {
    /// Registers an exporter. See [`options`].
    pub fn register(hub: &Arc<Hub>, name: &str, sampled: bool) -> Self {
        Self::with(hub, name, options(sampled))
    }

    /// Registers an exporter that has metrics of its own for what the worker uses, and does not make them of
    /// events.
    pub fn without_samples(hub: &Arc<Hub>, name: &str, sampled: bool) -> Self {
        Self::with(hub, name, ConsumerOptions { takes: Takes::NoSamples, ..options(sampled) })
    }

    fn with(hub: &Arc<Hub>, name: &str, options: ConsumerOptions) -> Self {
        let counters = Arc::<Counters<C>>::default();
        let subscription = hub.register(name, options, Some(Arc::clone(&counters) as _));
        Self { subscription, counters }
    }

    /// The next events, about 32 KiB of them; none when the stream has ended and everything was taken.
    /// Nothing is lost if the future is dropped.
    ///
    /// Each event is in flight until it is [acknowledged](Self::acknowledge) or
    /// [dropped](Self::drop_in_flight).
    pub async fn chunk(&self) -> Option<Chunk> {
        // While there are events this is never pending: the thread's timers and sockets get their turn first.
        yield_now().await;
        poll_fn(|context| self.subscription.poll_chunk(context)).await
    }

    /// Drops the events of a chunk that were not read. There are none, unless a message is not valid.
    pub fn drop_unread(&self, chunk: &Chunk, read: &Views<'_>) {
        self.drop_in_flight(chunk.events.saturating_sub(read.count()));
    }

    /// The next events, if there are some now. Nothing wakes the task when there are others: it has to wait
    /// for [`chunk`](Self::chunk) afterwards.
    pub fn try_chunk(&self) -> Option<Chunk> {
        match self.subscription.poll_chunk(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(chunk) => chunk,
            Poll::Pending => None,
        }
    }

    /// Counts events in flight as delivered.
    pub fn acknowledge(&self, events: u64) {
        self.subscription.acknowledge(events);
    }

    /// Counts events in flight as dropped, because they could not be delivered.
    pub fn drop_in_flight(&self, events: u64) {
        self.subscription.drop_in_flight(events);
    }

    /// Asks that the end wait for this exporter to be done for as long as it would for a first subscriber.
    pub fn linger(&self) {
        self.subscription.linger();
    }

    /// Adds to one of the exporter's own counters.
    pub fn count(&self, counter: C, by: u64) {
        self.counters.add(counter, by);
    }
}

/// Runs an exporter on a thread of its own, with a lower priority.
///
/// # Errors
///
/// If the system refuses a thread or what a runtime needs.
pub fn spawn_async<F: Future<Output = ()>>(
    name: &'static str,
    export: impl FnOnce(Done) -> F + Send + 'static,
) -> Result<Running, StartError> {
    output::spawn_async(name, |done| {
        lower_priority();
        export(done)
    })
}

/// Wakes this thread as if it were a task. A thread that is woken before it parks does not park: std
/// remembers the wake-up.
pub fn unpark_waker() -> Waker {
    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    Waker::from(Arc::new(Unpark(thread::current())))
}
