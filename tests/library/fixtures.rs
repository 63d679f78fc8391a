//! The recorded cases in `fixtures/logs`: `decode`, `replay` and the pipeline must agree with an independent
//! implementation, in every mode and for every chunking.

use crate::support::{events::difference, outcome};
use serde_json::{Value, json};
use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{Read as _, Seek as _},
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};
use telemetry_sidecar::{
    event::{
        batch::Batch,
        json,
        stats::{Malformed, StreamStats},
        view::View,
    },
    input::{
        decode::Decoder,
        dialect,
        splitter::{Embedded, Splitter},
    },
    pipeline::{Parts, Pipeline, Publisher, passthrough::Passthrough},
    system::log,
};
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_telemetry-sidecar");
const LOGS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/logs");
const MODES: [(&str, Embedded); 4] = [
    ("auto", Embedded::Auto),
    ("copy", Embedded::Copy),
    ("strip", Embedded::Strip),
    ("ignore", Embedded::Ignore),
];
const DEFAULT_MAX_LINE_BYTES: usize = 4 * 1024 * 1024;

/// A mismatch, described in one line.
type Checked = Result<(), String>;

/// A case in one mode.
struct Case {
    name: String,
    mode: &'static str,
    embedded: Embedded,
    max_line_bytes: usize,
    counts: Value,
    log: PathBuf,
    events: Vec<u8>,
    stderr: Vec<u8>,
}

/// All stored cases in all modes.
fn cases() -> Vec<Case> {
    let manifest = fs::read(format!("{LOGS}/cases.json")).expect("the manifest is readable");
    let manifest: Vec<Value> = serde_json::from_slice(&manifest).expect("the manifest is an array");
    let stored = manifest.iter().filter(|case| case["generated"] != true);
    let cases: Vec<_> = stored.flat_map(|case| MODES.map(|mode| Case::new(case, mode))).collect();
    assert!(cases.len() > 200, "only {} cases", cases.len());
    cases
}

impl Case {
    fn new(case: &Value, (mode, embedded): (&'static str, Embedded)) -> Self {
        let name = case["name"].as_str().unwrap();
        let of_mode =
            if case["modes_differ"] == true && mode != "auto" { format!(".{mode}") } else { String::new() };
        let read = |kind| fs::read(format!("{LOGS}/{name}{of_mode}.{kind}")).expect(name);
        let max_line_bytes = case.get("max_line_bytes").map(|max| max.as_u64().unwrap().try_into().unwrap());
        Self {
            name: name.into(),
            mode,
            embedded,
            max_line_bytes: max_line_bytes.unwrap_or(DEFAULT_MAX_LINE_BYTES),
            counts: case["counts"][mode].clone(),
            log: format!("{LOGS}/{name}.log").into(),
            events: read("events.jsonl"),
            stderr: read("stderr"),
        }
    }

    fn arguments(&self) -> Vec<String> {
        let mut arguments = vec!["--embedded".into(), self.mode.into()];
        if self.max_line_bytes != DEFAULT_MAX_LINE_BYTES {
            arguments.extend(["--max-line-bytes".into(), self.max_line_bytes.to_string()]);
        }
        arguments
    }
}

/// Checks all cases in a few threads, and lists those that fail, up to about ten.
fn check_all(check: impl Fn(&Case) -> Checked + Sync) {
    let (cases, next, failures) = (cases(), AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            let checked = panic::catch_unwind(AssertUnwindSafe(|| check(case)));
            if let Err(problem) = checked.unwrap_or_else(|_| Err("a panic, see above".into())) {
                let mut failures = failures.lock().unwrap();
                failures.push(format!("\n{}, {}: {problem}", case.name, case.mode));
                // Enough failures to find the cause.
                next.fetch_max(if failures.len() < 10 { 0 } else { cases.len() }, Ordering::Relaxed);
            }
        }
    };
    thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(work))));
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{}", failures.concat());
}

/// Runs the binary with a file, which must succeed.
fn run(subcommand: &[&str], arguments: &[String], file: &Path) -> Result<Output, String> {
    let mut command = Command::new(BINARY);
    command.args(subcommand).args(arguments).arg(file).stdin(Stdio::null());
    let output = command.output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        let last = &output.stderr[output.stderr.len().saturating_sub(300)..];
        return Err(format!("{subcommand:?}: {}: {}", output.status, last.escape_ascii()));
    }
    Ok(output)
}

/// Replays a file only to `--export-jsonl`; returns stderr and the events.
fn replay(arguments: &[String], file: &Path) -> Result<(Vec<u8>, Vec<u8>), String> {
    let dir = TempDir::new().unwrap();
    let export = dir.path().join("events.jsonl");
    let options = ["replay", "--wait-for-subscribers", "0", "-q", "--export-jsonl", export.to_str().unwrap()];
    let output = run(&options, arguments, file)?;
    same("replay's stdout", b"", &output.stdout)?;
    Ok((output.stderr, fs::read(export).map_err(|error| format!("the export: {error}"))?))
}

fn same(what: &str, expected: &[u8], got: &[u8]) -> Checked {
    difference(expected, got).map_or(Ok(()), |difference| Err(format!("{what}: {difference}")))
}

/// Compares events as JSON: integers exactly, floats by value, 0.0 and -0.0 as different. With `clock` any
/// integer is accepted as the timestamp of a line that has none.
fn same_events(what: &str, expected: &[u8], got: &[u8], clock: bool) -> Checked {
    let (mut expected, mut got) = (parse(expected)?, parse(got).map_err(|error| format!("{what}: {error}"))?);
    for (number, (expected, got)) in expected.iter_mut().zip(&mut got).enumerate() {
        if clock && expected["timestamp_ns"].is_null() && got["timestamp_ns"].is_i64() {
            expected["timestamp_ns"] = got["timestamp_ns"].take();
            got["timestamp_ns"] = expected["timestamp_ns"].clone();
        }
        // Serialized again by the same code, equal values have equal text.
        same(
            &format!("{what}, event {number}"),
            expected.to_string().as_bytes(),
            got.to_string().as_bytes(),
        )?;
    }
    if expected.len() == got.len() {
        Ok(())
    } else {
        Err(format!("{what}: expected {} events, got {}", expected.len(), got.len()))
    }
}

fn parse(lines: &[u8]) -> Result<Vec<Value>, String> {
    let lines = lines.split_inclusive(|byte| *byte == b'\n');
    lines.map(|line| serde_json::from_slice(line).map_err(|error| format!("not JSON: {error}"))).collect()
}

#[test]
fn decode_prints_the_events_of_every_case() {
    check_all(|case| {
        let output = run(&["decode"], &case.arguments(), &case.log)?;
        same_events("stdout", &case.events, &output.stdout, false)
    });
}

#[test]
fn replay_passes_and_exports_what_every_case_has() {
    check_all(|case| {
        let (stderr, events) = replay(&case.arguments(), &case.log)?;
        same("stderr", &case.stderr, &stderr)?;
        same_events("export", &case.events, &events, true)
    });
}

#[test]
fn the_pipeline_counts_what_every_case_has_in_chunks_of_any_size() {
    check_all(|case| {
        let log = fs::read(&case.log).unwrap();
        [log.len().max(1), 7, 1].iter().try_for_each(|&size| {
            in_chunks(case, &log, size).map_err(|problem| format!("in chunks of {size}: {problem}"))
        })
    });
}

fn in_chunks(case: &Case, log: &[u8], size: usize) -> Checked {
    let fed = feed(Splitter::new(&dialect::SNAKEPIT, case.embedded, case.max_line_bytes), log, size)?;
    same("the counters", case.counts.to_string().as_bytes(), counts(&fed.stats).to_string().as_bytes())?;
    same_events("events", &case.events, &fed.events, false)?;
    same("stderr", &case.stderr, &fed.stderr)
}

/// The result of a log.
struct Fed {
    stats: StreamStats,
    events: Vec<u8>,
    stderr: Vec<u8>,
}

/// Feeds a log to a pipeline in this process.
fn feed(splitter: Splitter, log: &[u8], size: usize) -> Result<Fed, String> {
    let mut stderr = tempfile::tempfile().unwrap();
    let mut pipeline = Pipeline::new(Parts {
        splitter,
        decoder: Decoder::default(),
        publisher: Lines::default(),
        passthrough: Passthrough::new(stderr.try_clone().unwrap()),
        recorder: None,
        last_bytes: None,
        lines: None,
        log: log::Lines::default(),
    });
    for chunk in log.chunks(size) {
        pipeline.spare(size)[..chunk.len()].copy_from_slice(chunk);
        pipeline.advance(chunk.len());
        balances(pipeline.stats())?;
    }
    pipeline.finish();
    balances(pipeline.stats())?;
    Ok(Fed { stats: *pipeline.stats(), events: pipeline.publisher().0.clone(), stderr: content(&mut stderr) })
}

fn balances(stats: &StreamStats) -> Checked {
    if stats.balances() { Ok(()) } else { Err(format!("the counters do not balance: {stats:?}")) }
}

fn content(file: &mut File) -> Vec<u8> {
    let mut content = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut content)).unwrap();
    content
}

/// The counts in the format of the manifest.
fn counts(stats: &StreamStats) -> Value {
    let malformed =
        Malformed::ALL.map(|reason| (reason.name().to_owned(), stats.malformed.get(reason).into()));
    json!({
        "telemetry_lines": stats.telemetry_lines,
        "decoded": stats.decoded,
        "malformed": Value::Object(malformed.into_iter().collect()),
        "oversized": stats.oversized,
        "embedded_markers": stats.embedded_markers,
        "embedded": stats.embedded,
        "embedded_malformed": stats.embedded_malformed,
        "bytes_removed": stats.bytes_removed,
    })
}

/// Events as printed by `decode`.
#[derive(Default)]
struct Lines(Vec<u8>);

impl Publisher for Lines {
    fn publish(&mut self, batch: Arc<Batch>, stats: &StreamStats, _: &mut dyn FnMut()) {
        balances(stats).unwrap();
        for index in 0..batch.len() {
            let noted = batch.event(index).unwrap();
            let timestamp_ns = noted.timestamp_given.then_some(noted.timestamp_ns);
            json::write(&mut self.0, &View::from(&outcome::event(&batch, index)), timestamp_ns);
        }
    }

    fn account(&mut self, stats: &StreamStats) {
        balances(stats).unwrap();
    }
}

/// A telemetry line of this length, including its newline.
fn line_of(name: &str, length: usize) -> String {
    let (head, tail) = (format!("TELEMETRY:{{\"event\": \"{name}\", \"metadata\": {{\"m\": \""), "\"}}\n");
    format!("{head}{}{tail}", "x".repeat(length - head.len() - tail.len()))
}

/// The result of a long line between two short ones, through the binary: the events' names, and stderr.
fn big(long: &str) -> (String, Vec<u8>) {
    let dir = TempDir::new().unwrap();
    let log = dir.path().join("big.log");
    fs::write(&log, [&line_of("first", 70), long, &line_of("last", 70)].concat()).unwrap();
    let (stderr, exported) = replay(&[], &log).unwrap();
    let decoded = run(&["decode"], &[], &log).unwrap().stdout;
    same_events("export", &decoded, &exported, true).unwrap();
    let names = parse(&decoded).unwrap().iter().fold(String::new(), |mut names, event| {
        write!(names, "{} ", event["event"].as_str().unwrap()).unwrap();
        names
    });
    (names, stderr)
}

#[test]
fn long_lines_are_decoded_up_to_the_limit_and_pass_beyond() {
    for length in [3_000_000, DEFAULT_MAX_LINE_BYTES] {
        let (names, stderr) = big(&line_of("long", length));
        assert_eq!((&*names, stderr.len()), ("first long last ", 0), "{length} bytes");
    }
    for length in [DEFAULT_MAX_LINE_BYTES + 1, 5_000_000] {
        let line = line_of("long", length);
        let (names, stderr) = big(&line);
        assert_eq!(names, "first last ", "{length} bytes");
        same("stderr", line.as_bytes(), &stderr).unwrap();
    }
}

#[test]
fn an_event_behind_five_megabytes_of_text_is_found() {
    let text = "text ".repeat(1_000_000);
    let (names, stderr) = big(&[&text, &*line_of("long", 100)].concat());
    assert_eq!(names, "first long last ");
    assert_eq!(stderr.len(), text.len() + 100);
}

#[test]
fn a_line_whose_message_is_too_large_passes_and_is_counted() {
    // Each invalid byte is replaced by the three bytes of U+FFFD.
    let line = |count: usize| {
        [&b"TELEMETRY:{\"event\": \"grows\", \"metadata\": {\"m\": \""[..], &vec![0xff; count], b"\"}}\n"]
            .concat()
    };
    let (too_large, small_enough) = (line(2 << 20), line(1 << 20));
    let log = [&too_large[..], &small_enough].concat();
    let fed =
        feed(Splitter::new(&dialect::SNAKEPIT, Embedded::Copy, DEFAULT_MAX_LINE_BYTES), &log, 65536).unwrap();
    assert_eq!((fed.stats.telemetry_lines, fed.stats.decoded, fed.stats.oversized), (2, 1, 1));
    same("stderr", &too_large, &fed.stderr).unwrap();
}
