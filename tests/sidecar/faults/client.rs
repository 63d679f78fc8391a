//! Failing clients. The worker is never affected.

use super::long;
use crate::support::{
    BINARY, Sidecar, Status, StatusClient, Subscriber, TIMEOUT, connect,
    http2::{PREFACE, RawStream, read_frame, write_frame},
    line, wait_for, wait_until,
};
use nix::{
    sys::{
        signal::{Signal, kill},
        socket::{setsockopt, sockopt::Linger},
    },
    unistd::Pid,
};
use std::{
    io::{BufRead as _, Read as _, Write as _},
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use telemetry_sidecar::event::proto::{
    bridge::{
        TelemetryControl, TelemetryEventFilter, TelemetrySamplingUpdate,
        bridge_service_client::BridgeServiceClient, telemetry_control::Control,
    },
    sidecar::Consumer,
};

/// Events so long that a client that does not read cannot buffer them in its windows.
fn long_events(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|number| line("a", number, &format!("{number:0>1000}")))
}

/// `tail` as a client that can be stopped; killed when dropped.
struct Tail {
    process: Option<Child>,
    /// Its subscriber id in the hub.
    id: u64,
}

impl Tail {
    async fn start(sidecar: &Sidecar) -> Self {
        let mut command = Command::new(BINARY);
        command.args(["tail", &format!("127.0.0.1:{}", sidecar.port())]);
        let process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let subscribed = |status: &Status| status.subscribers.len() == 1;
        let status = wait_for("the client", async || sidecar.status().await, subscribed).await;
        Self { process: Some(process), id: status.subscribers[0].id }
    }

    fn signal(&self, signal: Signal) {
        let id = self.process.as_ref().unwrap().id();
        kill(Pid::from_raw(i32::try_from(id).unwrap()), signal).unwrap();
    }

    /// Resumes the client and waits for its end. Returns whether it succeeded, and the number of events
    /// printed.
    fn finish(mut self) -> (bool, u64) {
        self.signal(Signal::SIGCONT);
        let output = self.process.take().unwrap().wait_with_output().unwrap();
        (output.status.success(), output.stdout.lines().count() as u64)
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// The counters of a connected subscriber.
fn find(status: &Status, id: u64) -> Option<&Consumer> {
    status.subscribers.iter().find(|consumer| consumer.id == id)
}

/// How long a client is stopped.
fn stall() -> Duration {
    Duration::from_secs(if long() { 60 } else { 1 })
}

/// What [`stream_to_another`] needs: an exporter, and no event that waits for the next one.
const EACH_AT_ONCE: &[&str] = &["--flush-interval", "0s", "--export-jsonl", "/dev/null"];

/// Writes one event at a time while `more` returns true, each after another subscriber has received the one
/// before. That subscriber and the exporter receive all of them. Returns the number of events, and the
/// status.
async fn stream_to_another(
    sidecar: &mut Sidecar,
    mut more: impl AsyncFnMut(&Sidecar) -> bool,
) -> (u64, Status) {
    let mut other = sidecar.subscribe().await;
    let mut written = 0;
    while more(sidecar).await {
        for event in long_events(100) {
            sidecar.write(event);
            other.next().await;
        }
        written += 100;
    }
    let exported = |status: &Status| status.exporters[0].delivered == written;
    let status = wait_for("the exporter", async || sidecar.status().await, exported).await;
    let another = status.subscribers.last().unwrap();
    assert_eq!((another.offered, another.delivered), (written, written), "{status:#?}");
    (written, status)
}

/// A client is stopped (for a minute with `FAULTS_LONG`) without keepalive. Worker: unaffected. The client,
/// after it is resumed: the events in its queue, and the end with OK. Others: every event without delay.
/// Counters: its lost events are dropped.
#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_client() {
    let mut sidecar = Sidecar::wrap_echo(&[EACH_AT_ONCE, &["--keepalive-interval", "0s"]].concat());
    let tail = Tail::start(&sidecar).await;
    tail.signal(Signal::SIGSTOP);
    let start = Instant::now();
    let goes_on = async |sidecar: &Sidecar| {
        // Events in its socket buffer count as delivered.
        let is_full = find(&sidecar.status().await, tail.id).unwrap().dropped > 0;
        start.elapsed() < stall() || !is_full
    };
    let (written, _) = stream_to_another(&mut sidecar, goes_on).await;

    let id = tail.id;
    let reading = std::thread::spawn(|| tail.finish());
    let drained = |status: &Status| find(status, id).unwrap().queued == 0;
    let status = wait_for("the queue to drain", async || sidecar.status().await, drained).await;
    let counters = find(&status, id).unwrap();
    assert_eq!(counters.offered, written, "{counters:#?}");
    sidecar.finish().expect_code(0);
    assert_eq!(reading.join().unwrap(), (true, counters.delivered));
}

/// The same with keepalive, which by default takes 30 seconds and 20 seconds. Worker: unaffected. The client,
/// after it is resumed: the events in its socket buffer, and an error. Others: every event without delay.
/// Counters: its lost events are dropped, the queued ones abandoned.
#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_client_is_disconnected_by_keepalive() {
    let soon: &[&str] = &["--keepalive-interval", "100ms"];
    let options = [if long() { &[] } else { soon }, EACH_AT_ONCE].concat();
    let mut sidecar = Sidecar::wrap_echo(&options);
    let tail = Tail::start(&sidecar).await;
    tail.signal(Signal::SIGSTOP);
    let start = Instant::now();
    let goes_on = async |sidecar: &Sidecar| {
        assert!(start.elapsed() < stall() + TIMEOUT, "it is still there");
        start.elapsed() < stall() || find(&sidecar.status().await, tail.id).is_some()
    };
    let (written, status) = stream_to_another(&mut sidecar, goes_on).await;

    let counters = status.departed.clone().unwrap();
    assert_eq!((status.departed_count, find(&status, tail.id)), (1, None));
    assert!(
        counters.dropped > 0 && counters.abandoned > 0 && counters.offered <= written,
        "{written}: {counters:#?}"
    );
    let (content, printed) = tail.finish();
    assert!(!content && printed <= counters.delivered, "{printed} of {counters:#?}");
    sidecar.finish().expect_code(0);
}

/// A client that is killed or resets its connection is disconnected, and its queued events are abandoned.
#[tokio::test(flavor = "multi_thread")]
async fn a_reset() {
    let mut sidecar = Sidecar::wrap_echo(&[]);
    let stream = RawStream::open(sidecar.port(), "5S", 1 << 16);
    long_events(1_000).for_each(|event| sidecar.write(event));
    let read = |status: &Status| status.stream.unwrap().events == 1_000;
    wait_for("all to be read", async || sidecar.status().await, read).await;
    setsockopt(&stream.0, Linger, &nix::libc::linger { l_onoff: 1, l_linger: 0 }).unwrap();
    drop(stream);
    let disconnected = |status: &Status| status.subscribers.is_empty();
    let status = wait_for("it to disconnect", async || sidecar.status().await, disconnected).await;
    let departed = status.departed.unwrap();
    assert!(departed.abandoned > 100 && departed.offered == 1_000, "{departed:#?}");
    sidecar.finish().expect_code(0);
}

/// With a window of zero nothing is sent; memory is bounded by the queue, the exit by the drain timeout.
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

/// Thousands of short connections leave nothing behind.
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
    wait_until("descriptors to be closed", || open() <= before + 2);
    status.get().await;
    sidecar.finish().expect_code(0);
}

/// Floods of controls are applied in order, refused ones are counted, and other subscribers are not delayed.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_controls() {
    // Each control costs eleven, by its length and its patterns: about ninety are applied in a second.
    let count = if long() { 3_000 } else { 300 };
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

/// Garbage instead of HTTP/2, or an unfinished preface: the connection is closed or ignored, and nothing is
/// delayed.
#[tokio::test(flavor = "multi_thread")]
async fn clients_of_other_protocols() {
    let mut sidecar = Sidecar::wrap_echo(&["--drain-timeout", "600s"]);
    let port = sidecar.port();
    let speak = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.write_all(bytes).unwrap();
        stream
    };
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xFF; 500], &[PREFACE, &[0xFF; 100]].concat()] {
        // The answer is at most a GOAWAY, then the end.
        let mut stream = speak(garbage);
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        let ended = stream.read_to_end(&mut Vec::new());
        assert!(!ended.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock), "{garbage:?}");
    }
    // Prefixes of the preface, never the complete one.
    let slow: Vec<_> = (0..50).map(|number| speak(&PREFACE[..number % PREFACE.len()])).collect();
    let mut subscriber = sidecar.subscribe().await;
    sidecar.write(line("a", 1, ""));
    subscriber.next().await;
    drop(subscriber);
    sidecar.finish().expect_code(0);
    drop(slow);
}

/// Unknown paths and headers of a megabyte: only that stream or connection fails.
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

/// A client that closes its control side at once still receives all events.
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

/// A client disconnects exactly when the worker exits: in either order the exit is prompt and has the
/// worker's status.
#[tokio::test(flavor = "multi_thread")]
async fn leaving_at_the_workers_end() {
    for delay in 0..30u64 {
        let mut sidecar = Sidecar::wrap(&["--drain-timeout", "600s"], "cat >&2; exit 4");
        let subscriber: Subscriber = sidecar.subscribe().await;
        sidecar.write(line("a", 1, ""));
        let leave = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_micros(delay * 100)).await;
            drop(subscriber);
        });
        tokio::task::block_in_place(|| sidecar.finish()).expect_code(4);
        leave.await.unwrap();
    }
}

/// Endless pings and settings are answered or refused, and do not delay other clients.
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
