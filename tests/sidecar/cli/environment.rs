//! Options from environment variables.

use crate::support::{BINARY, Sidecar, line, refusal::expect_words};
use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _, process::Command};

#[test]
fn options_are_read_from_the_environment() {
    let echo = r#"echo 'TELEMETRY:{"event": "a"}' >&2"#;
    let sidecar = Sidecar::command(&["--", "sh", "-c", echo])
        .env("TELEMETRY_SIDECAR_QUIET", "1")
        .env("TELEMETRY_SIDECAR_METADATA", "region=eu\nzone=b\n")
        .env("TELEMETRY_SIDECAR_LISTEN", "")
        .env("TELEMETRY_SIDECAR_EXPORT_JSONL", "/dev/stdout")
        .start();
    let finished = sidecar.finish();
    assert!(finished.expect_code(0).stdout().contains(r#""metadata": {"region": "eu", "zone": "b"}"#));
    assert_eq!(finished.stderr(), "");
}

#[test]
fn the_command_line_overrides_the_environment() {
    let sidecar = Sidecar::command(&["--sampling-rate", "1", "--", "true"])
        .env("TELEMETRY_SIDECAR_SAMPLING_RATE", "0.5")
        .env("TELEMETRY_SIDECAR_QUIET", "false")
        .start();
    assert!(sidecar.finish().expect_code(0).stderr().starts_with("GRPC_READY:"));
}

#[test]
fn an_invalid_variable_is_reported_by_its_name() {
    let bytes = |bytes: &[u8]| OsStr::from_bytes(bytes).to_owned();
    for (name, value, cause) in [
        ("TELEMETRY_SIDECAR_SAMPLING_RATE", "2".into(), "'2': expected a number from 0 to 1"),
        ("TELEMETRY_SIDECAR_QUEUE_CAPACITY", "0".into(), "'0': expected a whole number"),
        ("TELEMETRY_SIDECAR_QUIET", "yes".into(), "'yes': expected 0, 1, true or false"),
        ("TELEMETRY_SIDECAR_VERBOSE", "true".into(), "'true': expected a whole number from 0 to 255"),
        ("TELEMETRY_SIDECAR_METADATA", "a=b\nc".into(), "'c': expected KEY=VALUE"),
        ("TELEMETRY_SIDECAR_LISTEN", "0.0.0.0:0".into(), "'0.0.0.0:0': other hosts can reach it"),
        ("TELEMETRY_SIDECAR_RECORD", "/nonexistent/x".into(), "the directory /nonexistent does not exist"),
        ("TELEMETRY_SIDECAR_ALLOW", bytes(b"a\n\xff"), "not UTF-8"),
        ("TELEMETRY_SIDECAR_PACE", "1".into(), ""),
    ] {
        let start = |words: &[&str]| {
            let output = Command::new(BINARY).args(words).env(name, &value).output().unwrap();
            (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
        };
        let (code, line) = start(&["--", "true"]);
        if cause.is_empty() {
            // An option of `replay` only.
            assert_eq!(code, 0, "{name}: {line}");
        } else {
            assert_eq!((code, line.lines().count()), (125, 1), "{name}: {line}");
            expect_words(&line, &[&format!("telemetry-sidecar: {name}: "), cause]);
        }
        // Other subcommands do not read the variable.
        assert_eq!(start(&["decode", "/dev/null"]), (0, String::new()), "{name}");
    }
}

#[test]
fn an_exporter_disabled_by_a_variable_does_not_count_as_a_consumer() {
    let words = ["replay", "--ready-file", "{dir}/ready", "--max-subscribers", "1", "{dir}/log"];
    let builder = Sidecar::command(&words).env("TELEMETRY_SIDECAR_EXPORT_OTLP", "0");
    std::fs::write(builder.path("log"), line("a", 1, "")).unwrap();
    let sidecar = builder.start();
    sidecar.port();
    // The replay waits for a subscriber.
    sidecar.signal(nix::sys::signal::Signal::SIGTERM);
    sidecar.finish().expect_signal(nix::libc::SIGTERM);
}

#[test]
fn the_worker_does_not_inherit_the_variables_of_the_sidecar() {
    let sidecar = Sidecar::command(&["--", "env"])
        .env("TELEMETRY_SIDECAR_QUIET", "1")
        .env("TELEMETRY_SIDECAR_EMBEDDED", "")
        .env("TELEMETRY_SIDECAR_PACE", "1")
        .env("TELEMETRY_OF_MY_OWN", "kept")
        .start();
    let environment = sidecar.finish().expect_code(0).stdout();
    assert!(environment.contains("TELEMETRY_OF_MY_OWN=kept"), "{environment}");
    assert!(!environment.contains("TELEMETRY_SIDECAR_"), "{environment}");
    assert!(environment.lines().any(|line| line == "TELEMETRY_SIDECAR=1"), "{environment}");
}

#[test]
fn a_variable_that_no_option_has_is_refused_where_variables_are_read() {
    for (name, value, expected) in [
        ("TELEMETRY_SIDECAR_LISTN", "x", "did you mean TELEMETRY_SIDECAR_LISTEN?"),
        ("TELEMETRY_SIDECAR_STATSD_TAGS", "a", "did you mean DD_TAGS?"),
        ("TELEMETRY_SIDECAR_PORT", "1", "did you mean TELEMETRY_SIDECAR_LISTEN?"),
        ("TELEMETRY_SIDECAR_XYZZY", "1", "no such variable (see --help)"),
        // The prefix is not complete, it is meant for others, or it counts as unset.
        ("TELEMETRY_SIDECAR", "1", ""),
        ("TELEMETRY_SIDECAR_BIN", "/x", ""),
        ("TELEMETRY_SIDECAR_XYZZY", "", ""),
    ] {
        for (words, reads) in [
            (&["-q", "--", "true"][..], true),
            (&["replay", "/nonexistent"], true),
            (&["decode", "/dev/null"], false),
        ] {
            let output = Command::new(BINARY).args(words).env(name, value).output().unwrap();
            let line = String::from_utf8(output.stderr).unwrap();
            if reads && !expected.is_empty() {
                assert_eq!((output.status.code(), line.lines().count()), (Some(125), 1), "{line}");
                expect_words(&line, &[&format!("telemetry-sidecar: {name}: "), expected]);
            } else {
                assert!(!line.contains(name), "{line}");
            }
        }
    }
}

#[test]
fn an_endpoint_that_was_typed_overrides_one_of_the_environment() {
    for (variable, value, words, endpoint) in [
        ("EXPORT_OTLP", "http://127.0.0.1:1", &["--export-otlp", "--otlp-endpoint", "x"][..], "'x'"),
        ("OTLP_ENDPOINT", "y", &["--export-otlp"], "TELEMETRY_SIDECAR_OTLP_ENDPOINT: 'y'"),
        ("EXPORT_OTLP", "TRUE", &[], "or https://HOST:PORT, or 0, 1, true or false\n"),
        ("OTLP_ENDPOINT", "http://127.0.0.1:1", &[], ""),
    ] {
        let sidecar = Sidecar::command(&[&["-q"], words, &["--", "true"]].concat());
        let finished = sidecar.env(&format!("TELEMETRY_SIDECAR_{variable}"), value).start().finish();
        if endpoint.is_empty() {
            assert_eq!(finished.expect_code(0).stderr(), "");
        } else {
            expect_words(&finished.expect_code(125).stderr(), &[endpoint, "expected http://HOST:PORT"]);
        }
    }
}
