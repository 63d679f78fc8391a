//! Sidecars that export to a collector, and their counters.

use super::collector::{Collector, Protocol};
use crate::support::{Finished, Sidecar};
use std::collections::BTreeMap;
use telemetry_sidecar::exporter::otlp::proto::common::v1::{KeyValue, any_value::Value};

/// The shortest intervals.
pub const QUICK: [(&str, &str); 3] = [
    ("OTEL_BSP_SCHEDULE_DELAY", "20"),
    ("OTEL_BLRP_SCHEDULE_DELAY", "20"),
    ("OTEL_METRIC_EXPORT_INTERVAL", "20"),
];

/// A sidecar that exports to a port. Its worker prints the lines that the test writes.
pub fn exporting(port: u16, protocol: Protocol, options: &[&str], variables: &[(&str, &str)]) -> Sidecar {
    let endpoint = format!("--export-otlp=http://127.0.0.1:{port}");
    wrap(&[&["--drain-timeout", "30s", &endpoint], options].concat(), protocol, variables)
}

pub fn wrap(options: &[&str], protocol: Protocol, variables: &[(&str, &str)]) -> Sidecar {
    let start = ["--ready-file", "{dir}/ready", "-v"];
    let words = [&start[..], options, &["--", "sh", "-c", "exec cat >&2"]].concat();
    let mut builder = Sidecar::command(&words).env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol.name());
    for (name, value) in variables {
        builder = builder.env(name, value);
    }
    builder.start()
}

/// Replays a recording to its end, with the default drain timeout.
pub fn replay(
    collector: &Collector,
    protocol: Protocol,
    recording: String,
    variables: &[(&str, &str)],
) -> Finished {
    start_replay(collector.port, protocol, recording, variables).finish()
}

pub fn start_replay(port: u16, protocol: Protocol, recording: String, variables: &[(&str, &str)]) -> Sidecar {
    start_replay_with(port, protocol, &[], recording, variables)
}

pub fn start_replay_with(
    port: u16,
    protocol: Protocol,
    options: &[&str],
    recording: impl AsRef<[u8]>,
    variables: &[(&str, &str)],
) -> Sidecar {
    let endpoint = format!("--export-otlp=http://127.0.0.1:{port}");
    let words = [&["replay", "-v", &endpoint], options, &["{dir}/recording"]].concat();
    let mut builder = Sidecar::command(&words).env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol.name());
    std::fs::write(builder.path("recording"), recording).unwrap();
    for (name, value) in variables {
        builder = builder.env(name, value);
    }
    builder.start()
}

/// The lines of a span of 5 ms.
pub fn span(operation: &str, id: &str) -> String {
    let line = |phase, at, measurements| {
        format!(
            "TELEMETRY:{{\"event\": \"{operation}.{phase}\", \"measurements\": {{{measurements}}}, \
             \"metadata\": {{\"tool\": \"x\"}}, \"timestamp_ns\": {at}, \"correlation_id\": \"{id}\"}}\n"
        )
    };
    let at = 1_700_000_000_000_000_000_i64;
    line("start", at, "\"bytes\": 7") + &line("stop", at + 5_000_000, "\"duration\": 5000000")
}

/// The exporter's own counters from the summary printed at the end.
pub fn counters(finished: &Finished) -> BTreeMap<String, u64> {
    let stderr = finished.stderr();
    let topics = ["telemetry-sidecar: otlp: ", "telemetry-sidecar: otlp failures: "];
    let lines = stderr.lines().filter_map(|line| topics.iter().find_map(|topic| line.strip_prefix(topic)));
    let parts: Vec<_> = lines.flat_map(|line| line.split("; ")).collect();
    assert!(parts.iter().any(|part| part.contains(" offered")), "no accounting: {}", finished.describe());
    let pairs = parts.iter().filter_map(|part| {
        let (name, count) = part.split_once(' ')?;
        Some((name.to_owned(), count.replace(',', "").parse().ok()?))
    });
    pairs.collect()
}

#[track_caller]
pub fn expect_counters(finished: &Finished, expected: &[(&str, u64)]) {
    let counters = counters(finished);
    for (name, count) in expected {
        let got = counters.get(*name).copied().unwrap_or_default();
        assert_eq!(got, *count, "{name}: {}", finished.describe());
    }
}

pub fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    let attribute = attributes.iter().find(|attribute| attribute.key == key)?;
    match attribute.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(int) => Some(int.to_string()),
        other => panic!("{other:?}"),
    }
}
