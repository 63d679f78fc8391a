//! Observers: subscriptions that nothing depends on.

use crate::support::{Sidecar, Status, Subscriber, line, wait_for};
use std::{
    fs,
    time::{Duration, Instant},
};
use tonic::Code;

const INTERVAL: &str = "50ms";

/// Opens an observer and waits until it has begun.
async fn observe(sidecar: &Sidecar, interval: &'static str) -> Subscriber {
    let observer = Subscriber::try_open(sidecar.channel().await, Some(interval)).await.unwrap();
    let has_begun = |status: &Status| status.observers.len() == 1;
    wait_for("the observer to begin", async || sidecar.status().await, has_begun).await;
    observer
}

#[tokio::test(flavor = "multi_thread")]
async fn the_backlog_stays_for_a_subscriber() {
    let mut sidecar = Sidecar::wrap_echo(&[]);
    sidecar.write(line("early", 1, ""));
    let waits = |status: &Status| status.backlog.unwrap().waiting == 1;
    wait_for("the event to wait", async || sidecar.status().await, waits).await;
    let mut observer = observe(&sidecar, INTERVAL).await;
    sidecar.write(line("later", 2, ""));
    assert_eq!(observer.next().await.timestamp_ns, 2);
    let status = sidecar.status().await;
    assert_eq!(status.backlog.unwrap().waiting, 2);
    assert!(status.subscribers.is_empty());
    assert_eq!((status.observers[0].id, status.observers[0].offered), (0, 1));
    let mut subscriber = sidecar.subscribe().await;
    sidecar.close_stdin();
    assert_eq!(subscriber.rest().await.len(), 2);
    assert!(observer.rest().await.is_empty());
    drop((subscriber, observer));
    sidecar.finish().expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_events_arrive_in_order_at_intervals_and_the_last_ones_at_the_end() {
    let mut sidecar = Sidecar::wrap_echo(&[]);
    let mut observer = observe(&sidecar, "60s").await;
    sidecar.write(line("a", 0, ""));
    // The first one after a pause comes at once; the others would wait a minute.
    assert_eq!(observer.next().await.timestamp_ns, 0);
    let start = Instant::now();
    for count in 1..100 {
        sidecar.write(line("a", count, ""));
    }
    let are_queued = |status: &Status| status.observers[0].offered == 100;
    let status = wait_for("the events", async || sidecar.status().await, are_queued).await;
    assert_eq!(status.observers[0].queued, 99);
    sidecar.close_stdin();
    let rest = observer.rest().await;
    assert!(rest.iter().map(|event| event.timestamp_ns).eq(1..100));
    assert!(start.elapsed() < Duration::from_secs(60));
    drop(observer);
    sidecar.finish().expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_fills_does_not_wait_for_the_interval() {
    // More than half of what the queue holds.
    const COUNT: usize = 9_000;
    let mut sidecar = Sidecar::wrap_echo(&[]);
    let mut observer = observe(&sidecar, "60s").await;
    sidecar.write(line("a", 0, ""));
    assert_eq!(observer.next().await.timestamp_ns, 0);
    let start = Instant::now();
    sidecar.write((1..COUNT).map(|count| line("a", count, "")).collect::<String>());
    for expected in 1..8_000 {
        assert_eq!(observer.next().await.timestamp_ns, expected);
    }
    assert!(start.elapsed() < Duration::from_secs(60));
    assert_eq!(sidecar.status().await.observers[0].dropped, 0);
    drop(observer);
    sidecar.finish().expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_does_not_read_loses_nothing_and_does_not_hold_the_exit() {
    let mut sidecar = Sidecar::wrap_echo(&["--drain-timeout", "60s", "--queue-bytes", "1048576"]);
    let observer = observe(&sidecar, INTERVAL).await;
    for count in 0..20_000 {
        sidecar.write(line("a", count, &format!("{:0>1000}", 0)));
    }
    let drops = |status: &Status| status.observers[0].dropped > 0;
    wait_for("the observer's queue to be full", async || sidecar.status().await, drops).await;
    let start = Instant::now();
    sidecar.close_stdin();
    assert_eq!(sidecar.finish().expect_code(0).stderr(), "");
    assert!(start.elapsed() < Duration::from_secs(60));
    drop(observer);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_waits_for_a_subscriber_and_not_for_an_observer() {
    const COUNT: usize = 30_000;
    let builder = Sidecar::command(&["replay", "--ready-file", "{dir}/ready", "{dir}/log"]);
    let log: String = (0..COUNT).map(|count| line("a", count, &format!("{:0>100}", 0))).collect();
    fs::write(builder.path("log"), log).unwrap();
    let sidecar = builder.start();
    // It never reads, and the replay is larger than its queue and window.
    let observer = observe(&sidecar, INTERVAL).await;
    assert_eq!(sidecar.status().await.events, 0);
    let mut subscriber = sidecar.subscribe().await;
    assert_eq!(subscriber.rest().await.len(), COUNT);
    drop(subscriber);
    sidecar.finish().expect_code(0);
    drop(observer);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_no_first_subscriber_and_leaves_the_permits_to_subscribers() {
    let mut sidecar = Sidecar::wrap_echo(&["--linger", "60s", "--max-subscribers", "1"]);
    let mut observer = observe(&sidecar, INTERVAL).await;
    let other = Subscriber::try_open(sidecar.channel().await, Some(INTERVAL)).await;
    assert_eq!(other.map(|_| ()).unwrap_err().code(), Code::ResourceExhausted);
    sidecar.write(line("a", 1, ""));
    assert_eq!(observer.next().await.timestamp_ns, 1);
    drop(observer);
    let has_left = |status: &Status| status.observers.is_empty();
    let status = wait_for("the observer to leave", async || sidecar.status().await, has_left).await;
    assert_eq!((status.departed_count, status.departed.unwrap().offered), (0, 0));
    // The sidecar lingers for a subscriber, since there was none yet.
    sidecar.end_worker().await;
    let mut subscriber = sidecar.subscribe().await;
    assert_eq!(subscriber.rest().await.len(), 1);
    drop(subscriber);
    sidecar.finish().expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interval_that_is_none_is_refused() {
    let sidecar = Sidecar::wrap_echo(&[]);
    for interval in ["", "often", "100", "61s"] {
        let refused = Subscriber::try_open(sidecar.channel().await, Some(interval)).await;
        let status = refused.map(|_| ()).unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{interval}");
        assert!(status.message().contains("telemetry-sidecar-observe"), "{status:?}");
    }
    sidecar.finish().expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn its_trailers_say_how_the_worker_ended() {
    for (script, expected) in [("cat >&2; exit 3", "exit 3"), ("cat >&2; kill -9 $$", "signal 9")] {
        let mut sidecar = Sidecar::wrap(&[], script);
        let mut observer = observe(&sidecar, INTERVAL).await;
        sidecar.close_stdin();
        assert!(observer.rest().await.is_empty());
        let trailers = observer.events.trailers().await.unwrap().unwrap();
        assert_eq!(trailers.get("telemetry-sidecar-worker-exit").unwrap(), expected);
        drop(observer);
        sidecar.finish();
    }
}
