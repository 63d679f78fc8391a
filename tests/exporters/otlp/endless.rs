//! The OTLP exporter of the binary with servers that never complete an answer. Whatever they do, each
//! finished span is counted at the exit, and the exporter's thread is not kept busy.

use super::{
    collector::Protocol,
    exporting::{counters, span, wrap},
};
use crate::support::{
    Sidecar,
    http2::{DATA, END_HEADERS, GOAWAY, HEADERS, PING, SETTINGS, WINDOW_UPDATE, frame},
    wait_until,
};
use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

/// They mostly wait.
const IN_PARALLEL: usize = 6;

/// What the log says about an attempt.
const LIMIT: &str = "the server sends more than an answer needs";
const TIMEOUT: &str = "no answer in 300ms";
const UNREADABLE: &str = "accepted, but the answer cannot be read: longer than 4 MiB";
const AGAIN: &str = "will be sent again";

/// A server's behaviour after it has accepted a connection; it ends with the connection.
type Behaviour = Box<dyn Fn(&mut TcpStream) -> io::Result<()> + Send + Sync>;

struct Case {
    name: &'static str,
    scheme: &'static str,
    protocol: Protocol,
    log: &'static str,
    behave: Behaviour,
}

/// Reads until the client closes the connection.
fn read_all(stream: &mut TcpStream) -> io::Result<()> {
    let mut chunk = [0; 4096];
    while stream.read(&mut chunk)? > 0 {}
    Ok(())
}

/// Reads the beginning of a request, writes a part and then another one without end.
fn endless(first: Vec<u8>, then: Vec<u8>, pause: Duration) -> Behaviour {
    let many = if pause.is_zero() { then.repeat(65536 / then.len()) } else { then };
    Box::new(move |stream| {
        let mut reader = stream.try_clone()?;
        reader.read_exact(&mut [0; 16])?;
        thread::spawn(move || read_all(&mut reader));
        stream.write_all(&first)?;
        loop {
            thread::sleep(pause);
            stream.write_all(&many)?;
        }
    })
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |name, scheme, protocol, log, behave| {
        cases.push(Case { name, scheme, protocol, log, behave });
    };
    for protocol in Protocol::BOTH {
        add("silent", "http", protocol, TIMEOUT, Box::new(read_all));
        add("silent instead of TLS", "https", protocol, TIMEOUT, Box::new(read_all));
        add(
            "silent, and does not read",
            "http",
            protocol,
            TIMEOUT,
            Box::new(|_| {
                loop {
                    thread::park();
                }
            }),
        );
        add("closes at once", "http", protocol, AGAIN, Box::new(|_| Ok(())));
    }
    for (name, log, first, then, pause) in [
        ("100 Continue", LIMIT, "", "HTTP/1.1 100 Continue\r\n\r\n", 0),
        ("103 Early Hints, slowly", TIMEOUT, "", "HTTP/1.1 103 Early Hints\r\n\r\n", 20),
        ("a header", AGAIN, "HTTP/1.1 200 OK\r\na: ", "b", 0),
        ("headers", AGAIN, "HTTP/1.1 200 OK\r\n", "a: b\r\n", 0),
        ("a header, slowly", TIMEOUT, "HTTP/1.1 200 OK\r\na: ", "b", 20),
        ("a body", UNREADABLE, "HTTP/1.1 200 OK\r\n\r\n", "b", 0),
        ("chunks", LIMIT, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "1\r\na\r\n", 0),
        ("a chunk's extension", AGAIN, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;", "a", 0),
        ("a body, slowly", TIMEOUT, "HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n", "b", 20),
    ] {
        let pause = Duration::from_millis(pause);
        add(name, "http", Protocol::Http, log, endless(first.into(), then.into(), pause));
    }
    let settings = frame(SETTINGS, 0, 0, &[]);
    let headers = |status: &[u8]| frame(HEADERS, END_HEADERS, 1, status);
    let early_hints = headers(&[8, 3, b'1', b'0', b'3']); // an indexed name and a literal value
    let accepted = [&settings[..], &headers(&[0x88])].concat(); // an indexed 200
    let increment = frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]);
    let goaway = frame(GOAWAY, 0, 0, &[0; 8]);
    for (name, log, first, then, pause) in [
        ("SETTINGS", LIMIT, &settings, settings.clone(), 0),
        ("SETTINGS, slowly", TIMEOUT, &settings, settings.clone(), 20),
        ("PING", LIMIT, &settings, frame(PING, 0, 0, &[0; 8]), 0),
        ("PING, slowly", TIMEOUT, &settings, frame(PING, 0, 0, &[0; 8]), 20),
        ("WINDOW_UPDATE", LIMIT, &settings, increment, 0),
        ("unknown frames", LIMIT, &settings, frame(200, 0, 0, &[]), 0),
        ("103", LIMIT, &settings, early_hints, 0),
        ("GOAWAY", AGAIN, &settings, goaway, 0),
        ("no DATA", AGAIN, &accepted, frame(DATA, 0, 1, &[]), 0),
        ("no DATA, slowly", TIMEOUT, &accepted, frame(DATA, 0, 1, &[]), 20),
    ] {
        let behave = endless(first.clone(), then, Duration::from_millis(pause));
        add(name, "http", Protocol::Grpc, log, behave);
    }
    cases
}

/// Starts a server; the number of its connections.
fn serve(behave: Behaviour) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (behave, connections) = (Arc::new(behave), Arc::<AtomicUsize>::default());
    let accepted = Arc::clone(&connections);
    // The threads end with the test's process.
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, behave) = (stream.unwrap(), Arc::clone(&behave));
            accepted.fetch_add(1, Ordering::Relaxed);
            thread::spawn(move || behave(&mut stream));
        }
    });
    (port, connections)
}

/// The processor time that the exporter's thread has used.
fn processor_time(sidecar: &Sidecar) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{}/task", sidecar.pid())).unwrap();
    let stats = tasks.map(|task| fs::read_to_string(task.unwrap().path().join("stat")).unwrap_or_default());
    let stat = stats.into_iter().find(|stat| stat.contains("(otlp)")).expect("no thread of this name");
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    // utime and stime, in ticks of 10 ms.
    Duration::from_millis(10 * fields[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum::<u64>())
}

fn check(case: Case) {
    let Case { name, scheme, protocol, log, behave } = case;
    let name = format!("{name} ({protocol:?}, {scheme})");
    let (port, connections) = serve(behave);
    let endpoint = format!("--export-otlp={scheme}://127.0.0.1:{port}");
    // Only where nothing else ends an attempt.
    let timeout = if log == TIMEOUT { "300" } else { "0" };
    let variables = [
        ("OTEL_EXPORTER_OTLP_TIMEOUT", timeout),
        ("OTEL_BSP_EXPORT_TIMEOUT", "0"),
        ("OTEL_BSP_SCHEDULE_DELAY", "20"),
    ];
    let mut sidecar = wrap(&["--drain-timeout", "1s", &endpoint], protocol, &variables);
    for number in 0..10 {
        sidecar.write(span("tool.run", &number.to_string()));
    }
    let logged = || String::from_utf8_lossy(&sidecar.stderr_so_far()).contains(log);
    wait_until(&format!("{name}: {log}"), logged);
    for number in 10..40 {
        sidecar.write(span("tool.run", &number.to_string()));
    }
    if log != UNREADABLE {
        wait_until("another attempt", || connections.load(Ordering::Relaxed) > 1);
    }
    let used = processor_time(&sidecar);
    let finished = sidecar.finish();
    let counters = counters(&finished);
    let total = |names: [&str; 4]| names.iter().filter_map(|name| counters.get(*name)).sum::<u64>();
    let spans = total(["spans_exported", "spans_rejected", "spans_failed", "spans_dropped"]);
    assert_eq!(spans, 40, "{name}: {}", finished.describe());
    let points = total(["points_exported", "points_rejected", "points_failed", ""]);
    assert!(points > 0, "{name}: {}", finished.describe());
    assert!(used < Duration::from_secs(1), "{name}: {used:?} of processor time");
}

#[test]
fn whatever_a_server_sends_without_end_every_span_is_counted_at_the_exit() {
    let cases = Mutex::new(cases());
    thread::scope(|scope| {
        for _ in 0..IN_PARALLEL {
            scope.spawn(|| {
                // The lock is not held while the case runs.
                let next = || cases.lock().unwrap().pop();
                while let Some(case) = next() {
                    check(case);
                }
            });
        }
    });
}
