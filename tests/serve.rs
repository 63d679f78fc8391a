//! Serving: what a subscriber gets, how streams end, and that no client delays the exit.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod support;

use nix::sys::signal::Signal;
use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Instant,
};
use support::{PATIENCE, Sidecar, Subscriber, connect, line, run, wait_for};
use telemetry_sidecar::proto::bridge::{
    TelemetryEventFilter, TelemetryValue, telemetry_control::Control, telemetry_value::Value,
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

/// What HTTP/2 starts with, and an empty SETTINGS frame.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_gets_what_the_worker_prints_and_the_stream_ends_with_ok() {
    let mut sidecar = Sidecar::wrap_echo(&[]);
    // Headers come though the worker is silent: opening would wait for them.
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
async fn events_that_came_before_wait_for_the_first_subscriber_even_after_the_end() {
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
async fn starting_state_comes_from_the_command_line() {
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
    let is_off = |status: &telemetry_sidecar::proto::sidecar::GetStatusResponse| {
        status.subscribers.first().is_some_and(|subscriber| subscriber.switched_off == 1)
    };
    wait_for("an event to be switched off", async || sidecar.status().await, is_off).await;
    drop(subscriber);
    sidecar.finish().expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_too_long_to_read_is_refused_and_the_next_one_applied() {
    let mut sidecar = Sidecar::wrap_echo(&[]);
    let mut subscriber = sidecar.subscribe().await;
    let deny = |glob: String| Control::Filter(TelemetryEventFilter { allow: vec![], deny: vec![glob] });
    subscriber.control(deny("x".repeat(6_000_000))).await;
    subscriber.control(deny("a".into())).await;
    let both = |status: &telemetry_sidecar::proto::sidecar::GetStatusResponse| {
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
async fn a_unix_socket_serves_the_same() {
    let mut sidecar = Sidecar::wrap_echo(&["--listen", "127.0.0.1:0", "--listen", "unix:{dir}/s"]);
    let address = sidecar.ready_lines()[1].clone();
    let mut over_unix = Subscriber::open(connect(&address).await).await;
    let mut over_tcp = sidecar.subscribe().await;
    sidecar.write(line("a", 1, ""));
    assert_eq!(over_unix.next().await, over_tcp.next().await);
    drop((over_unix, over_tcp));
    sidecar.finish().expect_code(0);
}

#[test]
fn tail_prints_events_as_json_lines() {
    let mut sidecar = Sidecar::wrap_echo(&[]);
    let address = format!("127.0.0.1:{}", sidecar.port());
    let tail = Sidecar::command(&["tail", &address]).start();
    sidecar.write("TELEMETRY:{\"event\": \"a.b\", \"measurements\": {\"x\": 1.5}, \"timestamp_ns\": 7}\n");
    let expected = "{\"event\": \"a.b\", \"measurements\": {\"x\": 1.5}, \"metadata\": {}, \"timestamp_ns\": 7, \
                    \"correlation_id\": \"\"}\n";
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
    let mut stream = RawStream::open(sidecar.port(), "1S");
    let everything = stream.read_to_end();
    // It went on for three seconds.
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
    // More than a client's windows hold.
    for count in 0..4_000 {
        sidecar.write(line("a", count, &format!("{:0>1000}", 0)));
    }
    let finished = sidecar.finish();
    assert!(finished.expect_code(0).stderr().contains("drain timeout is over"), "{}", finished.describe());
    drop(subscriber);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_the_draining_at_once_with_the_workers_status() {
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
async fn a_slow_reader_gets_everything_that_was_queued() {
    let mut sidecar = Sidecar::wrap_echo(&["--drain-timeout", "600s", "--queue-capacity", "100000"]);
    let mut stream = RawStream::open(sidecar.port(), "5S");
    for count in 0..2_000 {
        sidecar.write(line("a", count, &format!("{:0>1000}", 0)));
    }
    // The reader starts only when the worker is gone.
    sidecar.end_worker().await;
    let everything = stream.read_to_end();
    assert_eq!(everything.messages, 2_000, "{everything:?}");
    assert!(everything.ended_with_trailers, "{everything:?}");
    drop(stream);
    assert_eq!(sidecar.wait().code(), Some(0));
}

#[test]
fn the_exit_waits_for_nothing_when_there_is_nothing_to_wait_for() {
    // A drain timeout longer than the test's patience: waiting for it would fail.
    run(&["-q", "--drain-timeout", "600s", "--", "sh", "-c", "echo 'TELEMETRY:{\"event\":\"a\"}' >&2"])
        .expect_code(0);
}

/// A client that speaks just enough HTTP/2 to open a stream and to read when it wants to.
struct RawStream(TcpStream);

/// What a stream brought.
#[derive(Debug, Default)]
struct Everything {
    messages: usize,
    ended_with_trailers: bool,
}

impl RawStream {
    /// Opens StreamTelemetry with this `grpc-timeout`, windows of 2^30 bytes, and waits for nothing.
    fn open(port: u16, grpc_timeout: &str) -> Self {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut headers = vec![0x83, 0x86]; // :method POST, :scheme http
        let fields = [
            (":path", "/snakepit.bridge.BridgeService/StreamTelemetry"),
            (":authority", "localhost"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            ("grpc-timeout", grpc_timeout),
        ];
        for (name, value) in fields {
            headers.push(0); // literal without indexing, new name
            for text in [name, value] {
                headers.push(u8::try_from(text.len()).unwrap());
                headers.extend_from_slice(text.as_bytes());
            }
        }
        let window = (1u32 << 30).to_be_bytes();
        let settings = [&[0, 4][..], &window].concat(); // SETTINGS_INITIAL_WINDOW_SIZE
        stream.write_all(&PREFACE[..24]).unwrap();
        write_frame(&mut stream, 4, 0, 0, &settings);
        write_frame(&mut stream, 8, 0, 0, &window); // WINDOW_UPDATE of the connection
        write_frame(&mut stream, 1, 4, 1, &headers); // HEADERS, END_HEADERS
        // Headers come back: it is subscribed.
        while read_frame(&mut stream).is_some_and(|frame| frame.kind != 1) {}
        Self(stream)
    }

    fn read_to_end(&mut self) -> Everything {
        let mut everything = Everything::default();
        let mut data = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        while let Some(frame) = read_frame(&mut self.0) {
            assert!(Instant::now() < deadline, "the stream does not end: {everything:?}");
            match frame.kind {
                0 => data.extend(frame.payload),
                1 => {
                    everything.ended_with_trailers = frame.flags & 1 == 1;
                    break;
                }
                _ => {}
            }
        }
        let mut rest = &data[..];
        while let Some((prefix, after)) = rest.split_first_chunk::<5>() {
            let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
            rest = &after[length..];
            everything.messages += 1;
        }
        everything
    }
}

struct RawFrame {
    kind: u8,
    flags: u8,
    payload: Vec<u8>,
}

fn write_frame(stream: &mut TcpStream, kind: u8, flags: u8, id: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [&length[1..], &[kind, flags], &id.to_be_bytes()].concat();
    stream.write_all(&[&head[..], payload].concat()).unwrap();
}

/// The next frame, or nothing at the connection's end. A ping is answered.
fn read_frame(stream: &mut TcpStream) -> Option<RawFrame> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; length as usize];
    stream.read_exact(&mut payload).unwrap();
    if head[3] == 6 && head[4] & 1 == 0 {
        write_frame(stream, 6, 1, 0, &payload);
    }
    Some(RawFrame { kind: head[3], flags: head[4], payload })
}
