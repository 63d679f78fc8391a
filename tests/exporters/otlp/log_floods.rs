//! `--otlp-logs` with long recordings, long lines and floods: spans, order and accounting stay exact.

use super::{
    collector::{Collector, Protocol, Reply},
    exporting::{expect_counters, exporting, start_replay_with, text},
    logs::{LOGS, body, expect_balance},
};
use crate::support::{Sidecar, wait_until};
use std::{collections::HashMap, fmt::Write as _, time::Duration};

/// A recording in which each span has a correlation id, and each line names the one in which it stands, or
/// `none`. The events have the timestamp that `at` gives for their number.
fn recording(spans: usize, at: impl Fn(usize) -> String) -> String {
    let mut recording = String::new();
    for span in 0..spans {
        for (phase, place) in [("start", format!("span-{span}")), ("stop", "none".into())] {
            let number = span * 2 + usize::from(phase == "stop");
            let id = format!("\"correlation_id\": \"span-{span}\"{}", at(number));
            writeln!(recording, "TELEMETRY:{{\"event\": \"tool.{phase}\", {id}}}").unwrap();
            (0..3).for_each(|_| writeln!(recording, "{place} {}", "x".repeat(200)).unwrap());
        }
    }
    recording
}

/// How many of the lines have another span than the one they name.
fn misplaced(collector: &Collector) -> usize {
    let id_of = |attributes: &[_]| text(attributes, "snakepit.correlation_id").unwrap_or_default();
    let spans: HashMap<_, _> =
        collector.spans().into_iter().map(|span| (span.span_id, id_of(&span.attributes))).collect();
    let is_misplaced = |place: &str, id: &Vec<u8>| spans.get(id).map_or("none", String::as_str) != place;
    let logs = collector.logs();
    logs.iter().filter(|log| is_misplaced(body(log).split(' ').next().unwrap(), &log.span_id)).count()
}

#[test]
fn in_a_long_replay_each_line_has_the_span_in_which_it_stands() {
    // Without timestamps, and with those of threads that wrote in another order than they took the time.
    let none = |_: usize| String::new();
    let swapped = |number: usize| format!(", \"timestamp_ns\": {}", 1_700_000_000_000_000_000 + (number ^ 1));
    for recording in [recording(2000, none), recording(2000, swapped)] {
        let slow = vec![Reply::Slow(Duration::from_millis(2)); 1000];
        let collector = Collector::start(Protocol::Grpc, &slow);
        let finished = start_replay_with(collector.port, Protocol::Grpc, &[LOGS], recording, &[]).finish();
        finished.expect_code(0);
        expect_counters(&finished, &[("logs_exported", 12_000), ("spans_exported", 2000)]);
        assert_eq!(misplaced(&collector), 0);
    }
}

#[test]
fn records_that_fill_the_queue_do_not_wait_for_the_schedule_delay() {
    let collector = Collector::start(Protocol::Grpc, &[]);
    let variables = [("OTEL_BLRP_SCHEDULE_DELAY", "600000")];
    let mut sidecar = exporting(collector.port, Protocol::Grpc, &[LOGS], &variables);
    let mut lines = 0;
    wait_until("records", || {
        // Not more at a time than may wait, and in all fewer than a batch.
        if lines < 500 {
            (0..4).for_each(|_| sidecar.write(format!("{}\n", "x".repeat(60_000))));
            lines += 4;
        }
        !collector.logs().is_empty()
    });
    let finished = sidecar.finish();
    expect_counters(&finished, &[("log_lines", lines)]);
    expect_balance(&finished);
}

#[test]
fn a_flood_of_blank_lines_does_not_keep_the_end_from_being_counted() {
    let collector = Collector::start(Protocol::Grpc, &[]);
    let endpoint = format!("--export-otlp=http://127.0.0.1:{}", collector.port);
    let script = "echo first >&2; yes '' | head -c 20000000 >&2; echo last >&2";
    let options = ["--drain-timeout", "10s", &endpoint, LOGS, "-v", "--", "sh", "-c", script];
    let finished = Sidecar::command(&options).start().finish();
    finished.expect_code(0);
    assert_eq!(expect_balance(&finished), 2);
}

#[test]
fn lines_of_a_json_text_that_never_ends_are_all_counted() {
    let collector = Collector::start(Protocol::Grpc, &[]);
    let recording = format!("{{\n{}", "  \"key\": \"value\",\n".repeat(20_000));
    let finished = start_replay_with(collector.port, Protocol::Grpc, &[LOGS], recording, &[]).finish();
    expect_counters(&finished, &[("logs_exported", 20_001), ("logs_cut", 0)]);
    assert_eq!(expect_balance(&finished), 20_001);
}
