//! Records of the lines and tracebacks in `fixtures/formats`, however the bytes are split.

use proptest::{collection::vec, prelude::*, sample::select};
use std::{fs, path::Path};
use telemetry_sidecar::exporter::log::{Assembler, MAX_HELD_NS, MAX_LINE_BYTES, Record};

const FORMATS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/formats");

const TRACE: u128 = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c;

/// The records of a stream that is read in chunks of these sizes, one after the other; the rest at once.
fn records(bytes: &[u8], sizes: &[usize]) -> Vec<Record> {
    let (mut assembler, mut records, mut rest) = (Assembler::default(), Vec::new(), bytes);
    for size in sizes.iter().cycle().take(bytes.len()) {
        let (chunk, after) = rest.split_at((*size).min(rest.len()));
        assembler.push(chunk, 7, &mut records);
        rest = after;
    }
    assembler.push(rest, 7, &mut records);
    assembler.finish(&mut records);
    records
}

/// The names and contents of the logs in a directory.
fn logs(directory: &str) -> Vec<(String, Vec<u8>)> {
    let mut logs: Vec<_> = fs::read_dir(Path::new(FORMATS).join(directory))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap()))
        .collect();
    logs.sort();
    logs
}

/// The number after "severity " in a message of the fixtures.
fn wanted(body: &str) -> Option<u8> {
    let (_, rest) = body.split_once("severity ")?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

#[test]
fn lines_of_logging_libraries_have_the_severity_that_their_message_asks_for() {
    let logs = logs("lines");
    assert!(logs.len() >= 40, "{} logs", logs.len());
    let mut wrong = Vec::new();
    for (name, bytes) in logs {
        let records = records(&bytes, &[usize::MAX]);
        for record in &records {
            let number = record.severity.as_ref().map(|severity| severity.number);
            let has_severity = wanted(&record.body).is_none_or(|wanted| number == Some(wanted));
            let has_trace = record.body.contains("trace_id=0af7651916cd43dd8448eb211c80319c");
            let trace_id = record.trace.map(|trace| u128::from_be_bytes(trace.trace_id));
            if !has_severity || has_trace && trace_id != Some(TRACE) || record.body.contains('\u{1b}') {
                wrong.push(format!("{name}: {record:?}"));
            }
        }
        let messages = String::from_utf8_lossy(&bytes).matches("severity ").count();
        let found = records.iter().filter(|record| wanted(&record.body).is_some()).count();
        let context = records.iter().filter_map(|record| record.trace);
        let has_trace = context.map(|trace| u128::from_be_bytes(trace.trace_id)).any(|id| id == TRACE);
        if String::from_utf8_lossy(&bytes).contains("0af7651916cd43dd8448eb211c80319c") != has_trace {
            wrong.push(format!("{name}: no trace id"));
        }
        // loguru's JSON has each message twice.
        if found != messages && found != messages / 2 {
            wrong.push(format!("{name}: {found} of {messages} messages"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The records of one log in `stacks`.
fn stack(name: &str) -> Vec<Record> {
    records(
        &fs::read(Path::new(FORMATS).join("stacks").join(name).with_extension("log")).unwrap(),
        &[usize::MAX],
    )
}

#[test]
fn a_traceback_is_one_record_with_its_exception() {
    let ten = "invalid literal for int() with base 10: 'ten'";
    let no_file = "[Errno 2] No such file or directory: '/no/such/file'";
    let mut wrong = Vec::new();
    for (name, kind, message) in [
        ("python-uncaught", "ValueError", ten),
        ("python-chained", "worker.Rejected", "not a number"),
        ("python-during", "FileNotFoundError", no_file),
        ("python-group", "ExceptionGroup", "two numbers (2 sub-exceptions)"),
        ("python-multi-line", "ValueError", "first line\n  second line"),
        ("python-recursion", "ZeroDivisionError", "division by zero"),
        ("python-thread", "ValueError", ten),
        ("python-syntax", "SyntaxError", "invalid syntax"),
        ("node-console", "TypeError", "not a number: ten"),
        ("node-cause", "Error", "job failed"),
        ("node-uncaught", "TypeError", "not a number: ten"),
        ("node-properties", "Error", "ENOENT: no such file or directory, open '/no/such/file'"),
        ("node-rejection", "RangeError", "out of range"),
        ("go-panic", "panic", "job failed"),
        ("go-index", "panic", "runtime error: index out of range [2] with length 1"),
        ("go-nil", "panic", "runtime error: invalid memory address or nil pointer dereference"),
        ("go-again", "panic", "second: first"),
        ("go-map", "fatal error", "concurrent map writes"),
        ("go-overflow", "fatal error", "stack overflow"),
        ("go-http", "panic", "job failed"),
        ("rust-panic", "panic", "job failed"),
        ("rust-backtrace", "panic", "job failed"),
        ("rust-assert", "panic", "assertion `left == right` failed: a sum\n  left: 2\n right: 3"),
        ("java-uncaught", "java.lang.RuntimeException", "job failed"),
        ("java-printed", "java.lang.RuntimeException", "job failed"),
    ] {
        let records = stack(name);
        let [Record { exception: Some(exception), .. }] = &records[..] else {
            wrong.push(format!("{name}: {} records: {records:#?}", records.len()));
            continue;
        };
        let stacktrace_lines = exception.stacktrace.lines().filter(|line| !line.is_empty()).count();
        let lines = usize::try_from(records[0].lines).unwrap();
        if (exception.kind.as_str(), exception.message.as_str()) != (kind, message)
            || !(lines - 1..=lines).contains(&stacktrace_lines)
        {
            wrong.push(format!("{name}: {exception:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The number of the severity, the body, and the type of the exception, for each record.
fn outline(records: &[Record]) -> Vec<(u8, &str, &str)> {
    let outline = records.iter().map(|record| {
        let number = record.severity.as_ref().map_or(0, |severity| severity.number);
        let kind = record.exception.as_ref().map_or("", |exception| exception.kind.as_str());
        (number, record.body.as_str(), kind)
    });
    outline.collect()
}

#[test]
fn a_log_line_and_the_traceback_after_it_are_one_record() {
    let time = "2026-11-21 09:50:51,250";
    let (failed, next) = (
        format!("{time} ERROR app.jobs: severity 17: job 7 failed"),
        format!("{time} INFO app.jobs: severity 9: next job"),
    );
    let logged = stack("python-logged");
    assert_eq!(outline(&logged), [(17, failed.as_str(), "ValueError"), (9, &next, "")]);
    let exception = logged[0].exception.as_ref().unwrap();
    assert!(exception.stacktrace.starts_with("Traceback"), "{exception:?}");
    let http = stack("go-http");
    let body = http[0].body.split_once(' ').unwrap().1.split_once(' ').unwrap().1;
    assert!(body.starts_with("http: panic serving 127.0.0.1:"), "{body}");
    for log in ["uvicorn", "gunicorn", "structlog-console", "logback", "spring-boot", "log4j", "pino"] {
        let records = records(&fs::read(format!("{FORMATS}/lines/{log}.log")).unwrap(), &[usize::MAX]);
        let with_exception: Vec<_> = records.iter().filter(|record| record.exception.is_some()).collect();
        assert!(!with_exception.is_empty(), "{log}: {records:#?}");
        for record in with_exception {
            assert_eq!(
                record.severity.as_ref().map(|severity| severity.number),
                Some(17),
                "{log}: {record:?}"
            );
            assert!(!record.exception.as_ref().unwrap().kind.is_empty(), "{log}: {record:?}");
        }
    }
}

#[test]
fn a_log_line_between_the_lines_of_a_traceback_is_a_record_of_its_own() {
    let interleaved = stack("python-interleaved");
    let no_file = "FileNotFoundError: [Errno 2] No such file or directory: '/no/such/file'";
    let expected = [
        (13, "WARNING:app.jobs:severity 13: of another thread", ""),
        (0, no_file, "FileNotFoundError"),
        (9, "INFO:app.jobs:severity 9: after it", ""),
    ];
    assert_eq!(outline(&interleaved), expected);
}

#[test]
fn prose_has_no_severity() {
    for line in [
        "there was an error: file not found",
        "got ERROR from server",
        "10 errors, 2 warnings",
        "10 ERROR lines",
        "Error rate is 5 %",
        "information about INFO",
        "DEBUG mode is on",
        "TRACE of the request follows",
        "LOG",
        "Fatal Attraction",
        "errors: none",
        "(INFO) x",
        "x: [see INFO]",
        "-- INFO",
        "2026-11-21 the day of the ERROR",
        "09:50:51 said INFO once",
        "a=b level=info",
        "{\"level\": \"info\"}",
        "{\"event\": \"x\"}",
        "<9999>x",
        "<7>",
        "<b>bold</b>",
        " 10%|█         | 1/10 [00:01<00:09,  1.00s/it]",
    ] {
        let records = records(format!("{line}\n").as_bytes(), &[usize::MAX]);
        assert_eq!(outline(&records), [(0, line.trim_start(), "")].map(|(n, _, k)| (n, line, k)), "{line}");
    }
}

#[test]
fn a_thread_in_brackets_may_stand_before_a_severity_and_a_logger() {
    let severities = |text: &str| records(text.as_bytes(), &[usize::MAX])[0].severity.clone();
    let warn = severities("[main] WARN org.example.App - severity 13\n");
    assert_eq!(warn.map(|severity| severity.number), Some(13));
    for prose in ["[main] WARN about this\n", "[main] warn org.example.App - text\n", "[1] ERROR\n"] {
        assert_eq!(severities(prose), None, "{prose}");
    }
}

#[test]
fn a_structured_line_without_a_message_is_the_body() {
    for line in ["level=info msg= n=1", "level=info msg=\"\" n=1", r#"{"level":"info","msg":""}"#] {
        let records = records(line.as_bytes(), &[usize::MAX]);
        assert_eq!(outline(&records), [(9, line, "")]);
    }
}

#[test]
fn a_redrawn_line_is_its_last_state() {
    let shown = |text: &str| {
        let records = records(text.as_bytes(), &[usize::MAX]);
        records.into_iter().map(|record| record.body).collect::<Vec<_>>()
    };
    for (text, expected) in [
        ("\r 10%\r 50%\r100%\n", &["100%"][..]),
        ("10%\r50%\r100%\r\n", &["100%"]),
        ("50%\r     \rINFO: x\n", &["INFO: x"]),
        ("100%\r    \r\nnext\r\n", &["100%", "next"]),
        ("a\r\r\n", &["a"]),
        ("\x1b[2K\x1b[1G⠋ one\x1b[2K\x1b[1G⠙ two\n", &["⠙ two"]),
        ("one\x1b[0Gtwo\x1b[K\n", &["two"]),
        ("-\x08\\\x08|\x08done\n", &["done"]),
        ("éà\x08\x08x\n", &["x"]),
        ("\x1b[1;31mred\x1b[0m \x1b(Btext\n", &["red text"]),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x07!\n", &["link!"]),
        ("\x1b]0;title\nnext\n", &["next"]),
        ("\x1b[12\n34m\n", &["34m"]),
        ("a\0b\x07c\td\n", &["abc\td"]),
        ("a\u{9b}b\n", &["ab"]),
        ("\n \n\r\n\t\n", &[]),
        ("no newline", &["no newline"]),
    ] {
        assert_eq!(shown(text), expected, "{text:?}");
    }
}

#[test]
fn nothing_is_held_for_longer_than_a_second() {
    let (mut assembler, mut records) = (Assembler::default(), Vec::new());
    assembler.push(b"Continue? ", 5, &mut records);
    assert_eq!((assembler.deadline_ns(), records.len()), (Some(5 + MAX_HELD_NS), 0));
    assembler.expire(4 + MAX_HELD_NS, &mut records);
    assert_eq!(records.len(), 0);
    assembler.expire(5 + MAX_HELD_NS, &mut records);
    assert_eq!((records[0].body.as_str(), records[0].observed_ns), ("Continue?", 5));
    assert_eq!(assembler.deadline_ns(), None);
    // Spaces alone do not wait, and what follows them does not inherit their time.
    assembler.push(b"  ", 6 + MAX_HELD_NS, &mut records);
    assert_eq!(assembler.deadline_ns(), None);
    assembler.push(b"x", 6 + 3 * MAX_HELD_NS, &mut records);
    assert_eq!(assembler.deadline_ns(), Some(6 + 4 * MAX_HELD_NS));
    assembler.push(b"\n", 6 + 3 * MAX_HELD_NS, &mut records);
    assembler.finish(&mut records);
    assert_eq!(records[1].body, "  x");
    // A bar waits as long as it is redrawn.
    records.clear();
    let half = MAX_HELD_NS / 2;
    for step in 0..10 {
        assembler.push(format!("\r{step}").as_bytes(), step * half, &mut records);
    }
    assert_eq!(records, []);
    assembler.push(b"", 9 * half + MAX_HELD_NS, &mut records);
    assert_eq!((records[0].body.as_str(), records[0].observed_ns), ("9", 9 * half));
    // A traceback is closed, although it is not complete.
    records.clear();
    assembler.push(b"\nTraceback (most recent call last):\n", 100 * half, &mut records);
    assembler.push(b"  File \"a\", line 1\n", 101 * half, &mut records);
    assert_eq!((assembler.deadline_ns(), records.len()), (Some(100 * half + MAX_HELD_NS), 0));
    assembler.push(b"ValueError: x\n", 102 * half, &mut records);
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].lines, 2);
}

#[test]
fn lines_and_records_are_limited() {
    let line = "é".repeat(MAX_LINE_BYTES);
    let records_of_line = records(format!("x{line}\nnext\n").as_bytes(), &[1000]);
    assert_eq!(records_of_line[0].body.len(), MAX_LINE_BYTES - 1);
    // With the first byte of the character that was cut in two.
    assert_eq!(records_of_line[0].cut_bytes, MAX_LINE_BYTES as u64 + 2);
    assert_eq!(records_of_line[1].body, "next");
    let frame = format!("  File \"{}\", line 1\n", "a".repeat(1000)).repeat(1000);
    let text = format!("Traceback (most recent call last):\n{frame}ValueError: x\n");
    let records = records(text.as_bytes(), &[4096]);
    let [Record { exception: Some(exception), lines: 1002, cut_bytes, .. }] = &records[..] else {
        panic!("{records:#?}")
    };
    let kept = exception.stacktrace.len() as u64;
    assert!((255 * 1024..=256 * 1024).contains(&kept), "{kept}");
    assert!(kept + cut_bytes + 1002 >= text.len() as u64, "{kept} kept, {cut_bytes} cut");
}

#[test]
fn json_on_several_lines_is_one_record_if_it_is_complete() {
    let json = "{\n  \"level\": \"warn\",\n  \"msg\": \"a } b\",\n  \"n\": [\n    1\n  ]\n}\nx\n";
    let records_of_json = records(json.as_bytes(), &[usize::MAX]);
    assert_eq!(outline(&records_of_json), [(13, "a } b", ""), (0, "x", "")]);
    assert_eq!(records_of_json[0].lines, 7);
    let broken = records(b"{\n  \"level\": 1,\nINFO: x\n", &[usize::MAX]);
    assert_eq!(outline(&broken), [(0, "{", ""), (0, "  \"level\": 1,", ""), (9, "INFO: x", "")]);
}

/// Pieces of streams, with what starts, continues and ends groups of lines.
const PIECES: &[&str] = &[
    "INFO:app:x",
    "ERROR: x",
    "x",
    " ",
    "\t",
    "\n",
    "\n",
    "\n",
    "\r",
    "\r\n",
    "\x1b[31m",
    "\x1b[2K",
    "\x1b",
    "\x1b]0;",
    "\x07",
    "\x08",
    "Traceback (most recent call last):\n",
    "  File \"a.py\", line 1\n",
    "    x\n",
    "ValueError: x\n",
    "    at f (a.js:1:2)\n",
    "java.lang.Error: x\n",
    "\tat a.B(C.java:1)\n",
    "Caused by: x\n",
    "/a.js:1\n",
    "    ^\n",
    "Node.js v20\n",
    "panic: x\n",
    "goroutine 1 [running]:\n",
    "main.f()\n",
    "\t/a.go:1\n",
    "thread 'main' panicked at a.rs:1:2:\n",
    "note: x\n",
    "stack backtrace:\n",
    "{\n",
    "  \"a\": 1\n",
    "}\n",
    "{\"level\":\"info\",\"msg\":\"x\"}\n",
    "level=info msg=x\n",
    "é",
    "During handling of the above exception, another exception occurred:\n",
    "  + Exception Group Traceback (most recent call last):\n",
    "  | ",
    "[",
    "]",
    "2026-11-21 09:50:51,250",
    "|",
    " - ",
    "<3>",
    "trace_id=",
];

proptest! {
    #[test]
    fn records_do_not_depend_on_chunks_and_count_every_line(
        pieces in vec(select(PIECES), 0..60),
        sizes in vec(1..40_usize, 1..8),
    ) {
        let text = pieces.concat();
        let whole = records(text.as_bytes(), &[usize::MAX]);
        prop_assert_eq!(&whole, &records(text.as_bytes(), &sizes));
        let lines: u64 = whole.iter().map(|record| record.lines).sum();
        let newlines = text.matches('\n').count() as u64;
        prop_assert!(lines <= newlines + 1, "{} lines of {}", lines, newlines);
        prop_assert!(whole.iter().all(|record| !record.body.is_empty() && record.lines > 0));
    }

    #[test]
    fn plain_text_is_in_the_records_line_by_line(lines in vec("[a-z0-9:.|(){} -]{0,40}", 0..30)) {
        let text = lines.join("\n");
        let records = records(text.as_bytes(), &[7]);
        let found: Vec<_> = records.iter().flat_map(|record| {
            let stacktrace = record.exception.as_ref().map_or("", |exception| &exception.stacktrace);
            let text = if stacktrace.is_empty() { &record.body } else { stacktrace };
            text.lines().map(str::to_owned).collect::<Vec<_>>()
        }).collect();
        let expected: Vec<_> =
            lines.iter().map(|line| line.trim_end()).filter(|line| !line.is_empty()).collect();
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn fixtures_give_the_same_records_in_any_chunks() {
    for (name, bytes) in logs("lines").into_iter().chain(logs("stacks")) {
        let whole = records(&bytes, &[usize::MAX]);
        for sizes in [&[1][..], &[13, 64, 5]] {
            assert_eq!(records(&bytes, sizes), whole, "{name}, in {sizes:?}");
        }
    }
}
