//! `{pid}`, `{ppid}` and `{env:NAME}` in the paths of options.

use crate::support::{
    Sidecar, line,
    refusal::{expect_words, refused, refused_without},
    wait_until,
};
use serde_json::Value;
use std::{collections::BTreeSet, fs, process};

/// One command line for all workers of a pool.
const POOLED: [&str; 12] = [
    "-q",
    "--listen",
    "unix:{env:POOL_DIR}/{pid}.sock",
    "--ready-file",
    "{env:POOL_DIR}/{pid}-{ppid}.ready",
    "--record",
    "{env:POOL_DIR}/{pid}.log",
    "--export-jsonl",
    "{env:POOL_DIR}/{{{pid}}}.jsonl",
    "--metadata",
    "worker={env:POOL_NAME}-{pid}",
    "--",
];

#[test]
fn one_command_line_serves_several_workers() {
    let pool = tempfile::tempdir().unwrap();
    let dir = pool.path().display().to_string();
    let script = format!("printf '{}\\n' >&2; exec cat", line("a", 1, "").trim_end());
    let words = [&POOLED[..], &["sh", "-c", &script]].concat();
    let start = || Sidecar::command(&words).env("POOL_DIR", &dir).env("POOL_NAME", "a=b").start();
    let workers = [start(), start()];
    let mut expected = BTreeSet::new();
    for worker in &workers {
        let (pid, parent) = (worker.pid(), process::id());
        let path = |name: String| pool.path().join(name);
        let ready = path(format!("{pid}-{parent}.ready"));
        wait_until("the ready file", || ready.exists());
        let socket = path(format!("{pid}.sock"));
        assert_eq!(fs::read_to_string(&ready).unwrap(), format!("unix:{}\n", socket.display()));
        assert!(socket.exists());
        let written = [path(format!("{{{pid}}}.jsonl")), path(format!("{pid}.log"))];
        for file in &written {
            wait_until("the event", || fs::read_to_string(file).is_ok_and(|text| text.contains("\"a\"")));
        }
        let event: Value = serde_json::from_str(&fs::read_to_string(&written[0]).unwrap()).unwrap();
        assert_eq!(event["metadata"]["worker"], format!("a=b-{pid}"));
        expected.extend([ready].into_iter().chain(written));
    }
    for worker in workers {
        worker.finish().expect_code(0);
    }
    let left = fs::read_dir(&pool).unwrap().map(|entry| entry.unwrap().path());
    assert_eq!(left.collect::<BTreeSet<_>>(), expected);
}

#[test]
fn variables_of_options_have_placeholders_too() {
    let builder = Sidecar::command(&["-q", "--", "cat"]);
    let dir = builder.dir.path().display().to_string();
    let variable = |name| format!("TELEMETRY_SIDECAR_{name}");
    let sidecar = builder
        .env("BASE", &dir)
        .env(&variable("LISTEN"), "127.0.0.1:{env:PORT}\nunix:{env:BASE}/s-{pid}")
        .env("PORT", "0")
        .env(&variable("READY_FILE"), "{env:BASE}/r-{pid}")
        .start();
    let (ready, socket) = (format!("r-{}", sidecar.pid()), format!("s-{}", sidecar.pid()));
    wait_until("the ready file", || sidecar.path(&ready).exists());
    let content = fs::read_to_string(sidecar.path(&ready)).unwrap();
    let (port, second) = content.split_once('\n').unwrap();
    assert!(port.parse::<u16>().unwrap() > 0);
    assert_eq!(second, format!("unix:{}\n", sidecar.path(&socket).display()));
    sidecar.finish().expect_code(0);
}

#[test]
fn a_wrong_template_is_refused() {
    let known = "expected {pid}, {ppid} or {env:NAME}";
    for (option, value, words) in [
        ("--ready-file", "{dir}/{PID}", &["'{PID}'", known, "{{ writes a brace"][..]),
        ("--record", "/x/{worker}.log", &["/x/{worker}.log", "'{worker}'", known]),
        ("--export-jsonl", "/x/{env:}", &["'{env:}'", known]),
        ("--export-jsonl", "/x/{pid", &["'{' without its counterpart", "{{ and }} write braces"]),
        ("--listen", "unix:/x/{env:NO_SUCH}", &["the environment variable NO_SUCH is not set"]),
        ("--listen", "unix:/x/{pid}}", &["'}' without its counterpart"]),
        ("--listen", "127.0.0.1:{pid}", &["a process id is not a port"]),
        ("--listen", "unix:{env:NO_SUCH}", &["NO_SUCH"]),
        ("--metadata", "a={worker}", &["'{worker}'", known]),
    ] {
        let line = refused(&[option, value]);
        assert!(line.starts_with(&format!("{option}: '")), "{line}");
        expect_words(&line, words);
    }
    for (value, cause) in [("", "is not set"), ("a\nb", "contains a line break")] {
        let words = ["--ready-file", "{dir}/{env:NAME}", "--", "touch", "{dir}/started"];
        let line = refused_without(Sidecar::command(&words).env("NAME", value).start(), "started");
        expect_words(&line, &["--ready-file: '", "the environment variable NAME", cause]);
    }
    let builder = Sidecar::command(&["--", "touch", "{dir}/started"]);
    let sidecar = builder.env("TELEMETRY_SIDECAR_RECORD", "/x/{pid}{").start();
    expect_words(&refused_without(sidecar, "started"), &["TELEMETRY_SIDECAR_RECORD: '/x/{pid}{': '{'"]);
}

/// An error of the file names the file, not the template.
#[test]
fn later_errors_show_the_expanded_path() {
    let words = ["--record", "/nonexistent/{env:NAME}", "--", "touch", "{dir}/started"];
    let line = refused_without(Sidecar::command(&words).env("NAME", "w1").start(), "started");
    expect_words(&line, &["--record: '/nonexistent/w1': the directory /nonexistent does not exist"]);
}

#[test]
fn a_stale_ready_file_at_the_expanded_path_is_removed_even_if_the_start_fails() {
    let stale = ["--ready-file", "{dir}/{env:NAME}"];
    for rest in [
        &["--pipe-size", "x", "--", "true"][..],
        &["--listen", "unix:{wrong}", "--", "true"],
        &["--listen", "unix:/nonexistent/s", "--", "true"],
        &["--metric-label", "x", "--", "true"],
    ] {
        let builder = Sidecar::command(&[&stale, rest].concat()).env("NAME", "ready");
        fs::write(builder.path("ready"), "50051\n").unwrap();
        refused_without(builder.start(), "ready");
    }
}
