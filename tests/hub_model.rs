//! The hub under thread interleavings: in no order is an event lost, delivered twice, or a wake-up lost.
//!
//! The hub's source is compiled here again with loom's locks in place of the standard library's. loom runs a
//! model repeatedly and switches threads at different locks, until it has tried all orders with at most two
//! preemptions, or as many as `LOOM_MAX_PREEMPTIONS` says. It fails if all threads are blocked.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

#[path = "../src/hub/mod.rs"]
#[allow(dead_code, missing_docs, unused_imports, reason = "it is part of another crate")]
mod hub;

/// The hub's `crate::system::sync`.
mod system {
    pub mod sync {
        use loom::sync::atomic::{AtomicUsize, Ordering};
        pub use loom::sync::{Condvar, Mutex, MutexGuard};
        use tokio::sync::futures::Notified;

        /// tokio's. For loom each use is one step, before which other threads may run.
        #[derive(Debug)]
        pub struct Notify {
            steps: AtomicUsize,
            notify: tokio::sync::Notify,
        }

        impl Notify {
            pub fn new() -> Self {
                Self { steps: AtomicUsize::new(0), notify: tokio::sync::Notify::new() }
            }

            pub fn notified(&self) -> Notified<'_> {
                self.steps.fetch_add(1, Ordering::SeqCst);
                self.notify.notified()
            }

            pub fn notify_waiters(&self) {
                self.steps.fetch_add(1, Ordering::SeqCst);
                self.notify.notify_waiters();
            }
        }
    }
}

use control::{Control, Controls};
use event::{
    batch::{Batch, BatchBuilder, Event},
    frame::PREFIX_BYTES,
    stats::{StreamStats, UpstreamStats},
};
use hub::{ConsumerOptions, Hub, Limits, Subscription, Takes, WhenFull};
use loom::thread::{self, Thread};
use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};
use telemetry_sidecar::{control, event};

/// Runs a model in every order.
fn every_order(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(2);
    builder.check(model);
}

/// The events that half fill the queue of an observer.
const OBSERVER_HALF: usize = 8 * 1024;

fn limits(events: usize) -> Limits {
    Limits { events, bytes: 1_000_000, when_full: WhenFull::DropNewest }
}

/// A hub with queues for this number of events.
fn hub(events: usize) -> Arc<Hub> {
    Hub::new(Controls::default(), limits(events))
}

fn export(hub: &Arc<Hub>, events: usize) -> Subscription {
    let options = ConsumerOptions {
        limits: limits(events),
        takes_backlog: false,
        sampled: true,
        stays_after_leaving: true,
        takes: Takes::All,
    };
    hub.register("", options, None)
}

/// A filter that rejects none of the events here. They are evaluated all the same.
fn deny_others() -> Control {
    Control::Filter { allow: Vec::new(), deny: vec!["other".into()] }
}

fn batch(events: usize) -> Batch {
    let mut builder = BatchBuilder::default();
    for _ in 0..events {
        let event = Event { name: b"a", correlation_id: b"", timestamp_ns: 0, timestamp_given: true };
        assert!(builder.push(b"a", event));
    }
    builder.take()
}

fn publish(hub: &Hub, events: usize) {
    hub.publish(batch(events), &StreamStats::default());
}

/// A thread as a task: it is parked until it is woken.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<T>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}

fn wait_for(future: impl Future<Output = ()>) {
    let mut future = pin!(future);
    block_on(|context| future.as_mut().poll(context));
}

/// The numbers of the next events; empty at the end.
fn next(subscription: &Subscription) -> Option<usize> {
    let chunk = block_on(|context| subscription.poll_to_write(context))?;
    subscription.acknowledge(chunk.events);
    Some(chunk.frames.len() / (PREFIX_BYTES + 1))
}

/// The number of events until the end.
fn rest(subscription: &Subscription) -> usize {
    std::iter::from_fn(|| next(subscription)).sum()
}

#[track_caller]
fn assert_balanced(hub: &Hub) {
    let snapshot = hub.snapshot();
    assert!(snapshot.balances(), "{snapshot:#?}");
}

#[test]
fn every_consumer_receives_all_events_and_then_the_end() {
    every_order(|| {
        let hub = hub(10);
        let (subscriber, exporter) = (hub.subscribe(""), export(&hub, 10));
        let publisher = thread::spawn({
            let hub = Arc::clone(&hub);
            move || {
                publish(&hub, 1);
                // The end alone wakes no task.
                hub.wait_until_delivered(true, &mut || ());
                publish(&hub, 2);
                hub.close();
            }
        });
        let exporting = thread::spawn(move || rest(&exporter));
        assert_eq!(rest(&subscriber), 3);
        assert_eq!(exporting.join().unwrap(), 3);
        publisher.join().unwrap();
        assert_balanced(&hub);
    });
}

#[test]
fn a_subscriber_that_registers_during_publications_receives_each_event_once() {
    every_order(|| {
        let hub = hub(10);
        let publisher = thread::spawn({
            let hub = Arc::clone(&hub);
            move || {
                publish(&hub, 1);
                publish(&hub, 2);
                hub.close();
            }
        });
        assert_eq!(rest(&hub.subscribe("")), 3);
        publisher.join().unwrap();
        assert_balanced(&hub);
    });
}

#[test]
fn consumers_may_register_and_change_controls_while_a_batch_is_evaluated() {
    every_order(|| {
        let start = Controls::default().changed(deny_others()).unwrap();
        let hub = Hub::new(start, limits(10));
        let exporter = export(&hub, 10);
        let publisher = thread::spawn({
            let hub = Arc::clone(&hub);
            move || {
                publish(&hub, 1);
                publish(&hub, 2);
                hub.close();
            }
        });
        let subscriber = hub.subscribe("");
        subscriber.control(deny_others());
        assert_eq!((rest(&subscriber), rest(&exporter)), (3, 3));
        publisher.join().unwrap();
        assert_balanced(&hub);
    });
}

#[test]
fn sources_may_publish_at_the_same_time_while_a_subscriber_registers() {
    every_order(|| {
        let start = Controls::default().changed(deny_others()).unwrap();
        let hub = Hub::new(start, limits(10));
        let line = StreamStats { telemetry_lines: 1, decoded: 1, ..StreamStats::default() };
        let messages = UpstreamStats { messages: 2, events: 2, ..UpstreamStats::default() };
        let [reading, receiving] = [Arc::clone(&hub), Arc::clone(&hub)];
        let reading = thread::spawn(move || reading.publish(batch(1), &line));
        let receiving = thread::spawn(move || receiving.publish(batch(2), &messages));
        let subscriber = hub.subscribe("");
        reading.join().unwrap();
        receiving.join().unwrap();
        hub.close();
        assert_eq!(rest(&subscriber), 3);
        assert_balanced(&hub);
        let sources = hub.snapshot().sources;
        assert_eq!((sources.stream, sources.upstream), (line, Some(messages)));
    });
}

#[test]
fn an_event_that_is_evaluated_while_subscribers_change_reaches_one_of_them_or_the_backlog() {
    every_order(|| {
        let hub = hub(10);
        let first = hub.subscribe("");
        first.control(deny_others());
        let publisher = thread::spawn({
            let hub = Arc::clone(&hub);
            move || {
                publish(&hub, 1);
                hub.close();
            }
        });
        drop(first);
        let mut second = hub.open("");
        second.control(deny_others());
        let taken = rest(&second.begin());
        publisher.join().unwrap();
        assert_balanced(&hub);
        let snapshot = hub.snapshot();
        let (left, backlog) = (snapshot.disconnected, snapshot.backlog);
        // The backlog was replayed, if there was one; nobody else takes it.
        assert_eq!(backlog.accepted + left.abandoned + left.delivered - backlog.replayed, 1, "{snapshot:#?}");
        assert_eq!(taken as u64, left.delivered, "{snapshot:#?}");
    });
}

#[test]
fn the_end_waits_for_a_subscription_that_is_to_begin() {
    every_order(|| {
        let hub = hub(10);
        publish(&hub, 1);
        let opening = hub.open("");
        let subscribing = thread::spawn(move || rest(&opening.begin()));
        hub.close();
        wait_for(hub.subscribers_left());
        assert_eq!(hub.snapshot().disconnected.delivered, 1);
        assert_eq!(subscribing.join().unwrap(), 1);
    });
}

#[test]
fn a_waiting_publication_continues_after_controls_have_changed() {
    every_order(|| {
        let hub = hub(1);
        let subscriber = hub.subscribe("");
        let publisher = thread::spawn({
            let hub = Arc::clone(&hub);
            move || {
                hub.publish_waiting(&Arc::new(batch(2)), 0..2, &StreamStats::default(), true, &mut || ());
                hub.close();
            }
        });
        subscriber.control(deny_others());
        assert_eq!(rest(&subscriber), 2);
        publisher.join().unwrap();
        assert_balanced(&hub);
    });
}

#[test]
fn taking_events_wakes_threads_that_wait_for_room_or_for_delivery() {
    every_order(|| {
        let hub = hub(1);
        let subscriber = hub.subscribe("");
        let publisher = thread::spawn({
            let hub = Arc::clone(&hub);
            move || {
                hub.publish_waiting(&Arc::new(batch(3)), 0..3, &StreamStats::default(), true, &mut || ());
                hub.wait_until_delivered(true, &mut || ());
                hub.close();
            }
        });
        assert_eq!(rest(&subscriber), 3);
        publisher.join().unwrap();
        assert_balanced(&hub);
    });
}

#[test]
fn an_acknowledgement_wakes_threads_that_wait_for_room_or_for_delivery() {
    every_order(|| {
        let hub = hub(1);
        let exporter = export(&hub, 1);
        let publisher = thread::spawn({
            let hub = Arc::clone(&hub);
            move || {
                hub.publish_waiting(&Arc::new(batch(2)), 0..2, &StreamStats::default(), false, &mut || ());
                hub.wait_until_delivered(false, &mut || ());
                let stats = hub.snapshot().exporters[0].stats;
                assert_eq!((stats.delivered, stats.dropped, stats.queued), (1, 1, 0));
                hub.close();
            }
        });
        let mut settled = 0;
        while let Some(chunk) = block_on(|context| exporter.poll_chunk(context)) {
            assert_eq!(chunk.events, 1);
            if settled == 0 {
                exporter.acknowledge(1);
            } else {
                exporter.drop_in_flight(1);
            }
            settled += chunk.events;
        }
        publisher.join().unwrap();
        assert_eq!(settled, 2);
        assert_balanced(&hub);
    });
}

#[test]
fn leaving_and_subscribing_wake_threads_that_wait_for_room() {
    every_order(|| {
        let hub = hub(1);
        let leaving = hub.subscribe("");
        let publisher = thread::spawn({
            let hub = Arc::clone(&hub);
            move || {
                hub.wait_for_subscribers(1, &mut || ());
                hub.publish_waiting(&Arc::new(batch(3)), 0..3, &StreamStats::default(), true, &mut || ());
                hub.close();
            }
        });
        drop(leaving);
        let next = hub.subscribe("");
        let taken = rest(&next);
        publisher.join().unwrap();
        assert_balanced(&hub);
        let snapshot = hub.snapshot();
        assert_eq!(taken as u64 + snapshot.disconnected.abandoned, 3, "{snapshot:#?}");
    });
}

#[test]
fn tasks_that_wait_for_the_end_are_woken() {
    every_order(|| {
        let hub = hub(10);
        let (subscriber, exporter) = (hub.subscribe(""), export(&hub, 10));
        exporter.linger();
        let ending = thread::spawn({
            let hub = Arc::clone(&hub);
            move || hub.close()
        });
        let leaving = thread::spawn(move || {
            assert_eq!(rest(&exporter), 0);
            drop((subscriber, exporter));
        });
        wait_for(hub.lingered());
        wait_for(hub.subscribers_left());
        ending.join().unwrap();
        leaving.join().unwrap();
    });
}

#[test]
fn an_observer_that_waits_for_a_half_full_queue_is_woken_by_it_and_by_the_end() {
    every_order(|| {
        let hub = hub(10);
        let observer = hub.observe("").begin();
        let publisher = thread::spawn({
            let hub = Arc::clone(&hub);
            move || {
                publish(&hub, OBSERVER_HALF);
                publish(&hub, 1);
                // Nobody waits for the observer.
                hub.wait_until_delivered(false, &mut || ());
                hub.close();
            }
        });
        let mut taken = 0;
        loop {
            block_on(|context| observer.poll_half_full(context));
            match next(&observer) {
                Some(count) => taken += count,
                None => break,
            }
        }
        publisher.join().unwrap();
        assert_eq!(taken, OBSERVER_HALF + 1);
        assert_balanced(&hub);
        drop(observer);
        wait_for(hub.observers_left());
    });
}
