//! Fan-out: every event goes to every consumer, each with its own controls and its own bounded queue.
//!
//! The hub knows neither gRPC nor exporters. Publishers, each with its own thread, pass whole batches in;
//! consumers take chunks of encoded frames and are woken when there are new ones. All counters are behind one
//! lock that is taken once for a batch or a chunk, so a [`Snapshot`] is always that of a batch boundary, and
//! it balances.
//!
//! Events that arrive while no consumer that takes the backlog is registered wait for the next one, as many
//! as one queue holds, the newest. A subscription has an [`Opening`]: it collects controls first, and is
//! offered the backlog by these.
//!
//! # Controls
//!
//! The thread that reads the worker's stderr waits for the hub's lock, so no pattern is compiled, matched or
//! freed under it. A subscriber takes the backlog out, evaluates it without the lock, and only then puts it
//! into its queue, in front of what was published meanwhile. A publication reads the controls in force (they
//! are immutable), evaluates the batch without the lock and takes the lock again to queue what is kept. So a
//! control that was applied before [`Hub::publish`] is called applies to that batch; one that comes during it
//! applies from the next batch on. If no consumer's controls reject anything the lock is taken once.
//!
//! # Flush interval
//!
//! Waking a consumer costs more than the event that it is woken for. So [`Hub::publish_coalesced`] wakes
//! consumers for an event after a pause at once, and for those that follow within the flush interval
//! together: it returns when [`Hub::flush`] is due. A consumer is woken earlier if a full chunk waits for it,
//! when one of its controls is applied, and at the end of the stream.
//!
//! # No lost wakeups
//!
//! - A task stores its waker under the lock under which it found its queue empty and the stream open. A
//!   thread that adds an event or closes the stream later holds that lock, finds the waker, and wakes the
//!   task after releasing the lock. At worst a task is woken for events that it has already taken, and polls
//!   again.
//! - A thread that waits for room counts itself as waiting under the lock under which it found none; the
//!   condition variable releases the lock and waits in one step. A thread that makes room later holds the
//!   lock and sees the count. Threads that wait for queues to drain have a count of their own. Only taking
//!   and acknowledging events look at the counts; subscribing and leaving notify in any case.
//! - `until` creates its `Notified` before it checks the condition, and `notify_waiters` reaches every one
//!   that exists, polled or not. A change is always made before its notification.
//!
//! A loom model of the hub runs these orders of events.

mod coalescer;
mod consumer;
mod evaluation;
mod opening;
mod pool;
mod queue;
mod snapshot;
mod state;
mod subscription;
mod wakers;

pub use coalescer::Coalescer;
pub use consumer::{ConsumerOptions, Takes};
pub use opening::Opening;
pub use queue::{Limits, WhenFull};
pub use snapshot::{ConsumerAccount, CounterSet, Snapshot};
pub use subscription::{Chunk, Subscription};

use crate::{
    control::Controls,
    event::{
        batch::Batch,
        stats::{ConsumerStats, Source},
    },
    system::sync::{Condvar, Mutex, MutexGuard, Notify},
};
use consumer::Registration;
use evaluation::{Evaluated, Plan};
use state::State;
use std::{
    ops::Range,
    sync::{Arc, PoisonError},
    task::Waker,
    time::{Duration, Instant},
};

/// How long a thread waits for a change before it attends to something else.
const IDLE_INTERVAL: Duration = Duration::from_millis(100);

/// The most bytes that a consumer takes at a time, unless a single event is longer. With more, a stalled
/// subscriber holds more memory in its connection; with less, there are more calls per event.
const CHUNK_BYTES: usize = 32 * 1024;

/// The fan-out.
#[derive(Debug)]
pub struct Hub {
    state: Mutex<State>,
    start: Controls,
    limits: Limits,
    flush_interval: Duration,
    /// Notifies threads of room in a queue, and of consumers that register or leave.
    room: Condvar,
    /// Notifies tasks of consumers that register or leave.
    changed: Notify,
}

impl Hub {
    /// Creates a hub. `start` are the controls that consumers start with, `limits` those of the backlog and
    /// of each [subscriber](Self::subscribe).
    pub fn new(start: Controls, limits: Limits) -> Arc<Self> {
        Self::bounded(start, limits, usize::MAX, Duration::ZERO)
    }

    /// Creates a hub whose queues and backlog together keep no more than `total_bytes` in memory, but one
    /// event each. With a `flush_interval` of zero, events are never held back.
    pub fn bounded(
        start: Controls,
        limits: Limits,
        total_bytes: usize,
        flush_interval: Duration,
    ) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State::new(limits, total_bytes)),
            start,
            limits,
            flush_interval,
            room: Condvar::new(),
            changed: Notify::new(),
        })
    }

    /// The state is consistent between any two statements that could panic, so a poisoned lock is used like
    /// any other.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a consumer by the controls that all start with. It is offered the backlog, if it takes it,
    /// and every event published from now on.
    pub fn register(
        self: &Arc<Self>,
        name: &str,
        options: ConsumerOptions,
        counters: Option<Arc<dyn CounterSet>>,
    ) -> Subscription {
        let controls = if options.sampled { self.start.clone() } else { self.start.unsampled() };
        let stats = ConsumerStats::default();
        self.add(Registration { name: name.to_owned(), options, controls, stats, counters })
    }

    fn add(self: &Arc<Self>, registration: Registration) -> Subscription {
        let controls = registration.controls.clone();
        let (key, backlog) = self.lock().add(registration);
        let mut replayed = 0;
        if let Some(backlog) = backlog {
            let evaluate = |(batch, events)| Evaluated::new(&controls, batch, events);
            let evaluated = backlog.runs().map(evaluate).collect();
            let mut state = self.lock();
            // It makes room for the consumer's queue.
            drop(backlog);
            if let Some(consumer) = state.consumer(key) {
                replayed = consumer.replay(evaluated);
            }
        }
        self.notify();
        Subscription::new(Arc::clone(self), key, controls, replayed)
    }

    /// Opens a subscription, which begins later.
    pub fn open(self: &Arc<Self>, name: &str) -> Opening {
        let options = ConsumerOptions::subscriber(self.limits);
        Opening::new(Arc::clone(self), name, options, self.start.clone())
    }

    /// Opens the subscription of an observer: it takes no backlog, no publisher waits for it, it is no
    /// subscriber of the snapshot's, and the snapshot forgets it when it has left.
    pub fn observe(self: &Arc<Self>, name: &str) -> Opening {
        let options = ConsumerOptions::observer(self.limits);
        Opening::new(Arc::clone(self), name, options, self.start.clone())
    }

    /// Subscribes at once: opens a subscription and begins it.
    pub fn subscribe(self: &Arc<Self>, name: &str) -> Subscription {
        self.open(name).begin()
    }

    /// Publishes a batch of a source, with the counters of the source up to it, and wakes the consumers. It
    /// never waits for room: full queues drop events.
    pub fn publish(&self, batch: impl Into<Arc<Batch>>, source: &dyn Source) {
        if let Some(state) = self.queue(&batch.into(), source) {
            wake(state);
        }
    }

    /// Publishes like [`publish`](Self::publish), but wakes consumers at most once in a flush interval.
    /// Returns when [`flush`](Self::flush) is due, if events are held back.
    pub fn publish_coalesced(&self, batch: impl Into<Arc<Batch>>, source: &dyn Source) -> Option<Instant> {
        let mut state = self.queue(&batch.into(), source)?;
        let due = state.flush_due(Instant::now(), self.flush_interval);
        let wakers = state.wakers(|consumer| due.is_none() || consumer.has_full_chunk());
        let due = due.filter(|_| state.has_held_back());
        drop(state);
        wakers.wake();
        due
    }

    /// Wakes the consumers that have something to do.
    pub fn flush(&self) {
        wake(self.lock());
    }

    /// Queues a batch; an empty one only brings counters.
    fn queue(&self, batch: &Arc<Batch>, source: &dyn Source) -> Option<MutexGuard<'_, State>> {
        if batch.is_empty() {
            self.account(source);
            return None;
        }
        let events = 0..batch.len();
        let (plan, mut state) = Plan::make(self.lock(), || self.lock(), batch, &events);
        source.store(&mut state.sources);
        state.offer(batch, events, &plan);
        Some(state)
    }

    /// Publishes some events of a batch and waits for room in every queue but those of observers instead of
    /// dropping. With `need_subscriber` it also waits for a subscriber when there is none and the backlog is
    /// full; without, the backlog drops events.
    ///
    /// A control that comes while it waits applies to the rest of the batch. `idle` is called several times a
    /// second while it waits.
    pub fn publish_waiting(
        &self,
        batch: &Arc<Batch>,
        events: Range<usize>,
        source: &dyn Source,
        need_subscriber: bool,
        idle: &mut dyn FnMut(),
    ) {
        let mut state = self.lock();
        source.store(&mut state.sources);
        let (mut next, mut plan) = (events.start, None);
        // Whether the plan was made for the next event. Then that event is offered even if controls have
        // changed again.
        let mut fresh = false;
        while next < events.end {
            state = self.wait_for_room(state, batch, next, need_subscriber, idle);
            match &plan {
                Some(plan) if Plan::is_current(plan, &state) => {
                    let end = state.end_of_fitting(batch, next..events.end, need_subscriber);
                    state.offer(batch, next..end, plan);
                    (next, fresh) = (end, false);
                }
                Some(plan) if fresh => {
                    state.offer(batch, next..next + 1, plan);
                    (next, fresh) = (next + 1, false);
                }
                _ => {
                    let rest = next..events.end;
                    let (made, locked) = Plan::make(state, || self.lock(), batch, &rest);
                    // A consumer that registered in the meantime may have no room.
                    (state, plan, fresh) = (locked, Some(made), true);
                }
            }
        }
        wake(state);
    }

    fn wait_for_room<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        batch: &Batch,
        event: usize,
        need_subscriber: bool,
        idle: &mut dyn FnMut(),
    ) -> MutexGuard<'a, State> {
        while !state.has_room_everywhere(batch, event..event + 1, need_subscriber) {
            let wakers = state.wakers(|_| true);
            if wakers.is_empty() {
                state = self.wait(state, |state| &mut state.waiting, idle);
            } else {
                drop(state);
                wakers.wake();
                state = self.lock();
            }
        }
        state
    }

    /// Updates the counters of a source without an event.
    pub fn account(&self, source: &dyn Source) {
        source.store(&mut self.lock().sources);
    }

    /// Waits until this many subscribers are registered. `idle` is called several times a second meanwhile.
    pub fn wait_for_subscribers(&self, count: usize, idle: &mut dyn FnMut()) {
        self.lock().wanted_subscribers = count;
        self.wait_while(|state| state.subscriber_count() < count, |state| &mut state.waiting, idle);
        self.lock().wanted_subscribers = 0;
    }

    /// Waits until nothing is queued or in flight, except for observers, and, if asked, the backlog is empty.
    /// `idle` is called several times a second meanwhile.
    pub fn wait_until_delivered(&self, backlog_too: bool, idle: &mut dyn FnMut()) {
        self.wait_while(|state| !state.is_delivered(backlog_too), |state| &mut state.draining, idle);
    }

    fn wait_while(
        &self,
        condition: impl Fn(&State) -> bool,
        waiting: fn(&mut State) -> &mut usize,
        idle: &mut dyn FnMut(),
    ) {
        let mut state = self.lock();
        while condition(&state) {
            state = self.wait(state, waiting, idle);
        }
    }

    /// Waits for a change, as one of the threads that `waiting` counts; if none comes for a while, calls
    /// `idle` without the lock.
    fn wait<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        waiting: fn(&mut State) -> &mut usize,
        idle: &mut dyn FnMut(),
    ) -> MutexGuard<'a, State> {
        *waiting(&mut state) += 1;
        let (mut state, waited) =
            self.room.wait_timeout(state, IDLE_INTERVAL).unwrap_or_else(PoisonError::into_inner);
        *waiting(&mut state) -= 1;
        if waited.timed_out() {
            drop(state);
            idle();
            state = self.lock();
        }
        state
    }

    /// Disconnects every subscriber. Its handle reports the end of the stream, and that it is
    /// [disconnected](Subscription::is_disconnected).
    pub fn disconnect_subscribers(&self) {
        let disconnected = self.lock().disconnect_subscribers();
        disconnected.into_iter().filter_map(|consumer| consumer.waker).for_each(Waker::wake);
        self.notify();
    }

    /// Ends the stream: consumers take what is queued, then the end.
    pub fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        wake(state);
    }

    /// Waits until a subscriber has begun, now or before, and every consumer that [lingers] has left.
    ///
    /// [lingers]: Subscription::linger
    pub async fn lingered(&self) {
        self.until(State::has_lingered).await;
    }

    /// Waits until every subscriber has left, and no subscription is to begin.
    pub async fn subscribers_left(&self) {
        self.until(|state| state.subscriber_count() == 0 && state.opening == 0).await;
    }

    /// Waits until every observer has left.
    pub async fn observers_left(&self) {
        self.until(|state| !state.has_observer()).await;
    }

    /// Whether events wait for a subscriber.
    pub fn has_backlog(&self) -> bool {
        self.lock().has_backlog()
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

    /// All counters of this moment.
    pub fn snapshot(&self) -> Snapshot {
        self.lock().snapshot()
    }

    fn notify(&self) {
        self.room.notify_all();
        self.changed.notify_waiters();
    }
}

/// Releases the lock and wakes the consumers that have something to do.
fn wake(mut state: MutexGuard<'_, State>) {
    state.last_flush = Some(Instant::now());
    let wakers = state.wakers(|_| true);
    drop(state);
    wakers.wake();
}
