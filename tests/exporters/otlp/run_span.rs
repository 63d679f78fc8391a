//! The span of the worker's whole run.

use super::{
    collector::{Collector, Protocol, Received, Reply},
    exporting::{expect_counters, exporting, replay, span, text},
};
use crate::support::{Finished, Sidecar, run, wait_until};
use nix::sys::signal::Signal;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use telemetry_sidecar::exporter::{
    otlp::proto::trace::v1::{Span, status::StatusCode},
    trace_ids::Traceparent,
};

const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Runs a command to its end with these options and variables, below a collector.
fn wrapped(
    collector: &Collector,
    options: &[&str],
    variables: &[(&str, &str)],
    command: &[&str],
) -> Finished {
    let endpoint = format!("--export-otlp=http://127.0.0.1:{}", collector.port);
    let words = [&["-v", "--drain-timeout", "30s", &endpoint], options, &["--"], command].concat();
    let mut builder = Sidecar::command(&words);
    for (name, value) in variables {
        builder = builder.env(name, value);
    }
    builder.start().finish()
}

/// The only span that was received.
fn only(collector: &Collector) -> Span {
    let mut spans = collector.spans();
    assert_eq!(spans.len(), 1, "{spans:#?}");
    spans.remove(0)
}

fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos().try_into().unwrap()
}

fn failed(span: &Span) -> bool {
    span.status.as_ref().is_some_and(|status| status.code == i32::from(StatusCode::Error))
}

#[test]
fn a_run_without_any_event_is_one_span() {
    for protocol in Protocol::BOTH {
        let collector = Collector::start(protocol, &[]);
        let begin = now_ns();
        let variables = [("OTEL_EXPORTER_OTLP_PROTOCOL", protocol.name())];
        let finished = wrapped(&collector, &["--run-span"], &variables, &["true"]);
        finished.expect_code(0);
        let span = only(&collector);
        let said = |key| text(&span.attributes, key);
        assert_eq!((span.name.as_str(), span.kind, span.flags), ("true", 1, 0x101));
        assert_eq!(said("process.executable.name").as_deref(), Some("true"));
        assert_eq!(said("process.exit.code").as_deref(), Some("0"));
        assert_eq!((said("error.type"), span.status.is_some()), (None, false));
        let resource = &collector.traces()[0].resource.attributes;
        assert_eq!(said("process.pid"), text(resource, "process.pid"));
        assert!(span.parent_span_id.is_empty());
        assert!(begin <= span.start_time_unix_nano && span.start_time_unix_nano < span.end_time_unix_nano);
        assert!(span.end_time_unix_nano <= now_ns());
        expect_counters(&finished, &[("spans_exported", 1), ("spans_incomplete", 0)]);
    }
}

#[test]
fn it_says_how_the_worker_ended_and_the_exit_status_stays_the_workers() {
    for (script, code, signal, error) in [
        ("exit 3", "3", None, Some("3")),
        ("kill -KILL $$", "137", Some(Signal::SIGKILL), Some("SIGKILL")),
        ("kill -TERM $$", "143", Some(Signal::SIGTERM), None),
    ] {
        let collector = Collector::start(Protocol::Grpc, &[]);
        let finished = wrapped(&collector, &["--run-span=nightly job"], &[], &["sh", "-c", script]);
        match signal {
            Some(signal) => finished.expect_signal(signal as i32),
            None => finished.expect_code(code.parse().unwrap()),
        };
        let span = only(&collector);
        let said = |key| text(&span.attributes, key);
        assert_eq!(
            (span.name.as_str(), said("process.executable.name").as_deref()),
            ("nightly job", Some("sh"))
        );
        assert_eq!(said("process.exit.code").as_deref(), Some(code), "{script}");
        let name = signal.map(|signal| signal.as_str().to_owned());
        assert_eq!(said("telemetry_sidecar.exit.signal"), name, "{script}");
        assert_eq!((said("error.type").as_deref(), failed(&span)), (error, error.is_some()), "{script}");
        // What the worker was started with may be secret.
        assert!(!format!("{span:?}").contains("kill -"), "{span:?}");
    }
}

#[test]
fn a_worker_that_cannot_be_started_is_a_run_that_failed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("no-program");
    std::fs::write(&file, "").unwrap();
    for (program, code, error) in
        [("/nonexistent/program", 127, "ENOENT"), (file.to_str().unwrap(), 126, "EACCES")]
    {
        let collector = Collector::start(Protocol::Grpc, &[]);
        let options =
            ["--run-span", "--lifecycle", "--vitals", "1s", "--linger", "600s", "--summary", "always"];
        let finished = wrapped(&collector, &options, &[], &[program]);
        finished.expect_code(code);
        let span = only(&collector);
        let said = |key| text(&span.attributes, key);
        assert_eq!(said("process.exit.code"), Some(code.to_string()));
        assert_eq!((said("error.type").as_deref(), said("process.pid")), (Some(error), None));
        assert!(failed(&span) && span.status.unwrap().message.starts_with("cannot be started: "));
        let stderr = finished.stderr();
        assert_eq!(stderr.matches("program': ").count(), 1, "{stderr}");
    }
    // No line is added but the one about the loss.
    let finished = run(&["--run-span", "--export-otlp=http://127.0.0.1:1", "--", "/nonexistent/program"]);
    finished.expect_code(127);
    let stderr = finished.stderr();
    let [error, loss] = &stderr.lines().collect::<Vec<_>>()[..] else { panic!("{stderr}") };
    assert!(error.contains("/nonexistent/program") && loss.contains("1 span not delivered"), "{stderr}");
}

#[test]
fn a_signal_ends_the_report_of_a_worker_that_cannot_be_started() {
    let collector = Collector::start(Protocol::Grpc, &[Reply::Silence]);
    let endpoint = format!("--export-otlp=http://127.0.0.1:{}", collector.port);
    let options = ["--drain-timeout", "600s", "--listen", "unix:{dir}/socket", "--run-span", &endpoint];
    let sidecar = Sidecar::command(&[&options[..], &["--", "/nonexistent/program"]].concat()).start();
    collector.wait_for_traces(1);
    sidecar.signal(Signal::SIGTERM);
    let socket = sidecar.path("socket");
    let finished = sidecar.finish();
    finished.expect_signal(Signal::SIGTERM as i32);
    assert!(!socket.exists());
}

#[test]
fn events_of_the_worker_are_below_it_and_spans_that_are_open_at_the_end() {
    let collector = Collector::start(Protocol::Grpc, &[]);
    let mut sidecar = exporting(collector.port, Protocol::Grpc, &["--run-span=job"], &[]);
    sidecar.write(span("tool.run", "0af7651916cd43dd8448eb211c80319c"));
    sidecar.write("TELEMETRY:{\"event\": \"train.start\", \"correlation_id\": \"7\"}\n");
    sidecar.finish().expect_code(0);
    let spans = collector.spans();
    assert_eq!(spans.iter().map(|span| span.name.as_str()).collect::<Vec<_>>(), ["job", "tool.run", "train"]);
    let [job, below @ ..] = &spans[..] else { panic!() };
    assert!(below.iter().all(|span| span.parent_span_id == job.span_id && span.trace_id == job.trace_id));
}

#[test]
fn the_workers_environment_changes_only_with_its_option() {
    let show = ["sh", "-c", "echo \"$TRACEPARENT,$TRACESTATE\""];
    let shown = |finished: &Finished| finished.stdout().trim_end().to_owned();
    let traceparent = |finished: &Finished| {
        let stdout = shown(finished);
        let (traceparent, state) = stdout.split_once(',').unwrap();
        (Traceparent::parse(traceparent), state.to_owned())
    };
    let caller = [("TRACEPARENT", CALLER), ("TRACESTATE", "vendor=x")];
    let parent = Traceparent::parse(CALLER).unwrap().parent;

    let collector = Collector::start(Protocol::Grpc, &[]);
    let finished = wrapped(&collector, &["--run-span"], &caller, &show);
    assert_eq!(shown(&finished), format!("{CALLER},vendor=x"));
    let span = only(&collector);
    assert_eq!((&span.trace_id[..], &span.parent_span_id[..]), (&parent.trace_id[..], &parent.span_id[..]));
    assert_eq!((span.flags, span.trace_state.as_str()), (0x301, "vendor=x"));

    let collector = Collector::start(Protocol::Grpc, &[]);
    let options = ["--run-span", "--run-span-env"];
    let finished = wrapped(&collector, &options, &caller, &show);
    let span = only(&collector);
    let (given, state) = traceparent(&finished);
    let given = given.unwrap();
    assert_eq!(
        (&given.parent.trace_id[..], &given.parent.span_id[..]),
        (&span.trace_id[..], &span.span_id[..])
    );
    assert_eq!((given.parent.trace_id, given.flags, state.as_str()), (parent.trace_id, 1, "vendor=x"));

    // An invalid parent is logged, and its state is that of no trace.
    let collector = Collector::start(Protocol::Grpc, &[]);
    let invalid = [("TRACEPARENT", "nonsense"), ("TRACESTATE", "vendor=x")];
    let finished = wrapped(&collector, &options, &invalid, &show);
    let span = only(&collector);
    let (given, state) = traceparent(&finished);
    assert_eq!((&given.unwrap().parent.span_id[..], state.as_str()), (&span.span_id[..], ""));
    assert!(span.parent_span_id.is_empty());
    assert!(finished.stderr().contains("otlp: TRACEPARENT: not valid"), "{}", finished.describe());

    // Nothing is sent below an unsampled parent, and the worker hears of that.
    let collector = Collector::start(Protocol::Grpc, &[]);
    let unsampled = [("TRACEPARENT", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00")];
    let finished = wrapped(&collector, &options, &unsampled, &show);
    let (given, _) = traceparent(&finished);
    let given = given.unwrap();
    assert_eq!((given.parent.trace_id, given.flags), (parent.trace_id, 0));
    assert_ne!(given.parent.span_id, parent.span_id);
    assert!(collector.spans().is_empty());
    expect_counters(&finished, &[("spans_unsampled", 1), ("spans_exported", 0)]);
}

#[test]
fn other_variables_keep_their_places_and_a_new_one_comes_last() {
    let names = |options: &[&str], variables: &[(&str, &str)]| {
        let collector = Collector::start(Protocol::Grpc, &[]);
        let stdout = wrapped(&collector, options, variables, &["env", "-0"]).stdout();
        let names = stdout.split_terminator('\0').filter_map(|variable| variable.split('=').next());
        names.map(str::to_owned).collect::<Vec<_>>()
    };
    let options = ["--run-span", "--run-span-env"];
    let before = names(&[], &[]);
    let added = names(&options, &[]);
    assert_eq!(added, [before, vec!["TRACEPARENT".to_owned()]].concat());
    let caller = [("A", "1"), ("TRACEPARENT", CALLER), ("Z", "1")];
    assert_eq!(names(&options, &caller), names(&[], &caller));
}

#[test]
fn a_worker_that_the_sidecar_was_asked_to_stop_has_not_failed() {
    let collector = Collector::start(Protocol::Grpc, &[]);
    let mut sidecar = exporting(collector.port, Protocol::Grpc, &["--run-span=job"], &[]);
    sidecar.wait_for_stderr(" started: ");
    sidecar.signal(Signal::SIGTERM);
    wait_until("the worker's end", || sidecar.has_exited());
    sidecar.finish().expect_signal(Signal::SIGTERM as i32);
    let span = only(&collector);
    assert_eq!((span.name.as_str(), failed(&span)), ("job", false));
}

#[test]
fn without_exported_traces_there_is_no_run_span_and_the_callers_stays_the_parent() {
    let show = ["sh", "-c", "echo $TRACEPARENT"];
    for (options, variables) in [
        (&[][..], [("OTEL_TRACES_EXPORTER", "none"), ("TRACEPARENT", CALLER)]),
        (&["--disabled"], [("OTEL_SERVICE_NAME", "x"), ("TRACEPARENT", CALLER)]),
    ] {
        let collector = Collector::start(Protocol::Grpc, &[]);
        let options = [&["--run-span", "--run-span-env"], options].concat();
        let finished = wrapped(&collector, &options, &variables, &show);
        finished.expect_code(0);
        assert_eq!((finished.stdout().trim(), collector.spans().len()), (CALLER, 0), "{options:?}");
    }
    // The variable is meant for the worker's SDK.
    let collector = Collector::start(Protocol::Grpc, &[]);
    wrapped(&collector, &["--run-span"], &[("OTEL_SDK_DISABLED", "true")], &["true"]).expect_code(0);
    only(&collector);
}

#[test]
fn it_is_sent_before_the_spans_that_a_slow_collector_has_left_waiting() {
    let collector = Collector::start(Protocol::Grpc, &[Reply::Slow(Duration::from_millis(200))]);
    let variables = [("OTEL_BSP_MAX_QUEUE_SIZE", "20"), ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2")];
    let mut sidecar = exporting(collector.port, Protocol::Grpc, &["--run-span=job"], &variables);
    for number in 0..100 {
        sidecar.write(span("tool.run", &number.to_string()));
    }
    sidecar.finish().expect_code(0);
    let traces = collector.traces();
    let has_job = |request: &&Received| request.spans.iter().any(|span| span.name == "job");
    let request = traces.iter().find(has_job).unwrap();
    assert_eq!(request.spans[0].name, "job");
}

#[test]
fn a_replay_has_no_run() {
    let collector = Collector::start(Protocol::Grpc, &[]);
    let variables = [("TELEMETRY_SIDECAR_RUN_SPAN", "1"), ("TRACEPARENT", CALLER)];
    replay(&collector, Protocol::Grpc, span("tool.run", &"ab".repeat(16)), &variables).expect_code(0);
    let span = only(&collector);
    assert_eq!((span.name.as_str(), &span.trace_id[..]), ("tool.run", &[0xab; 16][..]));
}
