//! Serving: events that a subscriber receives, how streams end, and that no client delays the exit.

use crate::support::{
    Sidecar, Status, Subscriber, connect,
    http2::{
        DATA, END_HEADERS, Frame, HEADERS, PREFACE, RawStream, dial, frame, read_frame, stream_telemetry,
    },
    line, run, wait_for,
};
use nix::sys::signal::Signal;
use std::{
    io::Write as _,
    net::{TcpListener, TcpStream, ToSocketAddrs as _},
};
use telemetry_sidecar::event::proto::bridge::{
    TelemetryEventFilter, TelemetryValue, telemetry_control::Control, telemetry_value::Value,
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_receives_all_events_and_the_stream_ends_with_ok() {
    let mut sidecar = Sidecar::wrap_echo(&[]);
    // The response headers arrive although the worker is silent: opening waits for them.
    let mut subscriber = sidecar.subscribe().await;
    sidecar.write(
        "TELEMETRY:{\"event\": \"tool.execution.stop\", \"measurements\": {\"duration\": 5, \"share\": NaN}, \
         \"metadata\": {\"tool\": \"x\"}, \"timestamp_ns\": 1, \"correlation_id\": \"c\"}\n",
    );
    let event = subscriber.next().await;
    assert_eq!(event.event_parts, ["tool", "execution", "stop"]);
    assert_eq!(event.measurements["duration"], TelemetryValue { value: Some(Value::IntValue(5)) });
    assert!(matches!(event.measurements["share"].value, Some(Value::FloatValue(share)) if share.is_nan()));
    assert_eq!(event.metadata["tool"], "x");
    assert_eq!((event.timestamp_ns, event.correlation_id.as_str()), (1, "c"));
    sidecar.close_stdin();
    assert!(subscriber.rest().await.is_empty());
    drop(subscriber);
    sidecar.finish().expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_backlog_waits_for_the_first_subscriber_after_the_worker_exits() {
    let mut sidecar = Sidecar::wrap_echo(&["--linger", "60s"]);
    sidecar.write(line("early", 1, ""));
    sidecar.close_stdin();
    let mut subscriber = sidecar.subscribe().await;
    let events = subscriber.rest().await;
    assert_eq!(events.len(), 1);
    drop(subscriber);
    sidecar.finish().expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_control_applies_to_all_that_a_subscriber_receives() {
    let mut sidecar = Sidecar::wrap_echo(&["--disabled"]);
    sidecar.write(line("a", 1, ""));
    let waits = |status: &Status| status.backlog.unwrap().waiting == 1;
    wait_for("the event to wait", async || sidecar.status().await, waits).await;
    // One write, so that the control comes in time.
    let toggle: &[u8] = &[0, 0, 0, 0, 4, 0x0A, 2, 8, 1];
    let request = frame(HEADERS, END_HEADERS, 1, &stream_telemetry(&[]));
    let mut stream = dial(sidecar.port());
    stream.write_all(&[PREFACE, &request, &frame(DATA, 0, 1, toggle)].concat()).unwrap();
    let is_event = |frame: Frame| (frame.kind, frame.payload.is_empty()) == (DATA, false);
    while !is_event(read_frame(&mut stream).expect("the connection was closed")) {}
    let status = sidecar.status().await;
    assert_eq!((status.subscribers[0].delivered, status.subscribers[0].controls_applied), (1, 1));
    drop(stream);
    sidecar.finish().expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_initial_controls_come_from_the_command_line() {
    let options = ["--allow", "tool.*", "--deny", "*.stop", "--metadata", "region=eu"];
    let mut sidecar = Sidecar::wrap_echo(&options);
    let mut subscriber = sidecar.subscribe().await;
    sidecar.write([line("python.call", 1, ""), line("tool.stop", 2, ""), line("tool.start", 3, "")].concat());
    let event = subscriber.next().await;
    assert_eq!(event.timestamp_ns, 3);
    assert_eq!(event.metadata["region"], "eu");
    drop(subscriber);
    sidecar.finish().expect_code(0);

    let mut sidecar = Sidecar::wrap_echo(&["--disabled"]);
    let subscriber = sidecar.subscribe().await;
    sidecar.write(line("a", 1, ""));
    let is_off = |status: &telemetry_sidecar::event::proto::sidecar::GetStatusResponse| {
        status.subscribers.first().is_some_and(|subscriber| subscriber.switched_off == 1)
    };
    wait_for("an event to be switched off", async || sidecar.status().await, is_off).await;
    drop(subscriber);
    sidecar.finish().expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oversized_control_is_refused_and_the_next_one_is_applied() {
    let mut sidecar = Sidecar::wrap_echo(&[]);
    let mut subscriber = sidecar.subscribe().await;
    let deny = |glob: String| Control::Filter(TelemetryEventFilter { allow: vec![], deny: vec![glob] });
    subscriber.control(deny("x".repeat(6_000_000))).await;
    subscriber.control(deny("a".into())).await;
    let both = |status: &telemetry_sidecar::event::proto::sidecar::GetStatusResponse| {
        let account = &status.subscribers[0];
        (account.controls_refused, account.controls_applied) == (1, 1)
    };
    wait_for("both controls", async || sidecar.status().await, both).await;
    sidecar.write([line("a", 1, ""), line("b", 2, "")].concat());
    assert_eq!(subscriber.next().await.event_parts, ["b"]);
    drop(subscriber);
    sidecar.finish().expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_is_the_same_on_a_unix_socket() {
    let mut sidecar = Sidecar::wrap_echo(&["--listen", "127.0.0.1:0", "--listen", "unix:{dir}/s"]);
    let address = sidecar.ready_lines()[1].clone();
    let mut over_unix = Subscriber::open(connect(&address).await).await;
    let mut over_tcp = sidecar.subscribe().await;
    sidecar.write(line("a", 1, ""));
    assert_eq!(over_unix.next().await, over_tcp.next().await);
    drop((over_unix, over_tcp));
    sidecar.finish().expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn tail_prints_the_newest_waiting_events_and_how_many_are_missing() {
    let mut sidecar = Sidecar::wrap_echo(&["--queue-capacity", "2"]);
    sidecar.write((1..=5).map(|count| line("a", count, "")).collect::<String>());
    let waits = |status: &Status| status.backlog.unwrap().taken_in == 5;
    wait_for("the events to wait", async || sidecar.status().await, waits).await;
    let tail = Sidecar::command(&["tail", &format!("127.0.0.1:{}", sidecar.port())]).start();
    tail.wait_for_stderr("telemetry-sidecar: 3 older events are missing");
    sidecar.close_stdin();
    let finished = tail.finish();
    finished.expect_code(0);
    let printed = finished.stdout();
    let counts: Vec<_> = printed.lines().filter_map(|line| line.split("count\": ").nth(1)).collect();
    assert!(counts.len() == 2 && counts[0].starts_with('4') && counts[1].starts_with('5'), "{counts:?}");
    sidecar.finish().expect_code(0);
}

/// `localhost` has an IPv6 address in most places, too.
#[test]
fn a_name_is_served_at_all_of_its_addresses_with_one_port() {
    let sidecar = Sidecar::wrap_echo(&["--listen", "localhost:0", "--listen", "127.0.0.1:0"]);
    let lines = sidecar.ready_lines();
    assert_eq!(lines.len(), 2, "{lines:?}");
    let port: u16 = lines[0].parse().unwrap();
    for address in ("localhost", port).to_socket_addrs().unwrap() {
        if TcpListener::bind((address.ip(), 0)).is_ok() {
            TcpStream::connect(address).unwrap();
        }
    }
    sidecar.finish().expect_code(0);
}

#[test]
fn tail_prints_events_as_json_lines() {
    let mut sidecar = Sidecar::wrap_echo(&[]);
    let address = format!("127.0.0.1:{}", sidecar.port());
    let tail = Sidecar::command(&["tail", &address]).start();
    sidecar.write("TELEMETRY:{\"event\": \"a.b\", \"measurements\": {\"x\": 1.5}, \"timestamp_ns\": 7}\n");
    let expected = "{\"event\": \"a.b\", \"measurements\": {\"x\": 1.5}, \"metadata\": {}, \
                    \"timestamp_ns\": 7, \"correlation_id\": \"\"}\n";
    assert_eq!(tail.wait_for_stdout(expected.len()), expected);
    sidecar.finish().expect_code(0);
    tail.finish().expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grpc_timeout_does_not_end_the_stream() {
    let mut sidecar = Sidecar::wrap(
        &[],
        "for i in 1 2 3 4 5 6; do echo 'TELEMETRY:{\"event\":\"a\"}' >&2; sleep 0.5; done",
    );
    let mut stream = RawStream::open(sidecar.port(), "1S", 1 << 30);
    let everything = stream.read_to_end();
    // The stream continued for three seconds.
    assert_eq!(everything.messages, 6, "{everything:?}");
    assert!(everything.ended_with_trailers, "{everything:?}");
    drop(stream);
    assert_eq!(sidecar.wait().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_serving_and_an_open_watch_does_not_delay_the_exit() {
    let mut sidecar = Sidecar::wrap_echo(&["--drain-timeout", "600s"]);
    let mut health = HealthClient::new(sidecar.channel().await);
    for service in ["", "snakepit.bridge.BridgeService", "telemetry_sidecar.v1.Sidecar"] {
        let request = HealthCheckRequest { service: service.into() };
        let response = health.check(request.clone()).await.unwrap().into_inner();
        assert_eq!(
            response.status(),
            tonic_health::pb::health_check_response::ServingStatus::Serving,
            "{service}"
        );
        let mut watch = health.watch(request).await.unwrap().into_inner();
        assert!(watch.message().await.unwrap().is_some());
        std::mem::forget(watch);
    }
    assert_eq!(sidecar.wait().code(), Some(0));
}

#[test]
fn connections_without_a_subscription_do_not_delay_the_exit() {
    let mut sidecar = Sidecar::wrap_echo(&["--drain-timeout", "600s"]);
    let port = sidecar.port();
    let silent = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut half_a_preface = TcpStream::connect(("127.0.0.1", port)).unwrap();
    half_a_preface.write_all(&PREFACE[..10]).unwrap();
    let mut no_http = TcpStream::connect(("127.0.0.1", port)).unwrap();
    no_http.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut idle = TcpStream::connect(("127.0.0.1", port)).unwrap();
    idle.write_all(PREFACE).unwrap();
    assert_eq!(sidecar.wait().code(), Some(0));
    drop((silent, half_a_preface, no_http, idle));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_that_never_reads_delays_the_exit_by_the_drain_timeout_at_most() {
    let mut sidecar = Sidecar::wrap_echo(&["-v", "--drain-timeout", "300ms"]);
    let subscriber = sidecar.subscribe().await;
    // More than fits in a client's windows.
    for count in 0..4_000 {
        sidecar.write(line("a", count, &format!("{:0>1000}", 0)));
    }
    let finished = sidecar.finish();
    assert!(finished.expect_code(0).stderr().contains("drain timeout expired"), "{}", finished.describe());
    drop(subscriber);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_the_drain_with_the_status_of_the_worker() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let mut sidecar = Sidecar::wrap(&["-v", "--drain-timeout", "600s"], "cat >&2; exit 9");
        let subscriber = sidecar.subscribe().await;
        for count in 0..4_000 {
            sidecar.write(line("a", count, &format!("{:0>1000}", 0)));
        }
        sidecar.end_worker().await;
        sidecar.signal(signal);
        sidecar.finish().expect_code(9);
        drop(subscriber);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_subscriber_receives_all_queued_events() {
    let mut sidecar = Sidecar::wrap_echo(&["--drain-timeout", "600s", "--queue-capacity", "100000"]);
    let mut stream = RawStream::open(sidecar.port(), "5S", 1 << 30);
    for count in 0..2_000 {
        sidecar.write(line("a", count, &format!("{:0>1000}", 0)));
    }
    // Reading starts after the worker has exited.
    sidecar.end_worker().await;
    let everything = stream.read_to_end();
    assert_eq!(everything.messages, 2_000, "{everything:?}");
    assert!(everything.ended_with_trailers, "{everything:?}");
    drop(stream);
    assert_eq!(sidecar.wait().code(), Some(0));
}

#[test]
fn the_exit_is_immediate_without_clients() {
    // The drain timeout is longer than the test's: waiting for it would fail.
    run(&["-q", "--drain-timeout", "600s", "--", "sh", "-c", "echo 'TELEMETRY:{\"event\":\"a\"}' >&2"])
        .expect_code(0);
}
