//! `top --once`: its tables, and its exit status.

use super::{Finished, run, with_events};
use crate::support::{
    Sidecar, line,
    refusal::{expect_one_line, expect_words},
    wait_until,
};
use nix::sys::signal::Signal;
use std::fs;

fn top(arguments: &[&str]) -> Finished {
    run(&[&["top", "--once", "--interval", "400ms"], arguments].concat())
}

/// The words of the line of a table that begins with this word.
#[track_caller]
fn words(text: &str, first: &str) -> Vec<String> {
    let mut lines = text.lines().map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    lines.find(|words| words.first().is_some_and(|word| word == first)).unwrap_or_else(|| panic!("{text}"))
}

#[test]
fn a_sidecar_that_is_not_reached_is_an_error() {
    for (target, expected) in
        [("unix:/nonexistent/socket", "No such file"), ("4294967295", "no sidecar"), ("nothing", "HOST:PORT")]
    {
        let line = expect_one_line(&top(&[target]), || true);
        expect_words(&line, &[target, expected]);
    }
    let sidecar = Sidecar::wrap_echo(&[]);
    let address = format!("127.0.0.1:{}", sidecar.port());
    let finished = top(&[&address, "unix:/nonexistent/socket"]);
    finished.expect_code(125);
    assert!(finished.stdout().contains("2 workers"), "{}", finished.describe());
    assert_eq!(finished.stderr().lines().count(), 1, "{}", finished.describe());
    sidecar.finish().expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_is_named_by_a_process_and_its_malformed_lines_are_its_state() {
    let mut sidecar = Sidecar::wrap_echo(&[]);
    sidecar.write(["TELEMETRY:{\n".to_owned(), line("a", 1, "")].concat());
    with_events(&sidecar, 1).await;
    let worker = sidecar.status().await.worker.unwrap().pid.to_string();
    for pid in [sidecar.pid().to_string(), worker.clone()] {
        let printed = top(&[&pid]).expect_code(0).stdout();
        assert!(printed.starts_with("1 worker  0 events/s  1 event  0 errors  0 lost\n"), "{printed}");
        assert!(!printed.contains("LAST MINUTE"), "{printed}");
        assert_eq!(words(&printed, &worker)[1..5], ["cat", "1", "malformed", "line"], "{printed}");
    }
    sidecar.finish().expect_code(0);
}

#[test]
fn a_replay_waits_for_a_subscriber() {
    let options = ["--ready-file", "{dir}/ready", "--listen", "127.0.0.1:0"];
    let builder = Sidecar::command(&[&["replay"], &options[..], &["{dir}/recording"]].concat());
    fs::write(builder.path("recording"), line("a", 1, "")).unwrap();
    let sidecar = builder.start();
    sidecar.ready_lines();
    let printed = top(&[&sidecar.pid().to_string()]).expect_code(0).stdout();
    assert!(printed.contains("  waits for a subscriber  "), "{printed}");
    sidecar.signal(Signal::SIGTERM);
}

#[test]
fn rates_of_recordings_are_means_or_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, timestamp: &dyn Fn(usize) -> String| {
        let event = |at| format!("TELEMETRY:{{\"event\": \"{name}\"{}}}\n", timestamp(at));
        let path = dir.path().join(name);
        fs::write(&path, (0..11).map(event).collect::<String>()).unwrap();
        path.display().to_string()
    };
    let seconds = |at: usize| format!(", \"timestamp_ns\": {}000000000", at + 1);
    let (slow, other) = (write("slow", &seconds), write("other", &seconds));
    let timeless = write("timeless", &|_| String::new());

    let printed = top(&[&slow, &other]).expect_code(0).stdout();
    // Both cover the same time.
    assert!(printed.starts_with("2 recordings  2.2 events/s  22 events"), "{printed}");
    assert_eq!(words(&printed, "slow"), ["slow", "11", "1.1/s"], "{printed}");
    let printed = top(&[&slow, &timeless]).expect_code(0).stdout();
    assert!(printed.starts_with("2 recordings  22 events"), "{printed}");
    assert_eq!(words(&printed, "slow"), ["slow", "11"], "{printed}");
    assert_eq!(words(&printed, &slow)[2..], ["10s", "11", "1.1/s", "0"], "{printed}");
}

#[test]
fn a_worker_that_has_ended_is_one_row_while_its_sidecar_lingers() {
    let sidecar = Sidecar::wrap(&["--linger", "600s"], "echo 'TELEMETRY:{\"event\": \"a\"}' >&2; exit 3");
    let address = format!("127.0.0.1:{}", sidecar.port());
    let ended = || run(&["ps"]).expect_code(0).stdout().contains("worker exited with 3");
    wait_until("the worker's end", ended);
    // An address is connected to again after one second.
    let printed = run(&["top", "--once", "--interval", "1500ms", &address]).expect_code(0).stdout();
    assert!(printed.starts_with("0 workers  1 ended, 1 failed  "), "{printed}");
    assert!(printed.contains("  1 event  "), "{printed}");
    sidecar.signal(Signal::SIGTERM);
}
