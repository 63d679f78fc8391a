//! For all bytes of a peer: the connection ends after the peer's last byte, no subscription is left, and the
//! counters add up. The server is the real one, on a Unix socket. The first byte of the input selects what is
//! sent before the rest: nothing, the HTTP/2 preface, or a subscription.

#![no_main]

#[path = "../../tests/support/http2.rs"]
#[allow(dead_code, reason = "tests use the rest of it")]
mod http2;

use http2::{END_HEADERS, HEADERS, PREFACE, frame, stream_telemetry};
use libfuzzer_sys::fuzz_target;
use std::{
    io::{Read as _, Write as _},
    net::Shutdown,
    os::unix::net::UnixStream,
    path::PathBuf,
    sync::{Arc, LazyLock},
    thread,
    time::{Duration, Instant},
};
use telemetry_sidecar::{
    control::Controls,
    event::{
        batch::{BatchBuilder, Event},
        stats::StreamStats,
    },
    grpc::{
        auth::{Access, AccessFiles},
        limits::ClientLimits,
        server::Server,
    },
    hub::{Hub, Limits, WhenFull},
    net::{address::Address, listener::Listener, unix_socket::SocketMode},
    pipeline::output::{Context, Drain, Mode, channel},
    system::{own_file::OwnFile, value::Period},
};

/// The timeout of every wait.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The server's hub and address.
struct Served {
    hub: Arc<Hub>,
    path: PathBuf,
    /// Dropping it would remove the socket file.
    _file: Option<OwnFile>,
}

static SERVED: LazyLock<Served> = LazyLock::new(|| {
    let limits = Limits { events: 16, bytes: 64 * 1024, when_full: WhenFull::DropOldest };
    let hub = Hub::new(Controls::default(), limits);
    let path = std::env::temp_dir().join(format!("telemetry-sidecar-fuzz-{}", std::process::id()));
    let address = Address::Unix(path.clone()).resolve().expect("a unix socket has no name to resolve");
    let mut listener = Listener::bind(&address, SocketMode::default()).expect("bind");
    let file = listener.take_file();
    let server = Server {
        listeners: vec![listener],
        access: Access::load(AccessFiles::default()).expect("no files"),
        limits: ClientLimits {
            connections: 16,
            subscribers: 8,
            handshake_timeout: Period(TIMEOUT),
            keepalive_interval: Period(Duration::ZERO),
        },
        snakepit: None,
        upstream: None,
    };
    let drain = Drain::Within(TIMEOUT);
    let context = Context::new(Arc::clone(&hub), Mode::Replay, drain, Duration::ZERO);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    // Nothing waits for the end.
    let (done, _) = channel("grpc");
    thread::spawn(move || runtime.block_on(server.serve(&context, done)));
    Served { hub, path, _file: file }
});

fuzz_target!(|data: &[u8]| {
    let Served { hub, path, .. } = &*SERVED;
    let Some((first, rest)) = data.split_first() else { return };
    let before = match first % 3 {
        0 => Vec::new(),
        1 => PREFACE.to_vec(),
        _ => [PREFACE, &frame(HEADERS, END_HEADERS, 1, &stream_telemetry(&[]))].concat(),
    };
    let mut stream = UnixStream::connect(path).expect("connect");
    stream.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
    stream.set_write_timeout(Some(TIMEOUT)).expect("a timeout");
    // The server may have closed the connection already.
    let _ = stream.write_all(&[&before[..], rest].concat());
    let mut batch = BatchBuilder::default();
    let event = Event { name: b"a.b", correlation_id: b"", timestamp_ns: 1, timestamp_given: true };
    assert!(batch.push(b"\x0a\x01a\x0a\x01b\x20\x01", event));
    hub.publish(batch.take(), &StreamStats::default());
    let _ = stream.shutdown(Shutdown::Write);
    match stream.read_to_end(&mut Vec::new()) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("the connection does not end"),
        _ => {}
    }
    let start = Instant::now();
    while !hub.snapshot().subscribers.is_empty() {
        assert!(start.elapsed() < TIMEOUT, "a subscription stays: {:?}", hub.snapshot());
        thread::yield_now();
    }
    assert!(hub.snapshot().balances(), "{:?}", hub.snapshot());
});
