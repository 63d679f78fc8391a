//! The hub's flush interval: which events wake a consumer, and when.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread::sleep,
    time::{Duration, Instant},
};
use telemetry_sidecar::{
    control::{Control, Controls},
    event::{
        batch::{Batch, BatchBuilder, Event},
        stats::StreamStats,
    },
    hub::{Hub, Limits, Subscription, WhenFull},
};

/// Longer than any test takes.
const NEVER: Duration = Duration::from_secs(3_600);

/// Counts how often it is woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A subscriber that takes what is there and then waits, as a task does.
struct Subscriber {
    subscription: Subscription,
    woken: Arc<Woken>,
}

impl Subscriber {
    fn new(hub: &Arc<Hub>) -> Self {
        let subscriber = Self { subscription: hub.subscribe(""), woken: Arc::default() };
        assert_eq!(subscriber.take(), 0);
        subscriber
    }

    /// Takes all events, until there are no others.
    fn take(&self) -> u64 {
        let waker = Waker::from(Arc::clone(&self.woken));
        let mut events = 0;
        while let Poll::Ready(Some(chunk)) = self.subscription.poll_chunk(&mut Context::from_waker(&waker)) {
            self.subscription.acknowledge(chunk.events);
            events += chunk.events;
        }
        events
    }

    /// How often it was woken since the last call.
    fn woken(&self) -> usize {
        self.woken.0.swap(0, Ordering::Relaxed)
    }
}

fn hub(interval: Duration) -> Arc<Hub> {
    let limits = Limits { events: 1_000, bytes: 1_000_000, when_full: WhenFull::DropNewest };
    Hub::bounded(Controls::default(), limits, usize::MAX, interval)
}

/// A batch of events with a message of this size.
fn batch(events: usize, size: usize) -> Batch {
    let mut builder = BatchBuilder::default();
    for _ in 0..events {
        let event = Event { name: b"a", correlation_id: b"", timestamp_ns: 0, timestamp_given: true };
        assert!(builder.push(&vec![7; size], event));
    }
    builder.take()
}

fn publish(hub: &Hub, events: usize, size: usize) -> Option<Instant> {
    hub.publish_coalesced(batch(events, size), &StreamStats::default())
}

#[test]
fn an_event_after_a_pause_is_sent_at_once_and_those_that_follow_together() {
    let hub = hub(NEVER);
    let subscriber = Subscriber::new(&hub);
    let before = Instant::now();
    assert_eq!(publish(&hub, 1, 10), None);
    assert_eq!((subscriber.woken(), subscriber.take()), (1, 1));
    for _ in 0..3 {
        let due = publish(&hub, 1, 10).unwrap();
        assert!(before + NEVER <= due && due <= Instant::now() + NEVER);
        assert_eq!(subscriber.woken(), 0);
    }
    hub.flush();
    assert_eq!((subscriber.woken(), subscriber.take()), (1, 3));
    // The interval begins anew.
    assert!(publish(&hub, 1, 10).is_some());
    assert_eq!(subscriber.woken(), 0);
}

#[test]
fn after_the_interval_an_event_is_sent_at_once_with_those_before_it() {
    let interval = Duration::from_millis(2);
    let hub = hub(interval);
    let subscriber = Subscriber::new(&hub);
    publish(&hub, 1, 10);
    subscriber.take();
    publish(&hub, 1, 10);
    // However long this takes, the interval is over then.
    sleep(interval);
    subscriber.woken();
    assert_eq!(publish(&hub, 1, 10), None);
    assert_eq!(subscriber.woken(), 1);
}

#[test]
fn without_an_interval_each_event_is_sent_at_once() {
    let hub = hub(Duration::ZERO);
    let subscriber = Subscriber::new(&hub);
    for _ in 0..3 {
        assert_eq!(publish(&hub, 1, 10), None);
        assert_eq!((subscriber.woken(), subscriber.take()), (1, 1));
    }
}

#[test]
fn a_full_chunk_half_a_queue_a_control_and_the_end_do_not_wait() {
    let hub = hub(NEVER);
    let subscriber = Subscriber::new(&hub);
    let begin = || {
        publish(&hub, 1, 10);
        hub.flush();
        subscriber.take();
        subscriber.woken();
    };
    for (events, size) in [(1, 40_000), (500, 10)] {
        begin();
        publish(&hub, events, size);
        assert_eq!((subscriber.woken(), subscriber.take()), (1, events as u64));
    }
    begin();
    publish(&hub, 1, 10);
    subscriber.subscription.control(Control::Toggle(true));
    assert_eq!(subscriber.woken(), 1);
    begin();
    publish(&hub, 1, 10);
    hub.close();
    assert_eq!(subscriber.woken(), 1);
}

#[test]
fn nothing_is_due_if_no_consumer_waits_for_events() {
    let hub = hub(NEVER);
    publish(&hub, 1, 10);
    assert_eq!(publish(&hub, 1, 10), None, "only the backlog has them");
    let subscriber = Subscriber { subscription: hub.subscribe(""), woken: Arc::default() };
    assert_eq!(publish(&hub, 1, 10), None, "it has not waited yet");
    assert_eq!(subscriber.take(), 3);
    assert!(publish(&hub, 1, 10).is_some());
}
