//! Faults of clients. The worker never notices any of them.

use super::long;
use crate::support::{
    Sidecar, Status, StatusClient, Subscriber, connect,
    http2::{PREFACE, RawStream, read_frame, write_frame},
    line, wait_for,
};
use nix::sys::{
    signal::{Signal, kill},
    socket::{setsockopt, sockopt::Linger},
};
use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    process::{Command, Stdio},
};
use telemetry_sidecar::proto::bridge::{
    TelemetryControl, TelemetryEventFilter, TelemetrySamplingUpdate,
    bridge_service_client::BridgeServiceClient, telemetry_control::Control,
};

/// Events too long for a client's windows to hide that it does not read.
fn long_events(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|number| line("a", number, &format!("{number:0>1000}")))
}

/// A client that is stopped for a while loses what does not fit its queue, counted; others get everything meanwhile; it
/// goes on where it was.
#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_client() {
    let mut sidecar = Sidecar::wrap_echo(&[]);
    let address = format!("127.0.0.1:{}", sidecar.port());
    let mut tail = Command::new(crate::support::BINARY);
    let mut tail = tail.args(["tail", &address]).stdout(Stdio::piped()).spawn().unwrap();
    let pid = nix::unistd::Pid::from_raw(i32::try_from(tail.id()).unwrap());
    let subscribed = |status: &Status| status.subscribers.len() == 1;
    let status = wait_for("the client", async || sidecar.status().await, subscribed).await;
    let stopped_id = status.subscribers[0].id;
    kill(pid, Signal::SIGSTOP).unwrap();

    let mut reader = sidecar.subscribe().await;
    let rounds = if long() { 600 } else { 20 };
    for event in long_events(rounds * 500) {
        sidecar.write(event);
        reader.next().await;
    }
    let status = sidecar.status().await;
    let stopped = status.subscribers.iter().find(|consumer| consumer.id == stopped_id).unwrap();
    assert!(stopped.dropped > 0 && stopped.queued > 0, "{stopped:#?}");

    kill(pid, Signal::SIGCONT).unwrap();
    let mut output = tail.stdout.take().unwrap();
    let reading = std::thread::spawn(move || {
        let mut text = String::new();
        output.read_to_string(&mut text).map(|_| text.lines().count() as u64)
    });
    let drained = |status: &Status| status.subscribers.iter().all(|consumer| consumer.queued == 0);
    let status = wait_for("the queue to drain", async || sidecar.status().await, drained).await;
    let stopped = status.subscribers.iter().find(|consumer| consumer.id == stopped_id).unwrap();
    let delivered = stopped.delivered;
    drop(reader);
    sidecar.finish().expect_code(0);
    assert_eq!(reading.join().unwrap().unwrap(), delivered);
    assert!(tail.wait().unwrap().success());
}

/// A client that is killed or resets its connection is gone from the books' present; what it had queued is abandoned.
#[tokio::test(flavor = "multi_thread")]
async fn a_reset() {
    let mut sidecar = Sidecar::wrap_echo(&[]);
    let stream = RawStream::open(sidecar.port(), "5S", 1 << 16);
    long_events(1_000).for_each(|event| sidecar.write(event));
    let read = |status: &Status| status.stream.unwrap().events == 1_000;
    wait_for("all to be read", async || sidecar.status().await, read).await;
    setsockopt(&stream.0, Linger, &nix::libc::linger { l_onoff: 1, l_linger: 0 }).unwrap();
    drop(stream);
    let gone = |status: &Status| status.subscribers.is_empty();
    let status = wait_for("it to be gone", async || sidecar.status().await, gone).await;
    let departed = status.departed.unwrap();
    assert!(departed.abandoned > 100 && departed.offered == 1_000, "{departed:#?}");
    sidecar.finish().expect_code(0);
}

/// A window of nothing: nothing is sent, memory is bounded by the queue, the exit by the drain timeout.
#[tokio::test(flavor = "multi_thread")]
async fn a_window_of_zero() {
    let mut sidecar = Sidecar::wrap_echo(&["--queue-bytes", "1000000", "--drain-timeout", "200ms"]);
    let stream = RawStream::open(sidecar.port(), "5S", 0);
    long_events(20_000).for_each(|event| sidecar.write(event));
    let read = |status: &Status| status.stream.unwrap().events == 20_000;
    let status = wait_for("all to be read", async || sidecar.status().await, read).await;
    let consumer = &status.subscribers[0];
    assert!(consumer.queued_bytes <= 1_000_000 && consumer.dropped > 18_000, "{consumer:#?}");
    let memory = super::worker::peak_memory_kib(&sidecar);
    assert!(memory < 40 * 1024, "{memory} KiB");
    sidecar.finish().expect_code(0);
    drop(stream);
}

/// Thousands of connections that come and go leave nothing behind.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_visits() {
    let sidecar = Sidecar::wrap_echo(&[]);
    let mut status = StatusClient::new(sidecar.channel().await);
    status.get().await;
    let port = sidecar.port();
    let open = || std::fs::read_dir(format!("/proc/{}/fd", sidecar.pid())).unwrap().count();
    let before = open();
    for number in 0..if long() { 10_000 } else { 2_000 } {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        if number % 2 == 0 {
            stream.write_all(PREFACE).unwrap();
        }
    }
    crate::support::wait_until("descriptors to be closed", || open() <= before + 2);
    status.get().await;
    sidecar.finish().expect_code(0);
}

/// Floods of controls are applied in order, refused ones counted, and another subscriber gets its events meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_controls() {
    let count = if long() { 100_000 } else { 300 };
    let mut sidecar = Sidecar::wrap_echo(&[]);
    let mut other = sidecar.subscribe().await;
    let patterns = |number: u64| vec![format!("*a*b*c*{number}*"); 100];
    let controls = (0..count).map(|number| match number % 2 {
        0 => Control::Filter(TelemetryEventFilter { allow: patterns(number), deny: Vec::new() }),
        _ => Control::Sampling(TelemetrySamplingUpdate {
            sampling_rate: f64::NAN,
            event_patterns: patterns(number),
        }),
    });
    let controls = controls.map(|control| TelemetryControl { control: Some(control) });
    let mut client = BridgeServiceClient::new(sidecar.channel().await);
    let flood = client.stream_telemetry(tokio_stream::iter(controls.collect::<Vec<_>>())).await.unwrap();
    for event in long_events(1_000) {
        sidecar.write(event);
        other.next().await;
    }
    let counted = |status: &Status| {
        status
            .subscribers
            .iter()
            .any(|consumer| consumer.controls_applied + consumer.controls_refused == count)
    };
    let status = wait_for("all controls", async || sidecar.status().await, counted).await;
    assert_eq!(status.subscribers[1].controls_refused, count / 2);
    drop(flood);
    drop(other);
    sidecar.finish().expect_code(0);
}

/// Garbage instead of HTTP/2, or half of what is expected and then silence: closed or left alone, and no one is delayed.
#[tokio::test(flavor = "multi_thread")]
async fn strangers() {
    let mut sidecar = Sidecar::wrap_echo(&["--drain-timeout", "600s"]);
    let port = sidecar.port();
    let speak = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.write_all(bytes).unwrap();
        stream
    };
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xFF; 500], &[PREFACE, &[0xFF; 100]].concat()] {
        // The answer is a GOAWAY at most, then the end.
        let mut stream = speak(garbage);
        stream.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
        let ended = stream.read_to_end(&mut Vec::new());
        assert!(!ended.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock), "{garbage:?}");
    }
    // One byte at a time, and never the last.
    let slow: Vec<_> = (0..50).map(|number| speak(&PREFACE[..number % PREFACE.len()])).collect();
    let mut subscriber = sidecar.subscribe().await;
    sidecar.write(line("a", 1, ""));
    subscriber.next().await;
    drop(subscriber);
    sidecar.finish().expect_code(0);
    drop(slow);
}

/// Paths that nobody serves, and headers of a megabyte: an error for that stream or connection alone.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_paths_and_huge_headers() {
    let sidecar = Sidecar::wrap_echo(&[]);
    let channel = sidecar.channel().await;
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let path = http::uri::PathAndQuery::from_static("/snakepit.bridge.BridgeService/NoSuchThing");
    let codec = tonic_prost::ProstCodec::<TelemetryControl, TelemetryControl>::default();
    let answer = client.unary(tonic::Request::new(TelemetryControl::default()), path, codec).await;
    assert_eq!(answer.unwrap_err().code(), tonic::Code::Unimplemented);

    let mut request = tonic::Request::new(tokio_stream::empty());
    request.metadata_mut().insert("huge", "x".repeat(1_000_000).parse().unwrap());
    let other = connect(&format!("http://127.0.0.1:{}", sidecar.port())).await;
    assert!(BridgeServiceClient::new(other).stream_telemetry(request).await.is_err());
    StatusClient::new(channel).get().await;
    sidecar.finish().expect_code(0);
}

/// A client that closes its control side at once gets its events all the same, to the end.
#[tokio::test(flavor = "multi_thread")]
async fn controls_closed_at_once() {
    let mut sidecar = Sidecar::wrap_echo(&[]);
    let mut client = BridgeServiceClient::new(sidecar.channel().await);
    let mut events = client.stream_telemetry(tokio_stream::empty()).await.unwrap().into_inner();
    for number in 0..100 {
        sidecar.write(line("a", number, ""));
        assert!(events.message().await.unwrap().is_some());
    }
    sidecar.close_stdin();
    assert!(events.message().await.unwrap().is_none());
    sidecar.finish().expect_code(0);
}

/// Leaving exactly when the worker ends: whichever comes first, the exit status is the worker's, and prompt.
#[tokio::test(flavor = "multi_thread")]
async fn leaving_at_the_workers_end() {
    for delay in 0..30u64 {
        let mut sidecar = Sidecar::wrap(&["--drain-timeout", "600s"], "cat >&2; exit 4");
        let subscriber: Subscriber = sidecar.subscribe().await;
        sidecar.write(line("a", 1, ""));
        let leave = tokio::spawn(async move {
            tokio::time::sleep(std::time::Duration::from_micros(delay * 100)).await;
            drop(subscriber);
        });
        tokio::task::block_in_place(|| sidecar.finish()).expect_code(4);
        leave.await.unwrap();
    }
}

/// Pings and settings without end are answered or refused, and do not keep others waiting.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_pings() {
    let mut sidecar = Sidecar::wrap_echo(&[]);
    let mut other = sidecar.subscribe().await;
    let mut stream = TcpStream::connect(("127.0.0.1", sidecar.port())).unwrap();
    stream.write_all(PREFACE).unwrap();
    let mut answers = stream.try_clone().unwrap();
    let reading = std::thread::spawn(move || while read_frame(&mut answers).is_some() {});
    for number in 0..2_000 {
        write_frame(&mut stream, 6, 0, 0, &[0; 8]);
        if number % 100 == 0 {
            sidecar.write(line("a", number, ""));
            other.next().await;
        }
    }
    stream.shutdown(std::net::Shutdown::Both).unwrap();
    reading.join().unwrap();
    drop(other);
    sidecar.finish().expect_code(0);
}
