//! Limits on clients: each is exceeded by one client, and others are not affected.

mod queues;
mod unfinished;

use crate::support::{
    Sidecar, StatusClient, TIMEOUT,
    http2::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, PING, PREFACE, RST_STREAM,
        SETTINGS, dial, frame, read_frame, stream_telemetry, write_frame,
    },
    line, wait_for,
};
use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};
use telemetry_sidecar::event::proto::{
    bridge::{
        TelemetryControl, TelemetryEventFilter, TelemetrySamplingUpdate, TelemetryToggle,
        bridge_service_client::BridgeServiceClient, telemetry_control::Control,
    },
    sidecar::{Consumer, GetStatusResponse},
};
use tonic::{Code, Request, Status};

/// REFUSED_STREAM: the stream may be opened again (RFC 9113, section 7).
const REFUSED_STREAM: u32 = 7;

/// Whether the peer closes or resets the connection.
fn is_closed(mut stream: TcpStream) -> bool {
    let mut scrap = Vec::new();
    match stream.read_to_end(&mut scrap) {
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

/// Reads up to the first frame that satisfies the condition; answers pings.
fn read_until(stream: &mut TcpStream, wanted: impl Fn(&Frame) -> bool) -> Frame {
    loop {
        let frame = read_frame(stream).expect("the connection was closed");
        if frame.is_question() {
            write_frame(stream, PING, 1, 0, &frame.payload);
        }
        if wanted(&frame) {
            return frame;
        }
    }
}

/// A telemetry stream on a raw connection.
fn open_stream(port: u16) -> TcpStream {
    let mut stream = dial(port);
    stream.write_all(PREFACE).unwrap();
    write_frame(&mut stream, HEADERS, END_HEADERS, 1, &stream_telemetry(&[]));
    read_until(&mut stream, |frame| frame.kind == HEADERS);
    stream
}

async fn refusal(sidecar: &Sidecar, header: &str) -> Status {
    let mut request = Request::new(tokio_stream::pending::<TelemetryControl>());
    request.metadata_mut().insert("x-header", header.parse().unwrap());
    BridgeServiceClient::new(sidecar.channel().await).stream_telemetry(request).await.unwrap_err()
}

fn filter(allow: Vec<String>) -> Control {
    Control::Filter(TelemetryEventFilter { allow, deny: vec![] })
}

/// Waits until these numbers of controls were applied and refused.
async fn wait_for_controls(status: &mut StatusClient, applied: u64, refused: u64) -> Consumer {
    let seen = |status: &GetStatusResponse| {
        status.subscribers.first().is_some_and(|subscriber| {
            (subscriber.controls_applied, subscriber.controls_refused) == (applied, refused)
        })
    };
    wait_for("the controls to be seen", async || status.get().await, seen).await.subscribers.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_over_the_limit_is_closed_until_another_closes() {
    let sidecar = Sidecar::wrap_echo(&["-vv", "--max-connections", "2"]);
    let port = sidecar.port();
    let (first, second) = (open_stream(port), open_stream(port));
    assert!(is_closed(dial(port)));
    sidecar.wait_for_stderr("closed: --max-connections is reached");
    drop(first);
    let is_served = async || {
        let mut stream = dial(port);
        stream.write_all(PREFACE).is_ok() && read_frame(&mut stream).is_some()
    };
    wait_for("a place", is_served, |served| *served).await;
    drop(second);
    sidecar.finish().expect_code(0);
}

#[test]
fn a_stream_over_the_limit_of_a_connection_is_refused() {
    let sidecar = Sidecar::wrap_echo(&[]);
    let mut stream = dial(sidecar.port());
    stream.write_all(PREFACE).unwrap();
    let settings = read_until(&mut stream, |frame| frame.kind == SETTINGS).payload;
    assert!(settings.chunks(6).any(|setting| setting == [0, 3, 0, 0, 0, 100]), "{settings:?}");
    write_frame(&mut stream, SETTINGS, 1, 0, &[]);
    for id in (1..=201).step_by(2) {
        write_frame(&mut stream, HEADERS, END_HEADERS, id, &stream_telemetry(&[]));
    }
    let refused = read_until(&mut stream, |frame| frame.kind == RST_STREAM);
    assert_eq!((refused.id, &*refused.payload), (201, &REFUSED_STREAM.to_be_bytes()[..]));
    drop(stream);
    sidecar.finish().expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_over_the_limit_is_refused_until_another_unsubscribes() {
    let mut sidecar = Sidecar::wrap_echo(&["--max-subscribers", "1"]);
    let subscriber = sidecar.subscribe().await;
    let refused = refusal(&sidecar, "x").await;
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    drop(subscriber);
    let nobody = |status: &GetStatusResponse| status.subscribers.is_empty();
    let status = wait_for("the first to have left", async || sidecar.status().await, nobody).await;
    assert_eq!(status.departed_count, 1);
    let mut subscriber = sidecar.subscribe().await;
    sidecar.write(line("a", 1, ""));
    subscriber.next().await;
    drop(subscriber);
    sidecar.finish().expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn controls_over_the_rate_are_delayed_and_all_applied() {
    let mut sidecar = Sidecar::wrap_echo(&[]);
    let mut status = StatusClient::new(sidecar.channel().await);
    let mut flood = sidecar.subscribe().await;
    let start = Instant::now();
    for _ in 0..3_000 {
        flood.control(Control::Toggle(TelemetryToggle { enabled: true })).await;
    }
    flood.control(filter(vec!["last".into()])).await;
    // Neither another subscriber's controls nor this subscriber's events are delayed.
    let mut other = sidecar.subscribe().await;
    other.control(filter(vec!["b".into()])).await;
    let other_is_done = |status: &GetStatusResponse| status.subscribers[1].controls_applied == 1;
    let books = wait_for("the other's control", async || status.get().await, other_is_done).await;
    let applied = books.subscribers[0].controls_applied;
    // The burst of one second, and one initial control.
    assert!(
        f64::from(u32::try_from(applied).unwrap()) <= 1_001.0 + 1_000.0 * start.elapsed().as_secs_f64(),
        "{applied}"
    );
    sidecar.write([line("a", 1, ""), line("b", 2, ""), line("last", 3, "")].concat());
    assert_eq!(other.next().await.timestamp_ns, 2);

    drop(other);
    wait_for_controls(&mut status, 3_001, 0).await;
    assert!(start.elapsed() >= Duration::from_millis(1_900), "{:?}", start.elapsed());
    sidecar.write([line("c", 4, ""), line("last", 5, "")].concat());
    while flood.next().await.timestamp_ns != 5 {}
    drop(flood);
    sidecar.finish().expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_over_the_pattern_limits_are_refused_and_counted() {
    let mut sidecar = Sidecar::wrap_echo(&[]);
    let mut status = StatusClient::new(sidecar.channel().await);
    let mut subscriber = sidecar.subscribe().await;
    let sampling =
        |event_patterns| Control::Sampling(TelemetrySamplingUpdate { sampling_rate: 0.0, event_patterns });
    let many = vec!["b".to_owned(); 1025];
    let long = vec!["b".to_owned(), "1".repeat(257)];
    let wild = vec!["?".repeat(228); 9];
    for patterns in [many, long, wild] {
        subscriber.control(filter(patterns.clone())).await;
        subscriber.control(sampling(patterns)).await;
    }
    let fitting: Vec<_> =
        (0..1022).map(|index| format!("p{index}")).chain(["b".into(), "1".repeat(256)]).collect();
    subscriber.control(filter(fitting.clone())).await;
    wait_for_controls(&mut status, 1, 6).await;
    sidecar.write([line("a", 1, ""), line("b", 2, "")].concat());
    assert_eq!(subscriber.next().await.timestamp_ns, 2);
    subscriber.control(sampling(fitting)).await;
    subscriber.control(sampling(vec!["d".into()])).await;
    wait_for_controls(&mut status, 2, 7).await;
    drop(subscriber);
    sidecar.finish().expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn oversized_headers_are_refused_and_the_connection_stays_open() {
    let mut sidecar = Sidecar::wrap_echo(&[]);
    let mut stream = dial(sidecar.port());
    stream.write_all(PREFACE).unwrap();
    let value = "z".repeat(120);
    let headers = stream_telemetry(&[("x", &*value); 140]);
    // A frame has 16 KiB at most.
    let (first, rest) = headers.split_at(16_000);
    write_frame(&mut stream, HEADERS, END_STREAM, 1, first);
    write_frame(&mut stream, CONTINUATION, END_HEADERS, 1, rest);
    // Either status 431 or a reset stream.
    let over = read_until(&mut stream, |frame| frame.id == 1);
    assert!(over.kind == RST_STREAM || over.flags & END_STREAM != 0, "{}", over.kind);
    write_frame(&mut stream, HEADERS, END_HEADERS, 3, &stream_telemetry(&[]));
    assert_eq!(read_until(&mut stream, |frame| frame.id == 3).kind, HEADERS);
    sidecar.write(line("a", 1, ""));
    assert_eq!(read_until(&mut stream, |frame| frame.id == 3).kind, DATA);
    drop(stream);
    sidecar.finish().expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_without_a_request_is_closed() {
    let mut sidecar = Sidecar::wrap_echo(&["-vv", "--handshake-timeout", "2s"]);
    let port = sidecar.port();
    let mut subscriber = sidecar.subscribe().await;
    let silent = dial(port);
    let mut half_a_preface = dial(port);
    half_a_preface.write_all(&PREFACE[..10]).unwrap();
    let mut no_settings = dial(port);
    no_settings.write_all(&PREFACE[..24]).unwrap();
    let mut http1 = dial(port);
    http1.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut no_request = dial(port);
    no_request.write_all(PREFACE).unwrap();
    let mut idle = dial(port);
    idle.write_all(PREFACE).unwrap();
    write_frame(&mut idle, SETTINGS, 1, 0, &[]);
    for stream in [silent, half_a_preface, no_settings, http1, no_request] {
        assert!(is_closed(stream));
    }
    // The client may send a request that it is about to send on another connection.
    let goaway = read_until(&mut idle, |frame| frame.kind == GOAWAY);
    assert_eq!(goaway.payload, [0; 8]);
    assert!(is_closed(idle));
    sidecar.wait_for_stderr("handshake timeout expired before a request was admitted");
    // A subscriber may be idle.
    sidecar.write(line("a", 1, ""));
    subscriber.next().await;
    drop(subscriber);
    sidecar.finish().expect_code(0);
}

/// However often it sends one.
#[test]
fn a_connection_whose_requests_are_all_refused_is_closed() {
    let sidecar = Sidecar::command(&[
        "-vv",
        "--ready-file",
        "{dir}/ready",
        "--handshake-timeout",
        "1s",
        "--auth-token-file",
        "{dir}/tokens",
        "--",
        "cat",
    ]);
    std::fs::write(sidecar.path("tokens"), "token\n").unwrap();
    let sidecar = sidecar.start();
    let mut stream = dial(sidecar.port());
    stream.write_all(PREFACE).unwrap();
    for id in (1..).step_by(2) {
        let headers = stream_telemetry(&[("authorization", "Bearer other")]);
        let request = frame(HEADERS, END_HEADERS | END_STREAM, id, &headers);
        if stream.write_all(&request).is_err() || is_refused(&mut stream, id).is_none() {
            break;
        }
    }
    sidecar.wait_for_stderr("handshake timeout expired before a request was admitted");
    sidecar.finish().expect_code(0);
}

/// Reads until a request is answered by trailers alone. `None` if the connection is closed.
fn is_refused(stream: &mut TcpStream, id: u32) -> Option<()> {
    loop {
        let frame = read_frame(stream)?;
        if frame.id == id {
            assert_eq!((frame.kind, frame.flags & END_STREAM), (HEADERS, END_STREAM));
            return Some(());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_answers_no_ping_is_disconnected() {
    let mut sidecar = Sidecar::wrap_echo(&["--keepalive-interval", "100ms", "-vv"]);
    let mut alive = sidecar.subscribe().await;
    let mut dead = open_stream(sidecar.port());
    let only_one = |status: &GetStatusResponse| (status.subscribers.len(), status.departed_count) == (1, 1);
    wait_for("the dead one to be found", async || sidecar.status().await, only_one).await;
    while read_frame(&mut dead).is_some() {}
    sidecar.write(line("a", 1, ""));
    alive.next().await;
    drop(alive);
    sidecar.finish().expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn rapid_resets_close_only_their_own_connection() {
    let mut sidecar = Sidecar::wrap_echo(&[]);
    let mut other = sidecar.subscribe().await;
    let mut rapid = dial(sidecar.port());
    let mut bytes = PREFACE.to_vec();
    for id in (1..20_000).step_by(2) {
        bytes.extend(frame(HEADERS, END_HEADERS, id, &stream_telemetry(&[])));
        bytes.extend(frame(RST_STREAM, 0, id, &8u32.to_be_bytes()));
    }
    // The connection may be closed before everything is sent.
    let _ = rapid.write_all(&bytes);
    assert!(is_closed(rapid));
    sidecar.write(line("a", 1, ""));
    assert_eq!(other.next().await.timestamp_ns, 1);
    drop(other);
    sidecar.finish().expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flooding_client_does_not_starve_another() {
    let mut sidecar = Sidecar::wrap_echo(&["--queue-capacity", "100000"]);
    let mut other = sidecar.subscribe().await;
    let mut flood = open_stream(sidecar.port());
    let mut answers = flood.try_clone().unwrap();
    let reading = std::thread::spawn(move || while read_frame(&mut answers).is_some() {});
    let flooding = std::thread::spawn(move || {
        flood.set_write_timeout(Some(TIMEOUT)).unwrap();
        // Empty controls as far as the window allows, then frames that are always allowed, until the
        // connection ends.
        for _ in 0..60 {
            write_frame(&mut flood, DATA, 0, 1, &[0; 1_000]);
        }
        let pings = frame(PING, 0, 0, &[0; 8]).repeat(100);
        while flood.write_all(&pings).is_ok() {}
    });
    for round in 0..5 {
        sidecar.write((0..100).map(|count| line("a", count, "")).collect::<String>());
        for count in 0..100 {
            assert_eq!(other.next().await.timestamp_ns, count, "round {round}");
        }
    }
    drop(other);
    sidecar.finish().expect_code(0);
    flooding.join().unwrap();
    reading.join().unwrap();
}
