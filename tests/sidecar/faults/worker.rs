//! Failing workers.

use super::long;
use crate::support::{Sidecar, Status, line, wait_for};
use std::{fs, fs::File, process::Stdio};

/// The worker is killed at each byte of a line. The parent sees SIGKILL and the bytes written so far; a line
/// that lacks only its newline is an event.
#[test]
fn killed_at_any_byte_of_a_line() {
    let event = line("a.b", 5, "c");
    let event = event.trim_end();
    for length in 0..=event.len() {
        let script = format!("printf %s '{}' >&2; kill -9 $$", &event[..length]);
        let finished = Sidecar::wrap(&["--export-jsonl", "{dir}/jsonl"], &script).finish();
        let passed = if length == event.len() { "" } else { &event[..length] };
        assert_eq!(finished.expect_signal(9).stderr(), passed, "{}", finished.describe());
    }
}

/// Endless output without a newline passes with bounded memory.
#[tokio::test(flavor = "multi_thread")]
async fn endless_output_without_a_newline() {
    let mib: u64 = if long() { 10 * 1024 } else { 256 };
    let script = format!("head -c {mib}M /dev/zero >&2; read end");
    let sidecar = Sidecar::command(&["--ready-file", "{dir}/ready", "--", "sh", "-c", &script]);
    let sidecar = sidecar.stderr(Stdio::from(File::create("/dev/null").unwrap())).start();
    let all = |status: &Status| status.stream.unwrap().bytes_passed == mib << 20;
    wait_for("all to pass", async || sidecar.status().await, all).await;
    let memory = peak_memory_kib(&sidecar);
    // Much of it is the unoptimized program itself.
    assert!(memory < 40 * 1024, "{memory} KiB");
    sidecar.finish().expect_code(1);
}

/// Lines of 64 KiB to 100 MB: within the limits of line and message an event, otherwise passed and counted.
#[tokio::test(flavor = "multi_thread")]
async fn long_lines() {
    let longest = if long() { 100_000_000 } else { 20_000_000 };
    for length in [65_536, 1_000_000, 4_194_000, 4_194_305, longest] {
        let mut sidecar = Sidecar::wrap_echo(&[]);
        let around = line("a", 1, "").len();
        let event = line("a", 1, &"x".repeat(length - around));
        sidecar.write(&event);
        let read = |status: &Status| status.stream.unwrap().bytes_read == length as u64;
        let status = wait_for("the line to be read", async || sidecar.status().await, read).await;
        let (stream, fits) = (status.stream.unwrap(), length <= 4_194_304);
        assert_eq!((stream.decoded, stream.oversized), (u64::from(fits), u64::from(!fits)), "{length}");
        let finished = sidecar.finish();
        assert_eq!(finished.stderr(), if fits { String::new() } else { event }, "{length}");
    }
}

/// Two hundred concurrent writers: every line of at most 4096 bytes that is written at once is an event.
#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_writers() {
    let script = "i=0; while [ $i -lt 200 ]; do
        (j=0; while [ $j -lt 50 ]; do echo 'TELEMETRY:{\"event\": \"a\"}' >&2; j=$((j+1)); done) & i=$((i+1));
        done; wait; read end";
    let sidecar = Sidecar::wrap(&[], script);
    let all = |status: &Status| status.stream.unwrap().telemetry_lines >= 10_000;
    let status = wait_for("all to be read", async || sidecar.status().await, all).await;
    assert_eq!(status.stream.unwrap().decoded, 10_000, "{status:#?}");
    assert_eq!(sidecar.finish().expect_code(1).stderr(), "");
}

/// A worker that closes its stderr continues, and its output after it reopens stderr is telemetry as before.
#[tokio::test(flavor = "multi_thread")]
async fn stderr_closed_and_opened_again() {
    let script = "exec 3>&2 2>&-; read go; exec 2>&3; echo 'TELEMETRY:{\"event\": \"a\"}' >&2; read end";
    let mut sidecar = Sidecar::wrap(&[], script);
    let mut subscriber = sidecar.subscribe().await;
    sidecar.write("\n");
    assert_eq!(subscriber.next().await.event_parts, ["a"]);
    sidecar.write("\n");
    assert!(subscriber.rest().await.is_empty());
    sidecar.finish().expect_code(0);
}

/// A worker that exits within a millisecond: `--linger` delivers its events.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_exits_at_once() {
    for _ in 0..20 {
        let script = "echo 'TELEMETRY:{\"event\": \"a\"}' >&2; exit 3";
        let sidecar = Sidecar::wrap(&["--linger", "60s"], script);
        let events = sidecar.subscribe().await.rest().await;
        assert_eq!(events.len(), 1);
        sidecar.finish().expect_code(3);
    }
}

/// The peak memory of a process.
pub fn peak_memory_kib(sidecar: &Sidecar) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", sidecar.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse().unwrap()
}
