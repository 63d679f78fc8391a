//! `decode`: compressed recordings, non-blocking input, what its lines may contain, and where they go.

use crate::support::{BINARY, Finished, Sidecar, line, run, wait_for};
use flate2::{Compression, write::GzEncoder};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use std::{
    fs::{self, File},
    io::{self, Write as _},
    process::Command,
};

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// The result of a command whose file `{dir}/log` has this content.
#[track_caller]
fn with_log(words: &[&str], log: &[u8]) -> Finished {
    let builder = Sidecar::command(words);
    fs::write(builder.path("log"), log).unwrap();
    let stdin = File::open(builder.path("log")).unwrap();
    builder.stdin(stdin.into()).start().finish()
}

/// Two telemetry lines, and the same as `decode` prints it.
fn lines() -> (String, String) {
    let lines = line("a", 1, "x") + &line("b", 2, "y");
    let events = lines.replace("TELEMETRY:", "");
    (lines, events)
}

#[test]
fn gzip_is_read_as_it_is_from_a_file_and_from_standard_input() {
    let (lines, events) = lines();
    let rotated = [gzip(&lines), gzip(&lines)].concat();
    for words in [&["decode", "{dir}/log"][..], &["decode", "-"], &["decode"]] {
        let finished = with_log(words, &rotated);
        assert_eq!(finished.expect_code(0).stdout(), events.repeat(2), "{words:?}");
    }
    let export = ["--wait-for-subscribers", "0", "-q", "--export-jsonl", "/dev/stdout"];
    let finished = with_log(&[&["replay"], &export[..], &["{dir}/log"]].concat(), &rotated);
    assert_eq!(finished.expect_code(0).stdout(), events.repeat(2));
}

#[test]
fn gzip_that_is_cut_off_is_an_error_after_the_events_before() {
    let log: String = (0..20_000).map(|count| line("a", count * 7919, "")).collect();
    let compressed = gzip(&log);
    let finished = with_log(&["decode", "{dir}/log"], &compressed[..compressed.len() / 2]);
    let stderr = finished.expect_code(125).stderr();
    assert!(stderr.contains("/log: the gzip data are cut off"), "{stderr}");
    assert!(finished.stdout().lines().count() > 5_000, "{} events", finished.stdout().lines().count());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standard_input_that_does_not_block_is_waited_for() {
    let (lines, events) = lines();
    let (reader, mut writer) = io::pipe().unwrap();
    fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    let sidecar = Sidecar::command(&["decode"]).stdin(reader.into()).start();
    for (sent, line) in lines.split_inclusive('\n').enumerate() {
        writer.write_all(line.as_bytes()).unwrap();
        // With an empty pipe a read fails.
        sidecar.wait_for_stdout(events.split_inclusive('\n').take(sent + 1).map(str::len).sum());
    }
    drop(writer);
    assert_eq!(sidecar.finish().expect_code(0).stdout(), events);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_terminal_obeys_is_escaped_in_every_output() {
    let log = "TELEMETRY:{\"event\": \"a\u{9b}2J\", \"metadata\": {\"m\": \"\\u001b[31m\u{202e}\u{7f}\"}, \
               \"timestamp_ns\": 1}\n";
    let expected = "{\"event\": \"a\\u009b2J\", \"measurements\": {}, \
                    \"metadata\": {\"m\": \"\\u001b[31m\\u202e\\u007f\"}, \
                    \"timestamp_ns\": 1, \"correlation_id\": \"\"}\n";
    assert_eq!(with_log(&["decode", "{dir}/log"], log.as_bytes()).expect_code(0).stdout(), expected);

    let mut sidecar = Sidecar::wrap_echo(&["--export-jsonl", "{dir}/events"]);
    sidecar.write(log);
    let tail = Sidecar::command(&["tail", &format!("127.0.0.1:{}", sidecar.port())]).start();
    let printed = wait_for("the event", async || tail.wait_for_stdout(1), |text| text.ends_with('\n')).await;
    assert_eq!(printed, expected);
    let events = sidecar.path("events");
    sidecar.finish_reading(&events, |exported| assert_eq!(exported, expected));

    let refused = run(&["tail", "a\u{9b}2J\u{202e}"]);
    let stderr = refused.expect_code(125).stderr();
    assert!(stderr.contains("\\u{9b}2J\\u{202e}") && !stderr.contains(['\u{9b}', '\u{202e}']), "{stderr}");
}

#[test]
fn a_stdout_that_takes_nothing_is_an_error_but_a_reader_that_leaves_is_none() {
    let log = line("a", 1, "");
    let mut broken = Vec::new();
    for words in ["decode \"$1\"", "--help", "--version", "completions bash"] {
        for (to, code, error) in [
            (">/dev/full", 125, "standard output: No space left on device"),
            (">&-", 125, "standard output: Bad file descriptor"),
            ("| true", 0, ""),
            (">/dev/null", 0, ""),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("log");
            // More than fits in a pipe that nobody reads.
            fs::write(&path, log.repeat(if to == "| true" { 10_000 } else { 1 })).unwrap();
            let command = format!("\"$0\" {words}");
            let script = if to == "| true" {
                format!("{{ {command}; echo $? >\"$1.code\"; }} {to}; exit $(cat \"$1.code\")")
            } else {
                format!("{command} {to}")
            };
            let output = Command::new("sh").args(["-c", &script, BINARY]).arg(&path).output().unwrap();
            let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
            let is_right = output.status.code() == Some(code)
                && (if code == 0 { stderr.is_empty() } else { stderr.contains(error) });
            if !is_right {
                broken.push(format!("{words} {to}: {}: {stderr}", output.status));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}
