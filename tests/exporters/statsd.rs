//! `--export-statsd`: the datagrams, and servers that are absent, late, restarted or stuck.

use crate::support::{Builder, Sidecar, TIMEOUT, line, wait_for};
use std::{
    fs,
    net::UdpSocket,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
};
use telemetry_sidecar::event::proto::sidecar::Consumer;

const STOP: &str = "TELEMETRY:{\"event\": \"tool.run.stop\", \"measurements\": {\"duration\": 12500000}, \
                    \"metadata\": {\"tool\": \"a|b\", \"user\": \"u\"}}\n";

/// The socket of a DogStatsD server.
enum Server {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

impl Server {
    /// A server on UDP, and its address.
    fn udp() -> (Self, String) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(TIMEOUT)).unwrap();
        let address = format!("udp://{}", socket.local_addr().unwrap());
        (Self::Udp(socket), address)
    }

    /// A server on a unix socket.
    fn unix(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(TIMEOUT)).unwrap();
        Self::Unix(socket)
    }

    fn receive(&self) -> String {
        let mut bytes = vec![0; 65536];
        let length = match self {
            Self::Udp(socket) => socket.recv(&mut bytes),
            Self::Unix(socket) => socket.recv(&mut bytes),
        };
        String::from_utf8(bytes[..length.expect("no datagram comes")].to_vec()).unwrap()
    }

    fn is_silent(&self) -> bool {
        let Self::Unix(socket) = self else { panic!("only asked of unix sockets") };
        socket.set_nonblocking(true).unwrap();
        let silent = socket.recv(&mut [0; 8192]).is_err();
        socket.set_nonblocking(false).unwrap();
        silent
    }
}

/// A directory for a socket, and the address of the socket.
fn socket() -> (tempfile::TempDir, PathBuf, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("statsd");
    let address = format!("unix:{}", path.display());
    (folder, path, address)
}

fn options(address: &str) -> [&str; 4] {
    ["--export-statsd", address, "--statsd-dialect", "dogstatsd"]
}

/// Wraps a worker that copies its stdin to stderr. Lines do not name the container that the tests run in.
fn wrap_echo(options: &[&str]) -> Sidecar {
    command(options, "exec cat >&2").env("DD_ORIGIN_DETECTION_ENABLED", "false").start()
}

fn command(options: &[&str], script: &str) -> Builder {
    Sidecar::command(&[&["--ready-file", "{dir}/ready"], options, &["--", "sh", "-c", script]].concat())
}

/// The exporter's counters.
async fn exporter_status(sidecar: &Sidecar) -> Consumer {
    sidecar.status().await.exporters.remove(0)
}

#[test]
fn dogstatsd_receives_tags_over_udp_and_unix_sockets() {
    let expected =
        "snakepit.tool.run.duration:12.5|ms|#result:ok,tool:a_b\nsnakepit.tool.run.stop:1|c|#tool:a_b";
    let (_folder, path, over_unix) = socket();
    let (server, over_udp) = Server::udp();
    for (server, address) in [(server, over_udp), (Server::unix(&path), over_unix)] {
        let mut sidecar = wrap_echo(&[&options(&address)[..], &["--metric-label", "tool"]].concat());
        sidecar.write(STOP);
        // The worker is still running.
        assert_eq!(server.receive(), expected);
        sidecar.write(STOP);
        sidecar.finish().expect_code(0);
        // The rest is sent at the end.
        assert_eq!(server.receive(), expected);
    }
}

#[test]
fn statsd_receives_no_tags_and_absolute_gauges() {
    let (server, address) = Server::udp();
    let words = ["--export-statsd", &address, "--statsd-prefix", "app", "--metric-label", "tool"];
    let sampled = ["--metric-kind", "*.hits=counter", "--sampling-rate", "0"];
    let mut sidecar = wrap_echo(&[&words[..], &sampled].concat());
    sidecar.write(
        "TELEMETRY:{\"event\": \"a:1|c#b\", \"measurements\": {\"rss\": -7, \"hits\": 2, \"bad\": NaN}, \
         \"metadata\": {\"tool\": \"x\"}}\n",
    );
    let expected = "app.a_1_c_b.hits:2|c\napp.a_1_c_b.rss:0|g\napp.a_1_c_b.rss:-7|g\napp.a_1_c_b:1|c";
    assert_eq!(server.receive(), expected);
    sidecar.finish().expect_code(0);
}

#[test]
fn samples_of_vitals_are_gauges() {
    let (server, address) = Server::udp();
    let mut sidecar = wrap_echo(&[&options(&address)[..], &["--vitals", "100ms"]].concat());
    let mut received = String::new();
    let gauges = ["memory.sampled.rss_bytes", "cpu.sampled.cpu_percent", "process.sampled.processes"];
    while !gauges.iter().all(|gauge| received.contains(&format!("snakepit.worker.{gauge}:"))) {
        received += &(server.receive() + "\n");
    }
    assert!(received.contains("snakepit.worker.process.sampled.processes:1|g\n"), "{received}");
    sidecar.close_stdin();
    sidecar.finish().expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_counters_show_the_result_of_every_measurement() {
    let (server, address) = Server::udp();
    let mut sidecar = wrap_echo(&options(&address));
    let too_long = "x".repeat(2000);
    sidecar.write(line(&too_long, 1, ""));
    sidecar.write("TELEMETRY:{\"event\": \"a\", \"measurements\": {\"b\": Infinity}}\n");
    assert_eq!(server.receive(), "snakepit.a:1|c");
    // The long name consists of an event's and a measurement's name.
    let counted = |status: &Consumer| status.dropped == 1 && status.counters.contains_key("datagrams");
    let status =
        wait_for("the datagram to be counted", async || exporter_status(&sidecar).await, counted).await;
    assert_eq!((status.name.as_str(), status.offered, status.dropped), ("statsd", 2, 1));
    let counters = [("datagrams", 1), ("invalid", 1), ("oversized", 2)];
    assert_eq!(status.counters, counters.map(|(name, count)| (name.into(), count)).into());
    sidecar.finish().expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_sent_once_an_absent_server_starts() {
    let (_folder, path, address) = socket();
    let mut sidecar = wrap_echo(&[&options(&address)[..], &["-v"]].concat());
    sidecar.write(STOP.repeat(1000));
    let dropped = |status: &Consumer| status.dropped == 1000;
    let absent =
        wait_for("all events to be dropped", async || exporter_status(&sidecar).await, dropped).await;
    assert!(absent.counters["unsent"] > 0 && !absent.counters.contains_key("datagrams"), "{absent:?}");
    sidecar.wait_for_stderr(&format!("statsd: cannot send to {address}: No such file"));

    let server = Server::unix(&path);
    let sent = async || {
        sidecar.write(STOP);
        !server.is_silent()
    };
    wait_for("the server to be found", sent, |found| *found).await;
    sidecar.finish().expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn send_errors_of_an_absent_udp_server_are_counted() {
    // No other process uses this address.
    let mut sidecar = wrap_echo(&options("udp://127.91.7.4:47114"));
    let refused = async || {
        sidecar.write(STOP);
        exporter_status(&sidecar).await
    };
    wait_for("a refusal", refused, |status| status.dropped > 0).await;
    sidecar.finish().expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_server_receives_all_later_metrics() {
    let (_folder, path, address) = socket();
    let mut sidecar = wrap_echo(&options(&address));
    for number in 0..3 {
        let server = Server::unix(&path);
        sidecar.write(format!("TELEMETRY:{{\"event\": \"a{number}\"}}\n"));
        assert_eq!(server.receive(), format!("snakepit.a{number}:1|c"));
        drop(server);
        fs::remove_file(&path).unwrap();
    }
    assert_eq!(exporter_status(&sidecar).await.dropped, 0);
    sidecar.finish().expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_never_reads_delays_nothing() {
    const EVENTS: usize = 20_000;
    let (_folder, path, address) = socket();
    let stuck = Server::unix(&path);
    // The drain timeout is longer than the test's: waiting for it would fail.
    let mut sidecar = wrap_echo(&[&options(&address)[..], &["--drain-timeout", "600s"]].concat());
    // Timings, which take a line each.
    sidecar.write(STOP.repeat(EVENTS));
    let read = |status: &Consumer| status.offered == EVENTS as u64 && status.dropped > 0;
    let status = wait_for("events to be dropped", async || exporter_status(&sidecar).await, read).await;
    assert!(status.counters["datagrams"] > 0 && status.counters["unsent"] > 0, "{status:?}");
    sidecar.finish().expect_code(0);
    assert!(stuck.receive().starts_with("snakepit.tool.run.duration:12.5|ms|#result:ok\n"));
}

#[test]
fn a_host_name_that_cannot_be_resolved_delays_nothing() {
    let address = "udp://nowhere.invalid:8125";
    let mut sidecar = wrap_echo(&["-v", "--export-statsd", address]);
    sidecar.write(STOP);
    sidecar.wait_for_stderr(&format!("statsd: cannot send to {address}"));
    sidecar.finish().expect_code(0);
}

#[test]
fn variables_of_datadog_have_the_address_the_tags_and_the_origin() {
    let (server, address) = Server::udp();
    let port = address.rsplit(':').next().unwrap();
    // The worker has them, too.
    let script = "echo \"$DD_ENV $DD_AGENT_HOST $DD_TAGS\" >&2; exec cat >&2";
    for switch in [&["--export-statsd"][..], &[]] {
        let mut sidecar =
            command(&[switch, &["--metric-label", "tool", "--statsd-distributions"]].concat(), script)
                .env("TELEMETRY_SIDECAR_EXPORT_STATSD", "1")
                .env("DD_AGENT_HOST", "127.0.0.1")
                .env("DD_DOGSTATSD_PORT", port)
                .env("DD_ENV", "prod")
                .env("DD_SERVICE", "поиск")
                .env("DD_TAGS", "team:a,service:b")
                .env("DD_EXTERNAL_ENV", "cn-c")
                .start();
        sidecar.write(STOP);
        let tags = "tool:a_b,team:a,service:b,env:prod";
        for line in server.receive().lines() {
            let (line, fields) =
                line.split_once("|c:").unwrap_or_else(|| line.split_at(line.rfind("|e:").unwrap()));
            let expected = [
                format!("snakepit.tool.run.duration:12.5|d|#result:ok,{tags}"),
                format!("snakepit.tool.run.stop:1|c|#{tags}"),
            ];
            assert!(expected.iter().any(|expected| expected == line), "{line}");
            assert!(fields.ends_with("|e:cn-c"), "{fields}");
        }
        sidecar.wait_for_stderr("prod 127.0.0.1 team:a,service:b\n");
        sidecar.finish().expect_code(0);
    }
}

#[test]
fn the_log_says_where_metrics_go_and_why() {
    for (variable, host, address, dialect) in [
        ("DD_AGENT_HOST", "127.0.0.1:1", "udp://127.0.0.1:1", "dogstatsd"),
        ("STATSD_HOST", "127.0.0.2:1", "udp://127.0.0.2:1", "statsd"),
    ] {
        let sidecar = command(&["-v", "--export-statsd"], "exit").env(variable, host).start();
        let finished = sidecar.finish();
        let line = format!("statsd: metrics go to {address} ({variable}), dialect {dialect}\n");
        assert_eq!(finished.stderr().matches(&line).count(), 1, "{}", finished.describe());
    }
}

#[test]
fn variables_of_statsd_have_the_address_and_datadogs_tags_stay_out() {
    let (server, address) = Server::udp();
    let port = address.rsplit(':').next().unwrap();
    let mut sidecar = command(&["--export-statsd"], "exec cat >&2")
        .env("STATSD_HOST", "localhost")
        .env("STATSD_PORT", port)
        .env("DD_ENV", "prod")
        .start();
    sidecar.write("TELEMETRY:{\"event\": \"a\"}\n");
    assert_eq!(server.receive(), "snakepit.a:1|c");
    sidecar.finish().expect_code(0);
}

#[test]
fn an_address_that_is_wrong_in_a_variable_starts_no_worker() {
    for (name, value, cause) in [
        ("DD_DOGSTATSD_URL", "unixstream:///run/s", "stream sockets are not supported"),
        ("STATSD_PORT", "udp://10.0.0.1:8125", "expected a port (1 to 65535)"),
        ("TELEMETRY_SIDECAR_EXPORT_STATSD", "TRUE", "udp://HOST:PORT or unix:PATH, or 0, 1, true or false"),
    ] {
        let option = if name.starts_with("TELEMETRY") { &[][..] } else { &["--export-statsd"] };
        let finished = command(option, "echo worker").env(name, value).start().finish();
        finished.expect_code(125);
        let line = finished.stderr();
        assert!(line.contains(&format!("{name}: '{value}': ")) && line.contains(cause), "{line}");
        assert_eq!((line.lines().count(), finished.stdout()), (1, String::new()));
        // With an address the variable has no use.
        if !option.is_empty() {
            let address = ["--export-statsd", "udp://127.0.0.1:8125"];
            command(&address, "exit 3").env(name, value).start().finish().expect_code(3);
        }
    }
}

#[test]
fn statsd_has_no_distributions() {
    let options = ["--export-statsd", "udp://127.0.0.1:8125", "--statsd-distributions"];
    let finished = command(&options, "echo worker").start().finish();
    finished.expect_code(125);
    let line = finished.stderr();
    assert!(line.ends_with("--statsd-distributions: needs --statsd-dialect dogstatsd\n"), "{line}");
    assert_eq!((line.lines().count(), finished.stdout()), (1, String::new()));
}

#[test]
fn a_replay_waits_for_a_host_name_that_cannot_be_resolved_until_its_timeout() {
    let address = "udp://nowhere.invalid:8125";
    let words = ["replay", "-v", "--timeout", "3s", "--export-statsd", address, "{dir}/recording"];
    let builder = Sidecar::command(&words);
    fs::write(builder.path("recording"), STOP.repeat(2)).unwrap();
    let finished = builder.start().finish();
    finished.expect_code(124);
    let lines = finished.stderr();
    assert!(lines.contains(&format!("statsd: cannot send to {address}: ")), "{lines}");
    assert!(lines.ends_with("--timeout: '3s': 2 of the 2 events read so far not delivered\n"), "{lines}");
}
