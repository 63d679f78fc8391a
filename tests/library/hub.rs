//! The hub's contract in a single thread. `hub_model.rs` tests thread interleavings.

use bytes::Bytes;
use std::{
    sync::Arc,
    task::{Context, Poll, Waker},
    thread::JoinHandle,
    time::Duration,
};
use telemetry_sidecar::{
    control::{Control, Controls},
    event::{
        batch::{Batch, BatchBuilder, Event, Origin},
        stats::{BacklogStats, ConsumerStats, StreamStats, UpstreamStats},
    },
    hub::{Chunk, ConsumerOptions, Hub, Limits, Subscription, Takes, WhenFull},
};

fn batch(names: &[&str]) -> Batch {
    let mut builder = BatchBuilder::default();
    for name in names {
        let event =
            Event { name: name.as_bytes(), correlation_id: b"", timestamp_ns: 0, timestamp_given: true };
        assert!(builder.push(name.as_bytes(), event));
    }
    builder.take()
}

fn limits(events: usize) -> Limits {
    Limits { events, bytes: 1_000_000, when_full: WhenFull::DropNewest }
}

fn hub(events: usize) -> Arc<Hub> {
    Hub::new(Controls::default(), limits(events))
}

fn export(hub: &Arc<Hub>) -> Subscription {
    let options = ConsumerOptions {
        limits: limits(10),
        takes_backlog: false,
        sampled: true,
        stays_after_leaving: true,
        takes: Takes::All,
    };
    hub.register("file", options, None)
}

fn deny(pattern: &str) -> Control {
    Control::Filter { allow: Vec::new(), deny: vec![pattern.to_owned()] }
}

/// The names of the events that wait.
fn take(subscription: &Subscription) -> String {
    let mut names = String::new();
    while let Poll::Ready(Some(frames)) = poll(subscription) {
        // Each message is a name of one letter, behind the five bytes of its prefix.
        names.extend(frames.chunks(6).map(|frame| char::from(frame[5])));
    }
    names
}

/// Takes a chunk and acknowledges it.
fn poll(subscription: &Subscription) -> Poll<Option<Bytes>> {
    let chunk = subscription.poll_to_write(&mut Context::from_waker(Waker::noop()));
    chunk.map(|chunk| {
        let chunk = chunk?;
        subscription.acknowledge(chunk.events);
        Some(chunk.frames.into_bytes())
    })
}

/// Takes a chunk whose events are then in flight.
fn poll_chunk(subscription: &Subscription) -> Poll<Option<Chunk>> {
    subscription.poll_chunk(&mut Context::from_waker(Waker::noop()))
}

fn stats(hub: &Hub) -> ConsumerStats {
    let snapshot = hub.snapshot();
    assert!(snapshot.balances(), "{snapshot:#?}");
    snapshot.exporters[0].stats
}

#[test]
fn only_the_first_subscriber_receives_the_backlog() {
    let hub = hub(2);
    hub.publish(batch(&["a", "b", "c"]), &StreamStats::default());
    let (first, second) = (hub.subscribe("first"), hub.subscribe("second"));
    assert!(matches!(poll(&first), Poll::Ready(Some(frames)) if frames.len() == 2 * 6));
    assert!(poll(&second).is_pending());
    let snapshot = hub.snapshot();
    assert!(snapshot.balances(), "{snapshot:#?}");
    let backlog = BacklogStats { accepted: 3, replayed: 2, dropped: 1, waiting: 0 };
    assert_eq!(snapshot.backlog, backlog);
    assert_eq!(snapshot.subscribers[0].stats.offered, 2);
}

#[test]
fn a_full_queue_takes_the_events_of_the_workers_end() {
    for has_filter in [false, true] {
        let hub = hub(2);
        let subscription = hub.subscribe("");
        if has_filter {
            subscription.control(deny("x"));
        }
        hub.publish(batch(&["a", "b", "c"]), &StreamStats::default());
        hub.publish(batch(&["x", "y", "z"]).from(Origin::End), &StreamStats::default());
        let left = hub.subscribe("");
        drop(left);
        hub.publish(batch(&["d"]), &StreamStats::default());
        let expected = if has_filter { "abyz" } else { "abxyz" };
        assert_eq!(take(&subscription), expected);
        let snapshot = hub.snapshot();
        assert!(snapshot.balances(), "{snapshot:#?}");
        assert_eq!(snapshot.subscribers[0].stats.dropped, 2);
    }
}

#[test]
fn each_source_replaces_only_its_own_counters() {
    let hub = hub(10);
    let lines = StreamStats { telemetry_lines: 2, decoded: 2, ..StreamStats::default() };
    hub.publish(batch(&["a", "b"]), &lines);
    assert_eq!(hub.snapshot().sources.upstream, None);
    let messages = UpstreamStats { messages: 3, events: 1, malformed: 1, oversized: 1 };
    hub.publish(batch(&["c"]), &messages);
    hub.account(&StreamStats { bytes_read: 5, bytes_held: 5, ..lines });
    let snapshot = hub.snapshot();
    assert!(snapshot.balances(), "{snapshot:#?}");
    assert_eq!((snapshot.sources.stream.bytes_read, snapshot.sources.upstream), (5, Some(messages)));
    assert_eq!((snapshot.sources.events(), snapshot.backlog.accepted), (3, 3));
    hub.account(&UpstreamStats { messages: 4, ..messages });
    assert!(!hub.snapshot().balances());
}

/// A hub whose queues are bounded in memory alone.
fn bounded(total_bytes: usize, when_full: WhenFull) -> Arc<Hub> {
    let limits = Limits { events: usize::MAX, bytes: usize::MAX, when_full };
    Hub::bounded(Controls::default(), limits, total_bytes, Duration::ZERO)
}

/// An event whose message has about this size.
fn large(name: &str, bytes: usize) -> Batch {
    let mut builder = BatchBuilder::default();
    let event = Event { name: name.as_bytes(), correlation_id: b"", timestamp_ns: 0, timestamp_given: true };
    assert!(builder.push(&vec![0; bytes], event));
    builder.take()
}

#[test]
fn queues_that_are_not_read_are_bounded_together_and_leave_room_for_others() {
    const TOTAL: u64 = 1_000_000;
    for when_full in [WhenFull::DropNewest, WhenFull::DropOldest] {
        let hub = bounded(1_000_000, when_full);
        let stalled: Vec<_> = (0..20).map(|_| hub.subscribe("")).collect();
        let exporter = export(&hub);
        for _ in 0..1_000 {
            hub.publish(large("a", 1_000), &StreamStats::default());
        }
        let queued = || -> u64 {
            let snapshot = hub.snapshot();
            assert!(snapshot.balances(), "{snapshot:#?}");
            let all = snapshot.subscribers.iter().chain(&snapshot.exporters);
            all.map(|consumer| consumer.stats.queued_bytes).sum()
        };
        assert!((TOTAL / 2..TOTAL).contains(&queued()), "{}", queued());
        // The room that they leave is enough for one that reads.
        let reader = hub.subscribe("");
        for _ in 0..100 {
            for _ in 0..10 {
                hub.publish(large("a", 1_000), &StreamStats::default());
            }
            while poll(&reader).is_ready() {}
        }
        let stats = hub.snapshot().subscribers[20].stats;
        assert_eq!((stats.delivered, stats.dropped), (1_000, 0));
        assert!(hub.snapshot().subscribers[0].stats.dropped > 900);
        // What they give back is free for others.
        drop(stalled);
        drop(exporter);
        for _ in 0..300 {
            hub.publish(large("a", 1_000), &StreamStats::default());
        }
        assert_eq!(hub.snapshot().subscribers[0].stats.queued, 300);
    }
}

#[test]
fn an_empty_queue_takes_an_event_though_no_memory_is_left() {
    for when_full in [WhenFull::DropNewest, WhenFull::DropOldest] {
        let hub = bounded(1, when_full);
        let (first, second) = (hub.subscribe(""), hub.subscribe(""));
        for name in ["a", "b"] {
            hub.publish(large(name, 1_000), &StreamStats::default());
        }
        for subscriber in hub.snapshot().subscribers {
            assert_eq!((subscriber.stats.queued, subscriber.stats.dropped), (1, 1));
        }
        drop((first, second));
        hub.publish(large("a", 1_000), &StreamStats::default());
        assert_eq!(hub.snapshot().backlog.waiting, 1);
    }
}

/// Publishes 100 events in a thread that waits for room, and closes the hub.
fn publish_100_waiting(hub: &Arc<Hub>) -> JoinHandle<()> {
    let hub = Arc::clone(hub);
    std::thread::spawn(move || {
        let batch = Arc::new(batch(&["a"; 100]));
        hub.publish_waiting(&batch, 0..100, &StreamStats::default(), true, &mut || ());
        hub.close();
    })
}

#[test]
fn publication_that_waits_drops_nothing_however_little_memory_there_is() {
    let hub = bounded(10_000, WhenFull::DropNewest);
    let subscribers: Vec<_> = (0..4).map(|_| hub.subscribe("")).collect();
    let publisher = std::thread::spawn({
        let hub = Arc::clone(&hub);
        move || {
            for _ in 0..100 {
                let event = Arc::new(large("a", 1_000));
                hub.publish_waiting(&event, 0..1, &StreamStats::default(), true, &mut || ());
            }
            hub.close();
        }
    });
    let mut ended = [false; 4];
    while ended.contains(&false) {
        for (subscriber, ended) in subscribers.iter().zip(&mut ended) {
            *ended = poll(subscriber) == Poll::Ready(None);
        }
        std::thread::yield_now();
    }
    publisher.join().unwrap();
    for subscriber in hub.snapshot().subscribers {
        assert_eq!((subscriber.stats.delivered, subscriber.stats.dropped), (100, 0));
    }
}

#[test]
fn the_backlog_keeps_the_newest_events_whatever_queues_drop() {
    for when_full in [WhenFull::DropNewest, WhenFull::DropOldest] {
        let hub = Hub::new(Controls::default(), Limits { when_full, ..limits(2) });
        hub.publish(batch(&["a", "b", "c"]), &StreamStats::default());
        hub.publish(batch(&["d"]), &StreamStats::default());
        assert_eq!(hub.open("").missing(), 2);
        assert_eq!(take(&hub.subscribe("")), "cd");
        // They are missing to the first subscriber only.
        assert_eq!(hub.open("").missing(), 0);
    }
}

#[test]
fn controls_before_the_begin_apply_to_the_backlog_and_to_all_that_follows() {
    let hub = Hub::new(Controls::default().changed(Control::Toggle(false)).unwrap(), limits(10));
    hub.publish(batch(&["a", "b"]), &StreamStats::default());
    let mut opening = hub.open("");
    opening.control(Control::Toggle(true));
    opening.control(Control::Sampling { rate: f64::NAN, patterns: Vec::new() });
    opening.control(deny("a"));
    // What is published before the begin waits in the backlog.
    hub.publish(batch(&["a", "c"]), &StreamStats::default());
    assert_eq!(hub.snapshot().backlog.waiting, 4);
    let subscription = opening.begin();
    hub.publish(batch(&["a", "d"]), &StreamStats::default());
    assert_eq!(take(&subscription), "bcd");
    let stats = hub.snapshot().subscribers[0].stats;
    let expected = ConsumerStats {
        offered: 6,
        delivered: 3,
        filtered: 3,
        controls_applied: 2,
        controls_refused: 1,
        ..ConsumerStats::default()
    };
    assert_eq!(stats, expected);
}

#[test]
fn a_subscription_that_is_given_up_before_its_begin_leaves_the_backlog() {
    let hub = hub(10);
    hub.publish(batch(&["a"]), &StreamStats::default());
    drop(hub.open(""));
    assert_eq!(hub.snapshot().disconnected_count, 0);
    assert_eq!(take(&hub.subscribe("")), "a");
}

#[test]
fn a_subscription_ends_after_its_last_event_when_the_hub_is_closed() {
    let hub = hub(10);
    let subscription = hub.subscribe("");
    hub.publish(batch(&["a"]), &StreamStats::default());
    hub.close();
    assert!(matches!(poll(&subscription), Poll::Ready(Some(_))));
    assert!(matches!(poll(&subscription), Poll::Ready(None)));
}

#[test]
fn events_queued_at_unsubscription_count_as_abandoned() {
    let hub = hub(10);
    let (exporter, subscriber) = (export(&hub), hub.subscribe(""));
    hub.publish(batch(&["a", "b"]), &StreamStats::default());
    drop(subscriber);
    drop(exporter);
    hub.publish(batch(&["c"]), &StreamStats::default());
    let snapshot = hub.snapshot();
    assert!(snapshot.balances(), "{snapshot:#?}");
    assert_eq!((snapshot.disconnected.abandoned, snapshot.disconnected_count), (2, 1));
    assert_eq!(snapshot.exporters[0].stats.abandoned, 3);
    assert_eq!(snapshot.backlog.waiting, 1);
}

#[test]
fn events_in_flight_count_as_queued_until_they_are_acknowledged_or_dropped() {
    let hub = hub(10);
    let exporter = export(&hub);
    hub.publish(batch(&["a", "b", "c"]), &StreamStats::default());
    assert!(matches!(poll_chunk(&exporter), Poll::Ready(Some(chunk)) if chunk.events == 3));
    let expected = ConsumerStats { offered: 3, queued: 3, ..ConsumerStats::default() };
    assert_eq!(stats(&hub), expected);
    exporter.acknowledge(1);
    assert_eq!(stats(&hub), ConsumerStats { delivered: 1, queued: 2, ..expected });
    exporter.drop_in_flight(1);
    assert_eq!(stats(&hub), ConsumerStats { delivered: 1, dropped: 1, unsent: 1, queued: 1, ..expected });
    // More than there are in flight.
    exporter.acknowledge(100);
    exporter.drop_in_flight(100);
    assert_eq!(stats(&hub), ConsumerStats { delivered: 2, dropped: 1, unsent: 1, queued: 0, ..expected });
}

#[test]
fn the_stream_ends_for_a_consumer_whose_last_events_are_in_flight() {
    let hub = hub(10);
    let exporter = export(&hub);
    hub.publish(batch(&["a"]), &StreamStats::default());
    hub.close();
    assert!(matches!(poll_chunk(&exporter), Poll::Ready(Some(_))));
    assert!(matches!(poll_chunk(&exporter), Poll::Ready(None)));
    assert_eq!(stats(&hub).queued, 1);
}

#[test]
fn events_in_flight_are_abandoned_with_the_subscription() {
    let hub = hub(10);
    let exporter = export(&hub);
    hub.publish(batch(&["a", "b"]), &StreamStats::default());
    assert!(poll_chunk(&exporter).is_ready());
    exporter.acknowledge(1);
    hub.publish(batch(&["c"]), &StreamStats::default());
    drop(exporter);
    let expected = ConsumerStats { offered: 3, delivered: 1, abandoned: 2, ..ConsumerStats::default() };
    assert_eq!(stats(&hub), expected);
}

#[test]
fn waiting_for_delivery_waits_for_acknowledgements() {
    let hub = hub(10);
    let exporter = export(&hub);
    hub.publish(batch(&["a", "b"]), &StreamStats::default());
    assert!(poll_chunk(&exporter).is_ready());
    let waiting = std::thread::spawn({
        let hub = Arc::clone(&hub);
        move || {
            hub.wait_until_delivered(false, &mut || ());
            stats(&hub)
        }
    });
    exporter.acknowledge(1);
    exporter.drop_in_flight(1);
    let at_the_end = waiting.join().unwrap();
    assert_eq!((at_the_end.delivered, at_the_end.dropped, at_the_end.queued), (1, 1, 0));
}

#[test]
fn publication_that_waits_drops_nothing() {
    let hub = hub(1);
    let subscription = hub.subscribe("");
    let publisher = publish_100_waiting(&hub);
    let mut frames = 0;
    loop {
        match poll(&subscription) {
            Poll::Ready(Some(chunk)) => frames += chunk.len() / 6,
            Poll::Ready(None) => break,
            Poll::Pending => std::thread::yield_now(),
        }
    }
    publisher.join().unwrap();
    assert_eq!(frames, 100);
}

#[test]
fn a_control_applies_to_every_batch_published_after_it_and_to_its_subscriber_alone() {
    let hub = hub(10);
    let (filtered, other) = (hub.subscribe("filtered"), hub.subscribe("other"));
    hub.publish(batch(&["a", "b"]), &StreamStats::default());
    filtered.control(deny("a"));
    hub.publish(batch(&["a", "b", "a", "c"]), &StreamStats::default());
    filtered.control(Control::Toggle(false));
    hub.publish(batch(&["d"]), &StreamStats::default());
    assert_eq!((take(&filtered), take(&other)), ("abbc".into(), "ababacd".into()));
    let snapshot = hub.snapshot();
    assert!(snapshot.balances(), "{snapshot:#?}");
    let expected = ConsumerStats {
        offered: 7,
        delivered: 4,
        filtered: 2,
        disabled: 1,
        controls_applied: 2,
        ..ConsumerStats::default()
    };
    assert_eq!(snapshot.subscribers[0].stats, expected);
}

#[test]
fn the_backlog_is_filtered_by_the_controls_that_subscriptions_start_with() {
    let start = Controls::default().changed(deny("b")).unwrap();
    let hub = Hub::new(start, limits(10));
    let exporter = export(&hub);
    hub.publish(batch(&["a", "b"]), &StreamStats::default());
    hub.publish(batch(&["b", "c"]), &StreamStats::default());
    let subscriber = hub.subscribe("");
    assert_eq!((take(&exporter), take(&subscriber)), ("ac".into(), "ac".into()));
    let snapshot = hub.snapshot();
    assert!(snapshot.balances(), "{snapshot:#?}");
    assert_eq!(snapshot.backlog.replayed, 4);
    assert_eq!(snapshot.subscribers[0].stats.filtered, 2);
}

#[test]
fn a_full_queue_drops_only_events_that_the_controls_keep() {
    let hub = hub(2);
    let subscriber = hub.subscribe("");
    subscriber.control(deny("b"));
    hub.publish(batch(&["a", "b", "a", "b", "a"]), &StreamStats::default());
    let snapshot = hub.snapshot();
    assert!(snapshot.balances(), "{snapshot:#?}");
    let stats = snapshot.subscribers[0].stats;
    assert_eq!((stats.queued, stats.filtered, stats.dropped), (2, 2, 1));
}

#[test]
fn a_waiting_publication_applies_a_control_to_the_rest_of_its_batch() {
    let hub = hub(1);
    let subscriber = hub.subscribe("");
    let publisher = publish_100_waiting(&hub);
    while hub.snapshot().subscribers[0].stats.queued == 0 {
        std::thread::yield_now();
    }
    // One event is queued, and the publication waits to queue the second one.
    subscriber.control(deny("a"));
    while poll(&subscriber) != Poll::Ready(None) {
        std::thread::yield_now();
    }
    publisher.join().unwrap();
    let snapshot = hub.snapshot();
    assert!(snapshot.balances(), "{snapshot:#?}");
    let stats = snapshot.subscribers[0].stats;
    assert!(stats.filtered >= 98 && stats.delivered + stats.filtered == 100, "{stats:#?}");
}

#[test]
fn an_observer_leaves_the_backlog_and_is_not_waited_for() {
    let hub = hub(10);
    hub.publish(batch(&["a"]), &StreamStats::default());
    let observer = hub.observe("observer").begin();
    let sampled = hub.observe("other");
    assert_eq!(sampled.missing(), 0);
    drop(sampled);
    hub.publish(batch(&["b"]), &StreamStats::default());
    let snapshot = hub.snapshot();
    assert!(snapshot.balances() && snapshot.subscribers.is_empty(), "{snapshot:#?}");
    assert_eq!((snapshot.backlog.waiting, snapshot.observers[0].stats.queued), (2, 1));
    // Neither the end of a publication nor a control depends on what it has not taken.
    let subscriber = hub.subscribe("");
    assert_eq!(take(&subscriber), "ab");
    hub.wait_until_delivered(true, &mut || unreachable!());
    observer.control(deny("c"));
    hub.publish(batch(&["c", "d"]), &StreamStats::default());
    assert_eq!(take(&observer), "bd");
    hub.disconnect_subscribers();
    assert!(subscriber.is_disconnected() && !observer.is_disconnected());
    drop(observer);
    let snapshot = hub.snapshot();
    assert!(snapshot.balances() && snapshot.observers.is_empty(), "{snapshot:#?}");
    assert_eq!((snapshot.disconnected_count, snapshot.disconnected.offered), (1, 4));
}

#[test]
fn observers_that_do_not_read_leave_memory_to_subscribers() {
    let hub = Hub::bounded(Controls::default(), limits(10_000), 1_000_000, Duration::ZERO);
    let observers: Vec<_> = (0..20).map(|_| hub.observe("observer").begin()).collect();
    let subscriber = hub.subscribe("");
    for _ in 0..1000 {
        hub.publish(batch(&["a"; 10]), &StreamStats::default());
    }
    let snapshot = hub.snapshot();
    assert!(snapshot.balances(), "{snapshot:#?}");
    assert!(snapshot.observers.iter().any(|observer| observer.stats.dropped > 0));
    assert_eq!(snapshot.subscribers[0].stats.dropped, 0);
    drop((observers, subscriber));
}
