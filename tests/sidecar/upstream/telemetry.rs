//! A worker's own telemetry stream, merged with the lines that it prints.

use super::worker::{Worker, message};
use crate::support::{Sidecar, Status, StatusClient, Subscriber, line, wait_for, wait_until};
use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    time::Instant,
};
use telemetry_sidecar::event::proto::{
    bridge::{
        TelemetryControl, TelemetryEvent, TelemetryEventFilter, TelemetryToggle, TelemetryValue,
        telemetry_control::Control, telemetry_value::Value,
    },
    sidecar::Upstream,
};
use tonic::Code;

/// An event as a worker sends it.
fn event(name: &str, count: i64) -> TelemetryEvent {
    let value = TelemetryValue { value: Some(Value::IntValue(count)) };
    TelemetryEvent {
        event_parts: name.split('.').map(ToOwned::to_owned).collect(),
        measurements: [("count".to_owned(), value)].into(),
        timestamp_ns: count,
        ..TelemetryEvent::default()
    }
}

fn count(event: &TelemetryEvent) -> i64 {
    match event.measurements["count"].value {
        Some(Value::IntValue(count)) => count,
        ref other => panic!("{other:?}"),
    }
}

fn counts(events: &[TelemetryEvent]) -> Vec<i64> {
    let mut counts: Vec<_> = events.iter().map(count).collect();
    counts.sort_unstable();
    counts
}

/// A sidecar in front of this worker, whose lines are what the test writes.
fn sidecar(worker: &Worker, options: &[&str]) -> Sidecar {
    Sidecar::wrap_echo(&[&[worker.upstream().as_str()], options].concat())
}

/// The sidecar's metrics page.
fn metrics(sidecar: &Sidecar) -> String {
    let ready = sidecar.ready_lines();
    let port = ready.iter().find_map(|line| line.strip_prefix("prometheus ")).unwrap();
    let mut stream = TcpStream::connect(("127.0.0.1", port.parse().unwrap())).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    page
}

/// Whether the thread that reads the worker's stream is running.
fn is_reading(sidecar: &Sidecar) -> bool {
    let threads = fs::read_dir(format!("/proc/{}/task", sidecar.pid())).unwrap();
    threads
        .filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("comm")).ok())
        .any(|name| name == "upstream\n")
}

async fn wait_for_events(sidecar: &Sidecar, events: u64) -> Status {
    let mut status = StatusClient::new(sidecar.channel().await);
    let what = format!("{events} events");
    wait_for(&what, async || status.get().await, |status| status.events == events).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn lines_and_messages_reach_every_subscriber_and_exporter_once() {
    let mut worker = Worker::start().await;
    let options =
        ["--export-jsonl={dir}/events", "--export-prometheus=127.0.0.1:0", "--metadata=pool=p", "-v"];
    let mut sidecar = sidecar(&worker, &options);
    let stream = worker.stream().await;
    let mut subscribers = [sidecar.subscribe().await, sidecar.subscribe().await];
    for round in 0..50 {
        let [first, second, third] = [0, 1, 2].map(|number| event("a.b", 3 * round + number));
        stream.send([&first, &second]);
        sidecar.write(line("a.b", usize::try_from(count(&third)).unwrap(), ""));
    }
    let status = wait_for_events(&sidecar, 150).await;
    let upstream = Upstream { messages: 100, events: 100, malformed: 0, oversized: 0 };
    assert_eq!((status.upstream, status.stream.unwrap().events), (Some(upstream), 50));
    let series = [
        "telemetry_sidecar_events_total{source=\"upstream\"} 100\n",
        "telemetry_sidecar_upstream_messages_total{outcome=\"oversized\"} 0\n",
        "snakepit_events_total{event=\"a.b\"} 150\n",
    ];
    wait_until("the metrics", || {
        let page = metrics(&sidecar);
        series.iter().all(|series| page.contains(series))
    });

    stream.end(Code::Ok).await;
    let jsonl = sidecar.path("events");
    sidecar.close_stdin();
    for subscriber in &mut subscribers {
        let events = subscriber.rest().await;
        assert_eq!(counts(&events), (0..150).collect::<Vec<_>>());
        assert!(events.iter().all(|event| event.metadata["pool"] == "p"));
    }
    let text = fs::read_to_string(jsonl).unwrap();
    assert_eq!(text.lines().count(), 150);
    let finished = sidecar.finish();
    let summary = "telemetry-sidecar: events: 150 = 50 decoded + 100 upstream\n";
    assert!(finished.stderr().contains(summary), "{}", finished.describe());
    finished.expect_code(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_stream_that_ends_is_opened_again_one_at_a_time_and_nothing_is_lost() {
    let mut worker = Worker::start().await;
    let mut sidecar = sidecar(&worker, &[]);
    let mut subscriber = sidecar.subscribe().await;
    let ends = [Code::Ok, Code::DeadlineExceeded, Code::Cancelled, Code::Unavailable, Code::Ok];
    for (number, code) in (0..).zip(ends) {
        let asked = worker.asked().await;
        assert!(!asked.headers.contains_key("grpc-timeout"), "{:?}", asked.headers);
        let stream = asked.stream();
        stream.send(&[event("a", number)]);
        stream.end(code).await;
        assert_eq!(count(&subscriber.next().await), number);
    }
    worker.asked().await.refuse(Code::ResourceExhausted);
    let stream = worker.stream().await;
    stream.send(&[event("a", 5)]);
    assert_eq!(count(&subscriber.next().await), 5);
    wait_for_events(&sidecar, 6).await;
    assert!(!worker.was_asked());
    stream.end(Code::Ok).await;
    sidecar.close_stdin();
    assert!(subscriber.rest().await.is_empty());
    sidecar.finish().expect_code(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_worker_that_comes_late_or_is_lost_is_found_again() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let upstream = format!("--upstream=127.0.0.1:{port}");
    let mut sidecar = Sidecar::wrap_echo(&[&upstream, "--upstream-timeout=0s", "-v"]);
    sidecar.wait_for_stderr("upstream: telemetry stream failed, will be opened again: worker at 127.0.0.1:");
    let mut subscriber = sidecar.subscribe().await;
    for number in 0..2 {
        let mut worker = Worker::at(port).await;
        let stream = worker.stream().await;
        stream.send(&[event("a", number)]);
        assert_eq!(count(&subscriber.next().await), number);
        worker.stop().await;
    }
    sidecar.close_stdin();
    assert!(subscriber.rest().await.is_empty());
    sidecar.finish().expect_code(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_worker_without_the_stream_is_asked_once_and_nothing_else_changes() {
    let mut worker = Worker::start().await;
    let mut sidecar = sidecar(&worker, &["-v"]);
    worker.asked().await.refuse(Code::Unimplemented);
    wait_until("the end of the thread", || !is_reading(&sidecar));
    assert!(!worker.was_asked());
    sidecar.write(line("a", 1, ""));
    assert_eq!(wait_for_events(&sidecar, 1).await.upstream, None);
    let finished = sidecar.finish();
    assert!(!finished.stderr().contains("upstream"), "{}", finished.describe());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn controls_are_applied_in_the_sidecar_alone() {
    let mut worker = Worker::start().await;
    let mut sidecar = sidecar(&worker, &[]);
    let stream = worker.stream().await;
    let (mut all, mut some) = (sidecar.subscribe().await, sidecar.subscribe().await);
    let filter = TelemetryEventFilter { allow: vec!["b".into()], deny: Vec::new() };
    for control in [
        Control::Toggle(TelemetryToggle { enabled: false }),
        Control::Toggle(TelemetryToggle { enabled: true }),
        Control::Filter(filter),
    ] {
        some.control(control).await;
    }
    let mut status = StatusClient::new(sidecar.channel().await);
    let applied = |status: &Status| status.subscribers.iter().any(|one| one.controls_applied == 3);
    wait_for("the controls", async || status.get().await, applied).await;
    stream.send(&[event("a", 0), event("b", 1), event("a", 2)]);
    wait_for_events(&sidecar, 3).await;
    let controls = stream.end(Code::Ok).await;
    let on = Control::Toggle(TelemetryToggle { enabled: true });
    assert_eq!(controls, [TelemetryControl { control: Some(on) }]);
    sidecar.close_stdin();
    assert_eq!(counts(&all.rest().await), [0, 1, 2]);
    assert_eq!(counts(&some.rest().await), [1]);
    sidecar.finish().expect_code(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_last_events_before_the_exit_are_delivered() {
    const COUNT: i64 = 2_000;
    let mut worker = Worker::start().await;
    let options = ["--export-jsonl={dir}/events", "--drain-timeout=30s", "--queue-capacity=100000"];
    let mut sidecar = sidecar(&worker, &options);
    let stream = worker.stream().await;
    let mut subscriber = sidecar.subscribe().await;
    let process = PathBuf::from(format!("/proc/{}", sidecar.status().await.worker.unwrap().pid));
    stream.send(&[event("a", 0)]);
    assert_eq!(count(&subscriber.next().await), 0);
    // The process has exited, and what it sent is still on the way.
    sidecar.close_stdin();
    wait_until("the worker to exit", || !process.exists());
    for number in 1..COUNT {
        stream.send(&[event("a", number)]);
    }
    stream.end(Code::Ok).await;
    assert_eq!(counts(&subscriber.rest().await), (1..COUNT).collect::<Vec<_>>());
    let path = sidecar.path("events");
    sidecar.finish_reading(&path, |text| assert_eq!(text.lines().count(), 2_000));
    assert!(!worker.was_asked());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_connection_that_another_process_keeps_delays_the_exit_by_half_of_the_drain_timeout_at_most() {
    let mut worker = Worker::start().await;
    let mut sidecar = sidecar(&worker, &["--drain-timeout=60s"]);
    let stream = worker.stream().await;
    stream.send(&[event("a", 0)]);
    wait_for_events(&sidecar, 1).await;
    // A signal ends it earlier.
    let process = PathBuf::from(format!("/proc/{}", sidecar.status().await.worker.unwrap().pid));
    sidecar.close_stdin();
    wait_until("the worker to exit", || !process.exists());
    sidecar.signal(nix::sys::signal::Signal::SIGTERM);
    sidecar.finish().expect_code(0);
    drop(stream);

    let mut worker = Worker::start().await;
    let mut sidecar = self::sidecar(&worker, &["--drain-timeout=200ms"]);
    let stream = worker.stream().await;
    stream.send(&[event("a", 0)]);
    wait_for_events(&sidecar, 1).await;
    let start = Instant::now();
    sidecar.close_stdin();
    sidecar.finish().expect_code(0);
    assert!(start.elapsed().as_millis() >= 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn messages_that_are_no_events_are_counted() {
    let mut worker = Worker::start().await;
    let sidecar = sidecar(&worker, &["-v"]);
    let stream = worker.stream().await;
    let mut subscriber = sidecar.subscribe().await;
    stream.send(&[TelemetryEvent::default()]);
    stream.send_bytes(message(false, b"\xff\xff"));
    stream.send_bytes(message(true, b"compressed"));
    stream.send_bytes(message(false, &vec![0; 4 * 1024 * 1024 + 1]));
    let large = TelemetryEvent { correlation_id: "c".repeat(4_000_000), ..event("a", 1) };
    stream.send(&[large.clone(), event("a", 2)]);
    let status = wait_for_events(&sidecar, 2).await;
    let expected = Upstream { messages: 6, events: 2, malformed: 3, oversized: 1 };
    assert_eq!(status.upstream, Some(expected));
    assert_eq!(subscriber.next().await, large);
    assert_eq!(count(&subscriber.next().await), 2);
    stream.end(Code::Ok).await;
    let finished = sidecar.finish();
    let text = "telemetry-sidecar: upstream: 6 messages = 2 decoded + 3 malformed + 1 too long\n";
    assert!(finished.stderr().contains(text), "{}", finished.describe());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn events_that_find_full_queues_are_dropped_and_the_worker_does_not_wait() {
    const COUNT: i64 = 50_000;
    let mut worker = Worker::start().await;
    let sidecar = sidecar(&worker, &["--queue-capacity=10"]);
    let stream = worker.stream().await;
    let _stalled = Subscriber::open(sidecar.channel().await).await;
    let text = "x".repeat(200);
    for first in (0..COUNT).step_by(100) {
        let event = |number| TelemetryEvent { correlation_id: text.clone(), ..event("a", number) };
        stream.send(&(first..first + 100).map(event).collect::<Vec<_>>());
    }
    let status = wait_for_events(&sidecar, COUNT.unsigned_abs()).await;
    assert!(status.subscribers[0].dropped > 0, "{status:#?}");
}
