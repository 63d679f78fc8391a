//! `expect`: what is compared, what is printed, and the exit status.

use crate::support::{Finished, Sidecar, line, refusal::refused_without};
use std::fs;

/// A worker with two events, an ordinary line, and a line of output.
fn script(rows: usize) -> String {
    let lines = line("load.stop", rows, "r1") + &line("predict.stop", 7, "r1");
    format!("cat >/dev/null; echo output; echo ordinary >&2; cat >&2 <<'E'\n{lines}E\n")
}

/// The result of `expect` with these options, a golden file (none if empty) and a worker, and the golden file
/// afterwards.
#[track_caller]
fn expect(options: &[&str], golden: &str, script: &str) -> (Finished, String) {
    let words = [&["expect", "{dir}/golden"], options, &["--", "sh", "-c", script]].concat();
    let builder = Sidecar::command(&words);
    let path = builder.path("golden");
    if !golden.is_empty() {
        fs::write(&path, golden).unwrap();
    }
    let mut sidecar = builder.start();
    sidecar.wait();
    // The directory is removed with the sidecar.
    let golden = fs::read_to_string(&path).unwrap_or_default();
    (sidecar.finish(), golden)
}

/// The golden file of a worker.
#[track_caller]
fn golden_of(options: &[&str], script: &str) -> String {
    let (finished, golden) = expect(&[options, &["--update"]].concat(), "", script);
    assert!(
        finished.expect_code(0).stderr().contains("/golden: 2 events written\n"),
        "{}",
        finished.describe()
    );
    golden
}

#[test]
fn equal_events_are_no_news_and_the_rest_passes_through() {
    let golden = golden_of(&[], &script(1));
    assert_eq!(golden.lines().count(), 2);
    assert!(golden.starts_with("{\"event\": \"load.stop\", \"measurements\": {"), "{golden}");
    assert!(!golden.contains("timestamp_ns"), "{golden}");
    let (finished, after) = expect(&[], &golden, &script(1));
    assert_eq!(finished.expect_code(0).stdout(), "output\n");
    assert_eq!(finished.stderr(), "ordinary\n");
    assert_eq!(after, golden);
}

#[test]
fn lines_that_are_no_events_are_reported() {
    let golden = golden_of(&[], &script(1));
    let broken = script(1) + "echo 'TELEMETRY:{\"event\": \"a\"' >&2";
    let (finished, _) = expect(&[], &golden, &broken);
    let stderr = finished.expect_code(0).stderr();
    assert!(stderr.contains("1 line starts with TELEMETRY: and is no event: it is not JSON"), "{stderr}");
}

#[test]
fn an_update_without_a_change_says_so() {
    let golden = golden_of(&[], &script(1));
    let (finished, after) = expect(&["--update"], &golden, &script(1));
    assert!(finished.expect_code(0).stderr().ends_with("/golden: 2 events as before\n"));
    assert_eq!(after, golden);
}

#[test]
fn a_difference_is_shown_and_the_exit_status_is_1() {
    let golden = golden_of(&[], &script(1));
    let (finished, after) = expect(&[], &golden, &script(2));
    let stderr = finished.expect_code(1).stderr();
    assert!(stderr.contains("/golden: events differ: 1 changed (--update accepts this run)\n"), "{stderr}");
    for shown in ["\n-{\"event\": \"load.stop\"", "\n+{\"event\": \"load.stop\"", ": 2, expected 1\n"] {
        assert!(stderr.contains(shown), "{shown:?} in {stderr}");
    }
    assert!(stderr.contains("\n {\"event\": \"predict.stop\""), "{stderr}");
    assert_eq!(after, golden);
    let (finished, after) = expect(&["--update"], &golden, &script(2));
    assert!(finished.expect_code(0).stderr().ends_with("/golden: 2 events written\n"));
    assert_ne!(after, golden);
}

#[test]
fn what_is_ignored_is_neither_compared_nor_written() {
    for options in [
        &["--ignore", "measurements"][..],
        &["--ignore", "measurements.*"],
        &["--ignore", "correlation_id", "--ignore", "measurements.count"],
    ] {
        let golden = golden_of(options, &script(1));
        assert_eq!(golden, golden_of(options, &script(2)), "{options:?}");
        expect(options, &golden, &script(2)).0.expect_code(0);
        // A golden file of more than is compared is one as well.
        expect(options, &golden_of(&[], &script(1)), &script(2)).0.expect_code(0);
    }
    let without = golden_of(&["--ignore", "correlation_id"], &script(1));
    assert!(!without.contains("correlation_id"), "{without}");
}

#[test]
fn timestamps_are_compared_if_asked_for() {
    let script = |time| {
        format!(
            "echo 'TELEMETRY:{{\"event\":\"a\",\"timestamp_ns\":{time}}}' >&2; \
             echo 'TELEMETRY:{{\"event\":\"b\"}}' >&2"
        )
    };
    let golden = golden_of(&["--timestamps"], &script(5));
    assert!(golden.contains("\"timestamp_ns\": 5") && golden.contains("\"timestamp_ns\": null"), "{golden}");
    expect(&["--timestamps"], &golden, &script(5)).0.expect_code(0);
    let (finished, _) = expect(&["--timestamps"], &golden, &script(6));
    assert!(finished.expect_code(1).stderr().contains("?  timestamp_ns: 6, expected 5\n"));
    expect(&[], &golden, &script(6)).0.expect_code(0);
}

#[test]
fn recorded_stderr_is_a_golden_file_too() {
    let recording = format!(
        "ordinary\n{}{{\"json\": \"log\"}}\n{}",
        line("load.stop", 1, "r1"),
        line("predict.stop", 7, "r1")
    );
    expect(&[], &recording, &script(1)).0.expect_code(0);
    expect(&[], &recording, &script(2)).0.expect_code(1);
}

#[test]
fn a_worker_s_failure_is_the_exit_status_and_keeps_the_golden_file() {
    let golden = golden_of(&[], &script(1));
    let (finished, _) = expect(&[], &golden, &(script(2) + "exit 3"));
    let stderr = finished.expect_code(3).stderr();
    assert!(stderr.contains("events differ: 1 changed\n"), "{stderr}");
    assert!(stderr.ends_with("the worker has failed: exit status 3\n"), "{stderr}");
    let (finished, _) = expect(&[], &golden, &(script(1) + "kill -9 $$"));
    assert!(finished.expect_signal(9).stderr().ends_with("the worker has failed: killed by SIGKILL\n"));
    let (finished, after) = expect(&["--update"], &golden, &(script(2) + "exit 3"));
    finished.expect_code(3);
    assert_eq!(after, golden);
}

#[test]
fn a_golden_file_that_cannot_be_used_is_reported_before_the_worker_starts() {
    for (golden, expected) in [
        ("", "/golden: does not exist; with --update this run's events are written to it\n"),
        (
            "{\"event\": \"a\"}\n{\n",
            "/golden: line 2 is not JSON: expected JSON lines, such as decode prints\n",
        ),
        (
            "\n{\"name\": \"a\"}\n",
            "/golden: line 2 has no \"event\" that is a non-empty string: expected JSON lines, \
             such as decode prints\n",
        ),
    ] {
        let (finished, _) = expect(&[], golden, &script(1));
        assert_eq!(finished.expect_code(125).stdout(), "");
        assert!(finished.stderr().contains(expected), "{}", finished.stderr());
    }
    for (golden, expected) in [
        ("/nonexistent/golden", "--update cannot write it: the directory /nonexistent does not exist"),
        ("/tmp", "--update cannot write it: it is a directory, expected a file"),
    ] {
        let words = ["expect", golden, "--update", "--", "touch", "{dir}/started"];
        let line = refused_without(Sidecar::command(&words).start(), "started");
        assert_eq!(line, format!("{golden}: {expected}"));
    }
}

#[test]
fn all_events_of_a_flood_are_compared() {
    let flood = "i=0; while [ $i -lt 20000 ]; do \
        echo \"TELEMETRY:{\\\"event\\\":\\\"e$i\\\"}\"; i=$((i+1)); done >&2";
    let (finished, golden) = expect(&["--update"], "", flood);
    finished.expect_code(0);
    assert_eq!(golden.lines().count(), 20_000);
    let in_order = |(index, line): (usize, &str)| line.starts_with(&format!("{{\"event\": \"e{index}\", "));
    assert!(golden.lines().enumerate().all(in_order));
}
