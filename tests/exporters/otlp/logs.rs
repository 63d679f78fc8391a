//! `--otlp-logs`: the log records of a worker's ordinary lines, and their accounting.

use super::{
    collector::{Collector, Protocol, Reply},
    exporting::{QUICK, counters, expect_counters, exporting, span, start_replay_with, text, wrap},
};
use crate::support::{Finished, Sidecar, run, wait_until};
use std::{collections::HashSet, fs::File, process::Stdio, time::Duration};
use telemetry_sidecar::exporter::otlp::proto::{
    common::v1::any_value::Value, logs::v1::LogRecord, trace::v1::Span,
};
use tonic::Code;

pub const LOGS: &str = "--otlp-logs";

pub fn body(record: &LogRecord) -> &str {
    match record.body.as_ref().and_then(|body| body.value.as_ref()) {
        Some(Value::StringValue(text)) => text,
        other => panic!("{other:?}"),
    }
}

fn bodies(records: &[LogRecord]) -> Vec<&str> {
    records.iter().map(body).collect()
}

/// Every line is counted once. Returns how many there were.
#[track_caller]
pub fn expect_balance(finished: &Finished) -> u64 {
    let counters = counters(finished);
    let get = |name: &str| counters.get(name).copied().unwrap_or_default();
    let parts = ["logs_exported", "logs_rejected", "logs_failed", "logs_dropped"].map(get);
    assert_eq!(get("log_lines"), parts.iter().sum::<u64>(), "{}", finished.describe());
    get("log_lines")
}

#[test]
fn lines_arrive_as_records_over_both_protocols_and_stderr_stays_as_it_is() {
    for protocol in Protocol::BOTH {
        let collector = Collector::start(protocol, &[]);
        let variables = [&[("OTEL_EXPORTER_OTLP_LOGS_HEADERS", "x-team=logs")][..], &QUICK].concat();
        let mut sidecar = exporting(collector.port, protocol, &[LOGS], &variables);
        sidecar.write("loading the model\n\n");
        wait_until("a record", || !collector.logs().is_empty());
        let request = collector.received().into_iter().find(|request| !request.logs.is_empty()).unwrap();
        let expected = match protocol {
            Protocol::Grpc => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
            Protocol::Http => "/v1/logs",
        };
        assert_eq!((&*request.path, request.headers["x-team"].to_str().unwrap()), (expected, "logs"));
        assert_eq!(text(&request.resource.attributes, "service.name").as_deref(), Some("unknown_service:sh"));
        let record = &request.logs[0];
        assert_eq!((record.time_unix_nano, record.severity_number), (0, 0));
        assert!(record.observed_time_unix_nano > 1_700_000_000_000_000_000 && record.trace_id.is_empty());
        assert_eq!(text(&record.attributes, "log.iostream").as_deref(), Some("stderr"));

        // A prompt without a newline arrives while the worker waits for an answer.
        sidecar.write("Continue? [y/N] ");
        wait_until("the prompt", || collector.logs().len() == 2);
        sidecar.write(format!("yes\n{}last\r\n", span("tool.run", "a")));
        let finished = sidecar.finish();
        finished.expect_code(0);
        let expected = ["loading the model", "Continue? [y/N]", "yes", "last"];
        assert_eq!(bodies(&collector.logs()), expected);
        let stderr = finished.stderr();
        let worker: String =
            stderr.split_inclusive('\n').filter(|line| !line.contains("sidecar: ")).collect();
        assert_eq!(worker, "loading the model\n\nContinue? [y/N] yes\nlast\r\n");
        expect_counters(&finished, &[("logs_exported", 4), ("spans_exported", 1)]);
        assert_eq!(expect_balance(&finished), 4);
    }
}

#[test]
fn a_line_belongs_to_the_span_that_was_open_when_it_was_written() {
    let event = |phase: &str, id: &str, timestamp: &str| {
        format!("TELEMETRY:{{\"event\": \"tool.{phase}\", \"correlation_id\": \"{id}\"{timestamp}}}\n")
    };
    let at = |ns: i64| format!(", \"timestamp_ns\": {}", 1_700_000_000_000_000_000 + ns);
    // With timestamps and without: then those of one read have the same.
    for [one, two, three, four] in [[at(1), at(2), at(3), at(4)], <[String; 4]>::default()] {
        let lines = [
            "before\n".into(),
            event("start", "first-one", &one),
            "within\n".into(),
            event("stop", "first-one", &two),
            "between\n".into(),
            event("start", "other-one", &three),
            event("start", "third-one", &three),
            "of several\n".into(),
            event("stop", "third-one", &four),
            "within the other\n".into(),
        ];
        let collector = Collector::start(Protocol::Grpc, &[]);
        let recording = lines.concat();
        let replayed = start_replay_with(collector.port, Protocol::Grpc, &[LOGS], &recording, &[]).finish();
        expect_counters(&replayed, &[("logs_exported", 5)]);
        let mut sidecar = exporting(collector.port, Protocol::Grpc, &[LOGS], &[]);
        sidecar.write(&recording);
        expect_counters(&sidecar.finish(), &[("logs_exported", 5)]);
        let (logs, spans) = (collector.logs(), collector.spans());
        for half in [0, 1] {
            let logs = &logs[half * 5..][..5];
            let spans = &spans[half * 3..][..3];
            let span_of = |id: &str| {
                let id_of = |span: &Span| text(&span.attributes, "snakepit.correlation_id");
                spans.iter().find(|span| id_of(span).as_deref() == Some(id)).unwrap()
            };
            let ids: Vec<_> = logs.iter().map(|record| (body(record), record.span_id.clone())).collect();
            let [first, other] = ["first-one", "other-one"].map(span_of);
            let expected = [
                ("before", Vec::new()),
                ("within", first.span_id.clone()),
                ("between", Vec::new()),
                ("of several", Vec::new()),
                ("within the other", other.span_id.clone()),
            ];
            assert_eq!(ids, expected);
            assert_eq!((&logs[1].trace_id, logs[1].flags), (&first.trace_id, 1));
        }
    }
}

#[test]
fn a_replay_delivers_every_line_to_a_slow_collector() {
    for protocol in Protocol::BOTH {
        let collector = Collector::start(protocol, &vec![Reply::Slow(Duration::from_millis(2)); 1000]);
        let lines: Vec<_> = (0..20_000).map(|number| format!("line {number} {}", "x".repeat(300))).collect();
        let mut recording = String::new();
        for (number, line) in lines.iter().enumerate() {
            recording.extend([line, "\n"]);
            if number % 100 == 0 {
                recording += &span("tool.run", &number.to_string());
            }
        }
        let variables = [("OTEL_BLRP_MAX_QUEUE_SIZE", "100"), ("OTEL_BSP_MAX_QUEUE_SIZE", "50")];
        let options = [LOGS, "--no-stderr"];
        let finished = start_replay_with(collector.port, protocol, &options, recording, &variables).finish();
        finished.expect_code(0);
        assert!(bodies(&collector.logs()).into_iter().eq(lines.iter().map(String::as_str)));
        expect_counters(&finished, &[("logs_exported", 20_000), ("spans_exported", 200)]);
        assert_eq!(expect_balance(&finished), 20_000);
    }
}

#[test]
fn a_collector_that_is_down_holds_no_worker_and_every_line_is_counted() {
    // 20 MB: more than may wait. The exporter has half a second of the drain to count what it lost, so these
    // are few lines.
    let script = "yes \"text: $(printf %03994d 7 | tr 0 x)\" | head -n 5000 >&2";
    for (reply, cause) in [
        (Reply::Silence, "the drain timeout expired"),
        (Reply::Grpc(Code::PermissionDenied, None), "no at http"),
    ] {
        let collector = Collector::start(Protocol::Grpc, &vec![reply; 10_000]);
        let endpoint = format!("--export-otlp=http://127.0.0.1:{}", collector.port);
        let options = ["--drain-timeout", "2s", &endpoint, LOGS, "-v", "--", "sh", "-c", script];
        let finished = Sidecar::command(&options).start().finish();
        finished.expect_code(0);
        // On a busy machine the rest of a line may come a second after its start, and counts as another line.
        let lines = expect_balance(&finished);
        assert!((5_000..5_100).contains(&lines), "{lines}");
        expect_counters(&finished, &[("logs_exported", 0), ("logs_rejected", 0)]);
        let stderr = finished.stderr();
        let loss = stderr.lines().find(|line| line.contains(" log lines not delivered: "));
        assert!(loss.is_some_and(|loss| loss.contains("otlp: ")), "{cause}: {}", stderr.len());
    }
}

#[test]
fn rejected_records_are_counted_in_lines() {
    let collector = Collector::start(Protocol::Http, &[Reply::Partial(1)]);
    let recording = "one\ntwo\nthree\nfour\n";
    let finished = start_replay_with(collector.port, Protocol::Http, &[LOGS], recording, &[]).finish();
    expect_counters(&finished, &[("logs_exported", 3), ("logs_rejected", 1), ("logs_failed", 0)]);
    assert_eq!(expect_balance(&finished), 4);
    assert!(finished.stderr().contains("otlp: 1 log line not delivered: rejected: too old"));
}

#[test]
fn lines_are_exported_even_if_stderr_takes_none() {
    let full = || Stdio::from(File::options().write(true).open("/dev/full").unwrap());
    for closed in [false, true] {
        let collector = Collector::start(Protocol::Grpc, &[]);
        let endpoint = format!("--export-otlp=http://127.0.0.1:{}", collector.port);
        let words =
            ["--drain-timeout", "30s", &endpoint, LOGS, "--", "sh", "-c", "echo one >&2; echo two >&2"];
        let command = Sidecar::command(&words);
        let command = if closed { command.after("exec 2>&-") } else { command.stderr(full()) };
        command.start().finish().expect_code(0);
        assert_eq!(bodies(&collector.logs()), ["one", "two"], "closed: {closed}");
    }
}

#[test]
fn the_sidecars_own_log_is_not_exported() {
    let collector = Collector::start(Protocol::Grpc, &[]);
    let mut sidecar = exporting(collector.port, Protocol::Grpc, &[LOGS, "-vvv"], &QUICK);
    for number in 0..5 {
        sidecar.write(format!("line {number}\n"));
        wait_until("the record", || collector.logs().len() > number);
    }
    let finished = sidecar.finish();
    assert!(finished.stderr().contains("telemetry-sidecar: "));
    let logs = collector.logs();
    assert_eq!(bodies(&logs), ["line 0", "line 1", "line 2", "line 3", "line 4"]);
}

#[test]
fn without_the_option_or_by_the_standard_variable_no_line_is_exported() {
    for (options, variables) in [(&[][..], &[][..]), (&[LOGS], &[("OTEL_LOGS_EXPORTER", "none")])] {
        let collector = Collector::start(Protocol::Grpc, &[]);
        let mut sidecar = exporting(collector.port, Protocol::Grpc, options, variables);
        sidecar.write(format!("a line\n{}", span("tool.run", "a")));
        let finished = sidecar.finish();
        expect_counters(&finished, &[("spans_exported", 1), ("log_lines", 0)]);
        assert_eq!(collector.logs(), []);
        assert_eq!(finished.stderr().contains("otlp: logs are not exported"), !options.is_empty());
    }
    // Alone they need nothing else.
    let collector = Collector::start(Protocol::Grpc, &[]);
    let variables = [("OTEL_TRACES_EXPORTER", "none"), ("OTEL_METRICS_EXPORTER", "none")];
    let mut sidecar = exporting(collector.port, Protocol::Grpc, &[LOGS], &variables);
    sidecar.write(format!("a line\n{}", span("tool.run", "a")));
    expect_counters(&sidecar.finish(), &[("logs_exported", 1), ("spans_exported", 0)]);
    let refused = run(&[LOGS, "--", "true"]);
    refused.expect_code(125);
    assert!(refused.stderr().contains("--otlp-logs: give --export-otlp as well"), "{}", refused.describe());
}

#[test]
fn a_record_is_not_longer_than_64_kib_and_the_rest_is_counted() {
    let collector = Collector::start(Protocol::Grpc, &[]);
    let recording = format!("{}\nshort\n", "x".repeat(100_000));
    let finished = start_replay_with(collector.port, Protocol::Grpc, &[LOGS], recording, &[]).finish();
    let logs = collector.logs();
    assert_eq!([body(&logs[0]).len(), body(&logs[1]).len()], [65_536, 5]);
    expect_counters(&finished, &[("logs_exported", 2), ("logs_cut", 100_000 - 65_536)]);
}

#[test]
fn lines_of_a_run_belong_to_its_span() {
    let collector = Collector::start(Protocol::Grpc, &[]);
    let endpoint = format!("--export-otlp=http://127.0.0.1:{}", collector.port);
    let mut sidecar = wrap(&["--drain-timeout", "30s", &endpoint, LOGS, "--run-span"], Protocol::Grpc, &[]);
    sidecar.write("a line\n");
    sidecar.finish().expect_code(0);
    let ids: HashSet<_> = collector.spans().into_iter().map(|span| (span.trace_id, span.span_id)).collect();
    let [record] = &collector.logs()[..] else { panic!() };
    assert!(ids.contains(&(record.trace_id.clone(), record.span_id.clone())), "{record:?}");
}
