//! Replaying recordings: everything is delivered, even to a slow subscriber.

use crate::support::{
    BINARY, Builder, Sidecar,
    http2::RawStream,
    line,
    refusal::{expect_one_line, expect_words},
    run, wait_for, wait_until,
};
use nix::sys::signal::Signal;
use std::{
    fs,
    net::TcpStream,
    time::{Duration, Instant},
};

/// A replay of this log that serves on a free port.
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

/// HTTP/2 has accepted everything, but the subscriber's window allowed only the beginning to be sent.
#[test]
fn the_end_waits_for_a_subscriber_with_a_small_window() {
    let count = 100;
    let log: String = (0..count).map(|count| line("a.b", count, &"x".repeat(100))).collect();
    let sidecar = replay(&["--drain-timeout", "0s"], &log).start();
    let port = sidecar.port();
    let mut stream = RawStream::open(port, "5S", 1000);
    wait_until("the end of listening", || TcpStream::connect(("127.0.0.1", port)).is_err());
    let everything = stream.read_slowly(500);
    assert_eq!((everything.messages, everything.ended_with_trailers), (count, true));
    drop(stream);
    sidecar.finish().expect_code(0);
}

/// A signal ends a replay like any other program, and its sockets are removed.
#[test]
fn a_signal_ends_it_and_the_sockets_go() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        for subscribed in [false, true] {
            let words = ["--listen", "unix:{dir}/s", "--listen", "127.0.0.1:0"];
            let mut sidecar = replay(&words, &line("a", 1, "")).start();
            let port = sidecar.ready_lines()[1].parse().unwrap();
            // This subscriber never reads, so the replay cannot complete.
            let stuck = subscribed.then(|| RawStream::open(port, "5S", 0));
            let socket = sidecar.path("s");
            assert!(socket.exists());
            sidecar.signal(signal);
            sidecar.wait();
            assert!(!socket.exists(), "{signal}: the socket is still there");
            sidecar.finish().expect_signal(signal as i32);
            drop(stuck);
        }
    }
    // SIGHUP is ignored by the parent, so it does not end the replay.
    let ignoring = format!(
        "trap '' HUP; exec '{BINARY}' replay -q --ready-file \"$0/ready\" --wait-for-subscribers 1 \"$0/log\""
    );
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("log"), "").unwrap();
    let mut child = std::process::Command::new("sh").args(["-c", &ignoring]).arg(dir.path()).spawn().unwrap();
    wait_until("the ready file", || dir.path().join("ready").exists());
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, Signal::SIGHUP).unwrap();
    nix::sys::signal::kill(pid, Signal::SIGTERM).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(Signal::SIGTERM as i32));
}

#[test]
fn it_does_not_append_to_what_it_reads() {
    for option in ["--record", "--export-jsonl"] {
        let builder = replay(&[option, "{dir}/link", "--wait-for-subscribers", "0"], &line("a", 1, ""));
        fs::hard_link(builder.path("log"), builder.path("link")).unwrap();
        let sidecar = builder.start();
        let line = expect_one_line(&sidecar.finish(), || true);
        expect_words(&line, &[option, "/link'", "one of the recordings"]);
    }
}

#[test]
fn standard_input_is_read_once() {
    for words in [&["replay", "-", "-"][..], &["decode", "-", "-"]] {
        expect_words(&expect_one_line(&run(words), || true), &["FILE", "'-'", "only once"]);
    }
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
    // The first subscriber's queue was discarded and counted.
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
    // The last telemetry line of a file needs no newline.
    fs::write(builder.path("log"), "text without newline").unwrap();
    let mut sidecar = builder.start();
    sidecar.write(line("a", 1, "").trim_end());
    sidecar.wait();
    assert_eq!(fs::read_to_string(sidecar.path("events")).unwrap().lines().count(), 1);
    assert_eq!(sidecar.finish().expect_code(0).stderr(), "text without newline");
}

#[tokio::test(flavor = "multi_thread")]
async fn pace_keeps_the_recorded_time_between_events() {
    // A line without a timestamp is replayed without delay.
    let at = |ms: usize| line("a", 1_700_000_000_000_000_000 + ms * 1_000_000, "");
    let log = [&at(0), "TELEMETRY:{\"event\": \"b\"}\n", &at(400), &at(200), &at(500)].concat();
    let sidecar = replay(&["--pace"], &log).start();
    let started = Instant::now();
    let mut subscriber = sidecar.subscribe().await;
    assert_eq!(subscriber.rest().await.len(), 5);
    // Replaying starts with the subscription. There is no upper bound, because the machine may be slow.
    assert!(started.elapsed() >= Duration::from_millis(500), "{:?}", started.elapsed());
    drop(subscriber);
    sidecar.finish().expect_code(0);
}

#[test]
fn a_replay_that_cannot_write_its_events_reports_that_and_fails() {
    let words = ["replay", "-q", "--export-jsonl", "/dev/full", "{dir}/log"];
    let builder = Sidecar::command(&words);
    fs::write(builder.path("log"), line("a", 1, "") + "text").unwrap();
    let finished = builder.start().finish();
    finished.expect_code(125);
    let expected =
        "text\ntelemetry-sidecar: jsonl: 1 event not delivered: No space left on device (os error 28)\n";
    assert_eq!(finished.stderr(), expected, "{}", finished.describe());
}
