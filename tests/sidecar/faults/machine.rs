//! Failures of the machine.

use crate::support::{
    BINARY, Sidecar, Status, StatusClient, TIMEOUT, connect, http2::RawStream, line, wait_for, wait_until,
};
use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::{TcpStream, UdpSocket},
    os::unix::{fs::FileExt as _, process::CommandExt as _},
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tempfile::TempDir;

/// A sidecar started by a shell that first sets a limit.
fn limited(limit: &str, options: &str, script: &str) -> Command {
    let mut command = Command::new("sh");
    let start = format!("{limit}; exec '{BINARY}' {options} -- sh -c '{script}'");
    command.args(["-c", &start]).stdin(Stdio::piped());
    command
}

/// Exports and recordings on a full disk stop and count their losses; the worker and its stderr are not
/// affected.
#[tokio::test(flavor = "multi_thread")]
async fn exports_and_recordings_stop_on_a_full_disk() {
    let mut sidecar = Sidecar::wrap_echo(&["--export-jsonl", "/dev/full", "--record", "/dev/full"]);
    for number in 0..100 {
        sidecar.write(line("a", number, ""));
    }
    sidecar.write("ordinary\n");
    let counted = |status: &Status| {
        let exporter = &status.exporters[0];
        exporter.offered == 100 && exporter.dropped == 100 && status.recording.unwrap().stopped
    };
    wait_for("losses to be counted", async || sidecar.status().await, counted).await;
    let stderr = sidecar.finish().expect_code(0).stderr();
    let lines: Vec<_> = stderr.lines().collect();
    let [ordinary, recording, exporter] = lines[..] else { panic!("{stderr}") };
    let full = "No space left on device (os error 28)";
    assert_eq!(ordinary, "ordinary");
    assert!(recording.starts_with("telemetry-sidecar: record: recording stopped, "), "{recording}");
    assert!(recording.ends_with(&format!(" bytes not recorded: {full}")), "{recording}");
    assert_eq!(exporter, format!("telemetry-sidecar: jsonl: 100 events not delivered: {full}"));
}

/// Bytes that a file of limited size did not take are reported when it takes bytes again.
#[tokio::test(flavor = "multi_thread")]
async fn ordinary_bytes_that_stderr_did_not_take_are_reported() {
    let dir = tempfile::tempdir().unwrap();
    let (ready, output) = (dir.path().join("ready"), dir.path().join("stderr"));
    let file = fs::File::options().create(true).append(true).open(&output).unwrap();
    let options = format!("--ready-file '{}'", ready.display());
    let limit = "ulimit -f 1; trap \"\" XFSZ";
    let mut command = limited(limit, &options, "head -c 100000 /dev/zero >&2; exec cat >&2");
    let mut child = command.stderr(file.try_clone().unwrap()).spawn().unwrap();
    wait_until("the ready file", || ready.exists());
    let port = fs::read_to_string(&ready).unwrap();
    let mut status = StatusClient::new(connect(&format!("http://127.0.0.1:{}", port.trim())).await);
    let mut dropped = 0;
    while dropped < 99_000 {
        dropped = status.get().await.stream.unwrap().bytes_dropped;
    }
    file.set_len(0).unwrap();
    drop(child.stdin.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let line = format!("\ntelemetry-sidecar: stderr: {dropped} bytes not delivered: File too large\n");
    assert_eq!(fs::read_to_string(&output).unwrap(), line);
}

/// Without free descriptors connections wait, the sidecar does not spin, and it continues when descriptors
/// are free.
#[tokio::test(flavor = "multi_thread")]
async fn connections_wait_while_descriptors_are_exhausted() {
    let dir = tempfile::tempdir().unwrap();
    let ready = dir.path().join("ready");
    // On a busy machine the first visitors must not be gone when the last ones come.
    let options = format!("--handshake-timeout 10m --ready-file '{}'", ready.display());
    // Starting the worker takes descriptors, too.
    let mut command = limited("ulimit -n 40", &options, "echo started; exec cat >&2");
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut started = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut started).unwrap();
    assert_eq!(started, "started\n");
    let port: u16 = fs::read_to_string(&ready).unwrap().trim().parse().unwrap();
    let visitors: Vec<_> = (0..60).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
    let open = || fs::read_dir(format!("/proc/{}/fd", child.id())).unwrap().count();
    wait_until("descriptors to run out", || open() >= 40);
    let (start, used) = (Instant::now(), processor_time(child.id()));
    // The measurement needs an interval in which nothing happens.
    std::thread::sleep(Duration::from_secs(1));
    let share = (processor_time(child.id()) - used) / start.elapsed().as_secs_f64();
    assert!(share < 0.3, "{share} of a processor");
    drop(visitors);
    let channel = connect(&format!("http://127.0.0.1:{port}")).await;
    StatusClient::new(channel).get().await;
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}

/// The processor time of a process in seconds.
fn processor_time(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: f64 = fields[11..13].iter().map(|ticks| ticks.parse::<f64>().unwrap()).sum();
    ticks / 100.0
}

/// A memory limit, and a subscriber that never reads: its queue is bounded, so the limit is never reached.
#[tokio::test(flavor = "multi_thread")]
async fn a_memory_limit() {
    let dir = tempfile::tempdir().unwrap();
    let ready = dir.path().join("ready");
    let options = format!("--ready-file '{}' --queue-bytes 4000000 --drain-timeout 100ms", ready.display());
    // The limit counts reserved addresses, not memory in use: each thread reserves 64 MiB.
    let mut child = limited("ulimit -v 400000", &options, "cat >&2; exit 6").spawn().unwrap();
    wait_until("the ready file", || ready.exists());
    let port: u16 = fs::read_to_string(&ready).unwrap().trim().parse().unwrap();
    let stalled = RawStream::open(port, "5S", 0);
    let mut stdin = child.stdin.take().unwrap();
    for number in 0..50_000 {
        use std::io::Write as _;
        stdin.write_all(line("a", number, &"x".repeat(1000)).as_bytes()).unwrap();
    }
    drop(stdin);
    assert_eq!(child.wait().unwrap().code(), Some(6));
    drop(stalled);
}

/// A preloaded library that adds to the real-time clock the number of seconds stored in a file (native byte
/// order). As when the time is set, the monotonic clock does not change.
const CLOCK: &str = "
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *time) {
    static const volatile long long *seconds;
    if (!seconds) {
        int file = open(getenv(\"CLOCK_SECONDS\"), O_RDONLY | O_CLOEXEC);
        seconds = mmap(NULL, sizeof *seconds, PROT_READ, MAP_SHARED, file, 0);
        close(file);
    }
    int result = syscall(SYS_clock_gettime, clock, time);
    if (clock == CLOCK_REALTIME)
        time->tv_sec += *seconds;
    return result;
}
";

const DAY: i64 = 86_400;

/// The real-time clock of a sidecar and its worker.
struct Clock(TempDir);

impl Clock {
    /// A clock without offset. Without a C compiler the test prints that it is skipped.
    fn new() -> Option<Self> {
        let clock = Self(tempfile::tempdir().unwrap());
        fs::write(clock.path("clock.c"), CLOCK).unwrap();
        fs::write(clock.path("seconds"), 0i64.to_ne_bytes()).unwrap();
        let files = [clock.path("clock.so"), clock.path("clock.c")];
        match Command::new("cc").args(["-shared", "-fPIC", "-o"]).args(files).status() {
            Ok(status) if status.success() => Some(clock),
            other => {
                println!("skipped: no C compiler: {other:?}");
                None
            }
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Sets the offset in seconds. The file is written in place, so that a reader never finds it empty.
    fn set(&self, seconds: i64) {
        let file = fs::OpenOptions::new().write(true).open(self.path("seconds")).unwrap();
        file.write_all_at(&seconds.to_ne_bytes(), 0).unwrap();
    }

    /// A sidecar whose worker prints the lines that the test writes.
    fn wrap(&self, options: &[&str]) -> Sidecar {
        let words = [&["--ready-file", "{dir}/ready"], options, &["--", "sh", "-c", "exec cat >&2"]].concat();
        Sidecar::command(&words)
            .env("LD_PRELOAD", self.path("clock.so").to_str().unwrap())
            .env("CLOCK_SECONDS", self.path("seconds").to_str().unwrap())
            .start()
    }
}

/// The clock is set back by a day, forward by a year, and right again. Worker: sees the same clock as without
/// the sidecar. Clients and exporters: every event without delay; an event without a timestamp gets the
/// clock's. Counters: unaffected. Only timestamps use the real-time clock; durations, such as the time that
/// lines wait to be packed into a datagram, use the monotonic one.
#[tokio::test(flavor = "multi_thread")]
async fn setting_the_clock_affects_only_timestamps() {
    let Some(clock) = Clock::new() else { return };
    let statsd = UdpSocket::bind("127.0.0.1:0").unwrap();
    statsd.set_read_timeout(Some(TIMEOUT)).unwrap();
    let address = format!("udp://127.0.0.1:{}", statsd.local_addr().unwrap().port());
    let mut sidecar = clock.wrap(&["--export-statsd", &address]);
    let mut subscriber = sidecar.subscribe().await;
    let now_ns = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    for seconds in [0, -DAY, 365 * DAY, 0] {
        clock.set(seconds);
        let before = now_ns();
        sidecar.write("TELEMETRY:{\"event\": \"a\"}\n");
        let event = subscriber.next().await;
        let stamp = u128::try_from(event.timestamp_ns - seconds * 1_000_000_000).unwrap();
        assert!((before..=now_ns()).contains(&stamp), "{seconds}: {event:?}");
        let mut datagram = [0; 64];
        let length = statsd.recv(&mut datagram).unwrap();
        assert_eq!(datagram[..length].trim_ascii_end(), b"snakepit.a:1|c", "{seconds}");
    }
    // The exporter counts a datagram as delivered after it was sent.
    let delivered = |status: &Status| (status.subscribers[0].delivered, status.exporters[0].delivered);
    wait_for("all to be counted", async || sidecar.status().await, |status| delivered(status) == (4, 4))
        .await;
    drop(subscriber);
    sidecar.finish().expect_code(0);
}

/// The clock is set while queues drain. A client that does not read delays the exit by exactly the drain
/// timeout.
#[tokio::test(flavor = "multi_thread")]
async fn setting_the_clock_does_not_affect_the_drain_timeout() {
    const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
    let Some(clock) = Clock::new() else { return };
    for seconds in [365 * DAY, -DAY] {
        let mut sidecar = clock.wrap(&["--drain-timeout", "2s"]);
        let stalled = RawStream::open(sidecar.port(), "5S", 0);
        sidecar.write(line("a", 1, &"x".repeat(1_000_000)));
        let read = |status: &Status| status.stream.unwrap().events == 1;
        wait_for("the event", async || sidecar.status().await, read).await;
        let start = Instant::now();
        sidecar.end_worker().await;
        clock.set(seconds);
        sidecar.finish().expect_code(0);
        assert!(start.elapsed() >= DRAIN_TIMEOUT, "{:?}", start.elapsed());
        drop(stalled);
        clock.set(0);
    }
}

/// The user's pipe pages are exhausted: the worker's pipe stays as small as the system creates it, and
/// nothing else changes. The limit does not apply to root, so a test that runs as root uses another user.
#[test]
fn no_pages_for_pipes() {
    const USE_UP_AND_RUN: &str = r#"
import fcntl, os, subprocess, sys
pipes = []
while len(pipes) < 400:
    pipes.append(os.pipe())
    try:
        fcntl.fcntl(pipes[-1][1], fcntl.F_SETPIPE_SZ, 1 << 20)
    except PermissionError:
        sys.exit(subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode)
sys.exit("there is no limit")
"#;
    let worker = "yes 'TELEMETRY:{\"event\": \"a\"}' | head -n 100000 >&2; echo done >&2; exit 3";
    let mut python = Command::new("python3");
    python.args(["-c", USE_UP_AND_RUN, BINARY, "-q", "--", "sh", "-c", worker]).current_dir("/");
    if nix::unistd::geteuid().is_root() {
        python.uid(65_534).gid(65_534);
    }
    match python.output() {
        Ok(output) if output.status.code() == Some(3) => assert_eq!(output.stderr, b"done\n"),
        Ok(output) if !String::from_utf8_lossy(&output.stderr).contains("there is no limit") => {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(text.contains("PermissionError") || text.contains("Permission denied"), "{output:?}");
            println!("skipped: the other user may not run the binary: {text}");
        }
        other => println!("skipped: {other:?}"),
    }
}

/// Without /proc everything works that does not read it. Needs a mount namespace; without permission to
/// create one the test prints that it is skipped.
#[test]
fn no_proc() {
    let script = format!(
        "mount -t tmpfs none /proc && exec '{BINARY}' -q -- \
         sh -c 'echo TELEMETRY:{{\\\"event\\\":\\\"a\\\"}} >&2; \
         echo b >&2; exit 7'"
    );
    let output = Command::new("unshare").args(["-rm", "sh", "-c", &script]).output();
    match output {
        Ok(output) if output.status.code() == Some(7) => assert_eq!(output.stderr, b"b\n"),
        Ok(output) if String::from_utf8_lossy(&output.stderr).contains("telemetry-sidecar") => {
            panic!("{output:?}")
        }
        other => println!("skipped: no mount namespace: {other:?}"),
    }
}
