//! The lines at the exit about what was lost.

use crate::support::{Sidecar, Status, Subscriber, line, wait_for};
use nix::{pty::openpty, sys::signal::Signal};
use std::{fs::File, io::Read as _, process::Stdio, thread};

/// Lines of the sidecar's own.
fn own_lines(stderr: &str) -> Vec<String> {
    let own = stderr.lines().filter_map(|line| line.strip_prefix("telemetry-sidecar: "));
    own.map(ToOwned::to_owned).collect()
}

/// A sidecar with a subscriber that never reads, 4,000 events of 1,000 bytes after it has begun, and a queue
/// for 1,000: with HTTP/2's windows it takes about half.
async fn with_stalled_subscriber(options: &[&str]) -> (Sidecar, Subscriber) {
    let options = [&["--queue-capacity", "1000", "--drain-timeout", "200ms"], options].concat();
    let mut sidecar = Sidecar::wrap(&options, "cat >&2; exit 9");
    let subscriber = sidecar.subscribe().await;
    for count in 0..4_000 {
        sidecar.write(line("a", count, &format!("{:0>1000}", 0)));
    }
    sidecar.write("no newline at the end");
    (sidecar, subscriber)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_subscriber_does_not_get_is_reported_with_the_reason() {
    let (sidecar, subscriber) = with_stalled_subscriber(&[]).await;
    let finished = sidecar.finish();
    let stderr = finished.expect_code(9).stderr();
    let rest = stderr.strip_prefix("no newline at the end\n").unwrap_or_else(|| panic!("{stderr}"));
    let lines: Vec<_> = rest.lines().collect();
    let [full, cut] = lines[..] else { panic!("{stderr}") };
    for (line, reason) in [
        (full, "a queue was full (--queue-capacity, --queue-bytes, --total-queue-bytes)"),
        (cut, "the drain timeout expired (--drain-timeout)"),
    ] {
        let rest = line.strip_prefix("telemetry-sidecar: subscribers: ").unwrap();
        let (count, why) = rest.split_once(" events not delivered: ").unwrap();
        assert!(count.parse::<u64>().unwrap() > 0, "{line}");
        assert_eq!(why, reason);
    }
    drop(subscriber);
}

#[tokio::test(flavor = "multi_thread")]
async fn quiet_leaves_out_the_lines_about_losses() {
    let (sidecar, subscriber) = with_stalled_subscriber(&["-q"]).await;
    assert_eq!(sidecar.finish().expect_code(9).stderr(), "no newline at the end");
    drop(subscriber);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_that_ends_the_drain_is_the_reason() {
    let (mut sidecar, subscriber) = with_stalled_subscriber(&["--drain-timeout", "600s"]).await;
    sidecar.end_worker().await;
    sidecar.signal(Signal::SIGTERM);
    let finished = sidecar.finish();
    let lines = own_lines(&finished.expect_code(9).stderr());
    assert!(lines.iter().any(|line| line.ends_with("not delivered: a signal ended the drain")), "{lines:?}");
    drop(subscriber);
}

#[tokio::test(flavor = "multi_thread")]
async fn losses_are_part_of_the_log_if_there_is_one() {
    let (sidecar, subscriber) = with_stalled_subscriber(&["-v", "--log-format", "json"]).await;
    let stderr = sidecar.finish().expect_code(9).stderr();
    let is_loss = |line: &&str| {
        let is_of_subscribers = line.starts_with('{') && line.contains(r#""message":"subscribers: "#);
        is_of_subscribers && line.contains("not delivered")
    };
    assert_eq!(stderr.lines().filter(is_loss).count(), 2, "{stderr}");
    assert!(own_lines(&stderr).is_empty(), "{stderr}");
    drop(subscriber);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_has_subscribed_to_is_not_lost() {
    let mut sidecar = Sidecar::wrap_echo(&["--queue-capacity", "10", "--export-jsonl", "{dir}/events"]);
    // One that leaves by itself loses nothing, either.
    drop(sidecar.subscribe().await);
    let has_left = |status: &Status| status.subscribers.is_empty();
    wait_for("the subscriber to leave", async || sidecar.status().await, has_left).await;
    for count in 0..1_000 {
        sidecar.write(line("a", count, ""));
    }
    let dropped = |status: &Status| status.backlog.unwrap().dropped > 900;
    wait_for("the backlog to drop events", async || sidecar.status().await, dropped).await;
    assert_eq!(sidecar.finish().expect_code(0).stderr(), "");
}

/// What a terminal shows of a worker's run, and what a pipe receives.
fn shown(options: &[&str], script: &str) -> (String, String) {
    let terminal = openpty(None, None).unwrap();
    let words = [options, &["--listen", "unix:{dir}/socket", "--", "sh", "-c", script]].concat();
    let sidecar = Sidecar::command(&words).stderr(Stdio::from(terminal.slave)).start();
    let reading = thread::spawn(move || {
        let mut shown = Vec::new();
        // It fails with EIO when the last process has closed the terminal.
        let _ = File::from(terminal.master).read_to_end(&mut shown);
        String::from_utf8(shown).unwrap()
    });
    sidecar.finish().expect_code(0);
    let piped = Sidecar::command(&words).start().finish();
    (reading.join().unwrap(), piped.expect_code(0).stderr())
}

#[test]
fn telemetry_that_is_no_event_is_reported_on_a_terminal() {
    let none = "printf 'TELEMETRY:{}\\nTELEMETRY:x\\nTELEMETRY:{\"event\":\"a\"}\\nend' >&2";
    let passed = "TELEMETRY:{}\nTELEMETRY:x\nend";
    let (terminal, pipe) = shown(&["--summary", "never"], none);
    assert_eq!(pipe, passed);
    let line = "2 lines start with TELEMETRY: and are no events (json 1, event 1): the first one has no \
                \"event\" that is a non-empty string";
    let expected = format!("{passed}\ntelemetry-sidecar: {line}\n");
    assert_eq!(terminal, expected.replace('\n', "\r\n"));
    assert_eq!(shown(&["-q"], none).0, passed.replace('\n', "\r\n"));
    let one = "printf 'TELEMETRY:x\\n' >&2";
    let line = "1 line starts with TELEMETRY: and is no event: it is not JSON: print one object on one line, \
                in one write";
    assert_eq!(shown(&[], one).0, format!("TELEMETRY:x\r\ntelemetry-sidecar: {line}\r\n"));
    assert_eq!(shown(&[], "echo text >&2").0, "text\r\n");
}
