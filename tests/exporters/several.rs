//! Several exporters at once: a failing one affects neither the others nor subscribers nor the worker.

use crate::support::{Sidecar, TIMEOUT, assert_balanced, wait_for};
use nix::{sys::stat::Mode, unistd::mkfifo};
use std::{
    fs::File,
    net::UdpSocket,
    os::unix::net::UnixDatagram,
    thread::{self, JoinHandle},
};
use telemetry_sidecar::event::proto::sidecar::{Consumer, GetStatusResponse};

const EVENTS: u64 = 100_000;

/// A worker that prints this event as often as `EVENTS` says, as fast as it can, and exits at the end of its
/// stdin.
fn worker(event: &str) -> String {
    format!("yes 'TELEMETRY:{event}' | head -n {EVENTS} >&2; exec cat")
}

/// A server that sums up one counter until it receives an empty datagram.
fn count(socket: UdpSocket, series: &'static str) -> JoinHandle<u64> {
    socket.set_read_timeout(Some(TIMEOUT)).unwrap();
    thread::spawn(move || {
        let mut bytes = vec![0; 65536];
        let mut sum = 0;
        while let length @ 1.. = socket.recv(&mut bytes).unwrap() {
            let text = std::str::from_utf8(&bytes[..length]).unwrap();
            let numbers = text.lines().filter_map(|line| line.strip_prefix(series)?.strip_suffix("|c"));
            sum += numbers.map(|number| number.parse::<u64>().unwrap()).sum::<u64>();
        }
        sum
    })
}

fn exporter<'a>(status: &'a GetStatusResponse, name: &str) -> &'a Consumer {
    status.exporters.iter().find(|exporter| exporter.name == name).expect(name)
}

/// The status once every exporter has sent or dropped all events and `also` holds.
async fn when_done(sidecar: &Sidecar, also: impl Fn(&GetStatusResponse) -> bool) -> GetStatusResponse {
    let done = |status: &GetStatusResponse| {
        let all = |exporter: &Consumer| exporter.offered == EVENTS && exporter.queued == 0;
        status.exporters.iter().all(all) && also(status)
    };
    let status = wait_for("all exporters", async || sidecar.status().await, done).await;
    assert_balanced(&status);
    status
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_exporter_does_not_delay_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("statsd");
    let _stuck = UnixDatagram::bind(&path).unwrap();
    let address = format!("unix:{}", path.display());
    let words = ["--export-jsonl", "{dir}/jsonl", "--export-statsd", &address, "--drain-timeout", "600s"];
    // Timings take a line each, more than a socket holds.
    let event = r#"{"event": "a.stop", "measurements": {"duration": 5}}"#;
    let sidecar = Sidecar::wrap(&words, &worker(event));
    let status =
        when_done(&sidecar, |status| exporter(status, "statsd").counters.contains_key("unsent")).await;
    assert_eq!(exporter(&status, "jsonl").delivered, EVENTS);
    let jsonl = sidecar.path("jsonl");
    sidecar.finish_reading(&jsonl, |lines| assert_eq!(lines.lines().count() as u64, EVENTS));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exporter_that_cannot_write_does_not_delay_the_others() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let end = socket.try_clone().unwrap();
    let to = socket.local_addr().unwrap();
    let counted = count(socket, "snakepit.a:");
    let words = ["--export-jsonl", "/dev/full", "--export-statsd", &format!("udp://{to}")];
    let sidecar = Sidecar::wrap(&words, &worker(r#"{"event": "a"}"#));
    let status = when_done(&sidecar, |status| exporter(status, "jsonl").dropped == EVENTS).await;
    assert_eq!(exporter(&status, "statsd").dropped, 0);
    sidecar.finish().expect_code(0);
    end.send_to(&[], to).unwrap();
    assert_eq!(counted.join().unwrap(), EVENTS);
}

/// Events of minimal size: per-event overhead counts, too.
#[tokio::test(flavor = "multi_thread")]
async fn the_queue_of_a_stuck_exporter_is_bounded_in_events() {
    const MOST: u64 = 16 * 1024 * 1024 / 64;
    const SENT: u64 = 300_000;
    let builder = Sidecar::command(&[
        "--ready-file",
        "{dir}/ready",
        "--export-jsonl",
        "{dir}/fifo",
        "--",
        "sh",
        "-c",
        &format!("yes 'TELEMETRY:{{\"event\":\"a\",\"timestamp_ns\":1}}' | head -n {SENT} >&2; exec cat"),
    ]);
    let fifo = builder.path("fifo");
    mkfifo(&fifo, Mode::S_IRWXU).unwrap();
    let _nobody_reads = File::options().read(true).write(true).open(&fifo).unwrap();
    let sidecar = builder.start();
    let offered = |status: &GetStatusResponse| exporter(status, "jsonl").offered == SENT;
    let status = wait_for("all events", async || sidecar.status().await, offered).await;
    assert_balanced(&status);
    let jsonl = exporter(&status, "jsonl");
    assert!(jsonl.queued <= MOST && jsonl.dropped >= SENT - MOST - jsonl.delivered, "{jsonl:?}");
    assert!(jsonl.dropped > 0, "{jsonl:?}");
    sidecar.finish().expect_code(0);
}

/// All exporters: an unreachable collector, a stuck StatsD server, and Prometheus and a file, which receive
/// everything.
#[tokio::test(flavor = "multi_thread")]
async fn all_exporters_run_at_the_same_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("statsd");
    let _stuck = UnixDatagram::bind(&path).unwrap();
    // A port that was bound and closed: it is not reused soon.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let words = [
        "--export-jsonl",
        "{dir}/jsonl",
        "--export-prometheus",
        "127.0.0.1:0",
        &format!("--export-otlp=http://{nobody}"),
        "--export-statsd",
        &format!("unix:{}", path.display()),
    ];
    let event = r#"{"event": "a.stop", "measurements": {"duration": 5}}"#;
    let sidecar = Sidecar::wrap(&words, &worker(event));
    let status = when_done(&sidecar, |status| {
        let counters = |name| &exporter(status, name).counters;
        counters("statsd").contains_key("unsent") && counters("otlp").contains_key("spans_dropped")
    });
    let status = status.await;
    assert_eq!(exporter(&status, "jsonl").delivered, EVENTS);
    assert_eq!(exporter(&status, "prometheus").delivered, EVENTS);
    let page = crate::http::get(&status.prometheus_address, "/metrics", "");
    assert!(
        page.body.contains(&format!("snakepit_events_total{{event=\"a.stop\"}} {EVENTS}\n")),
        "{}",
        page.body
    );
    let jsonl = sidecar.path("jsonl");
    sidecar.finish_reading(&jsonl, |lines| assert_eq!(lines.lines().count() as u64, EVENTS));
}
