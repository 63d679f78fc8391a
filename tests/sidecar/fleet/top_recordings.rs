//! `top --once` of recordings, and of sidecars that it finds.

use super::row_of_worker;
use crate::support::{Finished, Sidecar, line, run};
use nix::{sys::stat::Mode, unistd::mkfifo};
use std::{
    fs,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    thread,
};
use tempfile::TempDir;

const DECODED: &str = concat!(
    r#"{"event":"b.stop","measurements":{"duration":5},"metadata":{},"#,
    r#""timestamp_ns":1000000000,"correlation_id":""}"#,
    "\n"
);

fn once(files: &[&Path]) -> Finished {
    let files = files.iter().map(|file| file.to_str().unwrap());
    run(&["top", "--once"].into_iter().chain(files).collect::<Vec<_>>())
}

/// What is printed of a recording with this content.
fn shown(content: impl AsRef<[u8]>) -> String {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("log");
    fs::write(&file, content).unwrap();
    once(&[&file]).expect_code(0).stdout()
}

#[test]
fn json_lines_of_others_are_no_events() {
    let logged = "{\"level\":\"info\"}\n{\"event\":\"GET /\",\"status\":200}\n";
    let shown = shown([logged, &line("a.stop", 1, "")].concat());
    assert!(!shown.contains("GET") && shown.contains(" 1 event ") && shown.contains("complete"), "{shown}");
    // They belong to raw stderr.
    assert!(!shown.contains("no event"), "{shown}");
}

#[test]
fn lines_that_are_no_events_are_counted() {
    let broken = [DECODED, "not json\n", "{\"event\":\n", DECODED, "\n"].concat();
    let shown_broken = shown(broken);
    assert!(shown_broken.contains("complete, 2 lines are no events"), "{shown_broken}");
    assert!(shown_broken.contains(" 2 events"), "{shown_broken}");
    let raw = shown("text\nTELEMETRY:{\nTELEMETRY:{\"event\":\"a\"}\n");
    assert!(raw.contains("complete, 1 line is no event"), "{raw}");
}

#[test]
fn what_was_written_to_a_fifo_is_read() {
    let dir = TempDir::new().unwrap();
    let fifo = dir.path().join("fifo");
    mkfifo(&fifo, Mode::S_IRWXU).unwrap();
    let path = fifo.clone();
    // It has closed the FIFO perhaps before the first byte is read.
    let writer = thread::spawn(move || fs::write(path, [line("a", 1, ""), line("b", 2, "")].concat()));
    let finished = once(&[&fifo]);
    writer.join().unwrap().unwrap();
    let shown = finished.expect_code(0).stdout();
    assert!(shown.contains(" 2 events"), "{shown}");
}

#[test]
fn a_recording_that_cannot_be_read_to_its_end_is_a_failure() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("half.gz");
    let mut encoder =
        flate2::read::GzEncoder::new(&b"TELEMETRY:{\"event\":\"a\"}\n"[..], flate2::Compression::fast());
    let mut content = Vec::new();
    encoder.read_to_end(&mut content).unwrap();
    content.truncate(content.len() - 4);
    fs::File::create(&file).unwrap().write_all(&content).unwrap();
    let finished = once(&[&file]);
    let stderr = finished.expect_code(125).stderr();
    assert!(stderr.contains("half.gz: the gzip data are cut off") && stderr.lines().count() == 1, "{stderr}");
    assert!(finished.stdout().contains(" 1 event "), "{}", finished.describe());
}

#[test]
fn what_the_sidecar_has_observed_is_the_state_and_no_operation() {
    let dir = TempDir::new().unwrap();
    let files = [0, 3].map(|code| {
        let file = dir.path().join(format!("{code}.jsonl"));
        let options = ["--lifecycle", "--vitals=100ms", "--export-jsonl", file.to_str().unwrap()];
        let job = r#"{"event": "job.stop", "measurements": {"duration": 5000000}}"#;
        let sidecar = Sidecar::wrap(&options, &format!("echo 'TELEMETRY:{job}' >&2; exit {code}"));
        sidecar.finish().expect_code(code);
        file
    });
    let printed = once(&files.each_ref().map(PathBuf::as_path)).expect_code(0).stdout();
    let rows: Vec<_> = printed.lines().collect();
    assert!(rows[0].starts_with("2 recordings  1 failed  "), "{printed}");
    // The one that has failed is first.
    assert!(
        rows[3].contains("3.jsonl  exited with 3 ") && rows[4].contains("0.jsonl  exited with 0 "),
        "{printed}"
    );
    assert!(rows[3].contains("  5 ms") && !printed.contains("worker."), "{printed}");
    let job: Vec<_> = rows[7].split_whitespace().take(2).collect();
    assert_eq!((job, rows.len()), (vec!["job", "2"], 8), "{printed}");
}

#[test]
fn standard_input_is_read_only_once() {
    let stderr = run(&["top", "--once", "-", "-"]).expect_code(125).stderr();
    assert!(stderr.contains("standard input can be read only once"), "{stderr}");
}

#[test]
fn the_shortest_interval_is_one_look() {
    let sidecar = Sidecar::wrap_command(&[], &["sleep", "600"]);
    row_of_worker(&sidecar, "sleep");
    let finished = run(&["top", "--once", "--interval", "1ns"]);
    let output = finished.stdout() + &finished.stderr();
    // Others may end meanwhile, so that they do not answer.
    assert!(output.contains("sleep 600") && !output.contains("no sidecar"), "{}", finished.describe());
}
