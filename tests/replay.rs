//! Replaying recordings: everything is delivered, however slow the subscriber.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod support;

use std::{
    fs,
    time::{Duration, Instant},
};
use support::{Builder, Sidecar, line, wait_for};

/// A replay of this log, serving on a port that is told.
fn replay(options: &[&str], log: &str) -> Builder {
    let words = [&["replay", "--ready-file", "{dir}/ready"], options, &["{dir}/log"]].concat();
    let builder = Sidecar::command(&words);
    fs::write(builder.path("log"), log).unwrap();
    builder
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_is_delivered_to_a_slow_subscriber() {
    let count = 5_000;
    let log: String = (0..count).map(|count| line("a.b", count, "") + "text\n").collect();
    let sidecar = replay(&["--queue-capacity", "10"], &log).start();
    let mut subscriber = sidecar.subscribe().await;
    for expected in 0..count {
        let event = subscriber.next().await;
        assert_eq!(event.timestamp_ns, i64::try_from(expected).unwrap());
        if expected % 1000 == 0 {
            tokio::task::yield_now().await;
        }
    }
    assert!(subscriber.rest().await.is_empty());
    drop(subscriber);
    assert_eq!(sidecar.finish().expect_code(0).stderr(), "text\n".repeat(count));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_starts_when_enough_are_subscribed_and_all_of_them_get_everything() {
    let sidecar = replay(&["--wait-for-subscribers", "2"], &(line("a", 1, "") + "text\n")).start();
    let mut first = sidecar.subscribe().await;
    assert_eq!(sidecar.status().await.stream.unwrap().bytes_read, 0);
    let mut second = sidecar.subscribe().await;
    assert_eq!(first.rest().await.len(), 1);
    assert_eq!(second.rest().await.len(), 1);
    drop((first, second));
    sidecar.finish().expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_subscriber_leaves_the_next_one_gets_what_is_left() {
    let count = 3_000;
    let log: String = (0..count).map(|count| line("a", count, &format!("{:0>1000}", 0))).collect();
    let sidecar = replay(&["--queue-capacity", "100"], &log).start();
    let mut first = sidecar.subscribe().await;
    first.next().await;
    drop(first);
    // What was in the first one's queue has gone with it, and is accounted for.
    let get = async || sidecar.status().await;
    let status = wait_for("the first to leave", get, |status| status.departed_count == 1).await;
    let departed = status.departed.unwrap();
    let mut second = sidecar.subscribe().await;
    let rest = second.rest().await;
    assert_eq!(rest.len() as u64, count as u64 - departed.offered);
    assert_eq!(rest.last().unwrap().timestamp_ns, i64::try_from(count).unwrap() - 1);
    drop(second);
    sidecar.finish().expect_code(0);
}

#[test]
fn with_an_exporter_alone_it_waits_for_nobody() {
    let log: String = (0..5_000).map(|count| line("a", count, "")).collect();
    let words = ["replay", "-q", "--export-jsonl", "{dir}/events", "{dir}/log"];
    let builder = Sidecar::command(&words);
    fs::write(builder.path("log"), log).unwrap();
    let mut sidecar = builder.start();
    sidecar.wait();
    assert_eq!(fs::read_to_string(sidecar.path("events")).unwrap().lines().count(), 5_000);
    sidecar.finish().expect_code(0);
}

#[test]
fn files_are_streams_of_their_own_and_dash_is_stdin() {
    let words =
        ["replay", "-q", "--wait-for-subscribers", "0", "--export-jsonl", "{dir}/events", "{dir}/log", "-"];
    let builder = Sidecar::command(&words);
    // A telemetry line needs no newline at the end of its file.
    fs::write(builder.path("log"), "text without newline").unwrap();
    let mut sidecar = builder.start();
    sidecar.write(line("a", 1, "").trim_end());
    sidecar.wait();
    assert_eq!(fs::read_to_string(sidecar.path("events")).unwrap().lines().count(), 1);
    assert_eq!(sidecar.finish().expect_code(0).stderr(), "text without newline");
}

#[tokio::test(flavor = "multi_thread")]
async fn pace_keeps_the_recorded_time_between_events() {
    // A line without a time of its own does not wait.
    let at = |ms: usize| line("a", 1_700_000_000_000_000_000 + ms * 1_000_000, "");
    let log = [&at(0), "TELEMETRY:{\"event\": \"b\"}\n", &at(400), &at(200), &at(500)].concat();
    let sidecar = replay(&["--pace"], &log).start();
    let started = Instant::now();
    let mut subscriber = sidecar.subscribe().await;
    assert_eq!(subscriber.rest().await.len(), 5);
    // It starts with the subscription. The upper bound is the machine's business.
    assert!(started.elapsed() >= Duration::from_millis(500), "{:?}", started.elapsed());
    drop(subscriber);
    sidecar.finish().expect_code(0);
}
