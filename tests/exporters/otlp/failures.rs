//! The OTLP exporter of the binary with a collector that rejects requests, is slow or is unreachable.

use super::{
    collector::{Collector, Protocol, Received, Reply},
    exporting::{QUICK, counters, expect_counters, exporting, replay, span, start_replay, wrap},
};
use crate::support::{Finished, run, wait_until};
use std::time::{Duration, Instant, SystemTime};
use tonic::Code;

/// Sends one span to a collector with this script; returns the requests and the result.
fn one_span(protocol: Protocol, script: &[Reply], variables: &[(&str, &str)]) -> (Vec<Received>, Finished) {
    let collector = Collector::start(protocol, script);
    let mut sidecar = exporting(collector.port, protocol, &[], &[variables, &QUICK].concat());
    sidecar.write(span("tool.run", "c"));
    collector.wait_for_traces(script.len());
    let finished = sidecar.finish();
    (collector.traces(), finished)
}

#[test]
fn exactly_the_retryable_grpc_codes_are_retried() {
    for code in (1..=16).map(Code::from_i32) {
        let retryable = matches!(
            code,
            Code::Cancelled
                | Code::DeadlineExceeded
                | Code::Aborted
                | Code::OutOfRange
                | Code::Unavailable
                | Code::DataLoss
        );
        let (traces, finished) = one_span(Protocol::Grpc, &[Reply::Grpc(code, None)], &[]);
        assert_eq!(traces.len(), 1 + usize::from(retryable), "{code:?}");
        let (sent, failed) = if retryable { (1, 0) } else { (0, 1) };
        let expected = [("spans_exported", sent), ("spans_failed", failed), ("retries", sent)];
        expect_counters(&finished, &expected);
        if let [first, second] = &traces[..] {
            assert_eq!(first.spans, second.spans, "{code:?}");
        }
    }
}

#[test]
fn exactly_the_retryable_http_statuses_are_retried() {
    for status in [400, 401, 404, 408, 413, 429, 500, 501, 502, 503, 504, 505] {
        let retryable = matches!(status, 429 | 502..=504);
        let (traces, finished) = one_span(Protocol::Http, &[Reply::Http(status, None)], &[]);
        assert_eq!(traces.len(), 1 + usize::from(retryable), "{status}");
        let (sent, failed) = if retryable { (1, 0) } else { (0, 1) };
        expect_counters(&finished, &[("spans_exported", sent), ("spans_failed", failed), ("retries", sent)]);
    }
}

#[test]
fn the_retry_delay_that_a_server_requests_is_used() {
    let asked = Duration::from_secs(2);
    let cases: [(Protocol, fn() -> Reply); 4] = [
        (Protocol::Grpc, || Reply::Grpc(Code::ResourceExhausted, Some(Duration::from_secs(2)))),
        (Protocol::Grpc, || Reply::Grpc(Code::Unavailable, Some(Duration::from_secs(2)))),
        (Protocol::Http, || Reply::Http(429, Some("2".into()))),
        (Protocol::Http, || {
            Reply::Http(503, Some(httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(10))))
        }),
    ];
    for (protocol, reply) in cases {
        let reply = reply();
        let collector = Collector::start(protocol, std::slice::from_ref(&reply));
        let mut sidecar = exporting(collector.port, protocol, &[], &QUICK);
        sidecar.write(span("tool.run", "c"));
        collector.wait_for_traces(1);
        // The worker's exit does not shorten the delay.
        let finished = sidecar.finish();
        let traces = collector.traces();
        let [first, second] = &traces[..] else { panic!("{reply:?}: {} requests", traces.len()) };
        // The date was made before the sidecar started, and has no fractions of seconds.
        assert!(second.at - first.at >= asked, "{reply:?}: after {:?}", second.at - first.at);
        expect_counters(&finished, &[("spans_exported", 1), ("retries", 1)]);
    }
}

#[test]
fn a_retry_delay_beyond_the_deadline_drops_the_request_at_once() {
    for (protocol, reply) in [
        (Protocol::Grpc, Reply::Grpc(Code::Unavailable, Some(Duration::from_secs(86_400)))),
        (Protocol::Http, Reply::Http(503, Some("18446744073709551615".into()))),
    ] {
        let (traces, finished) = one_span(protocol, &[reply], &[]);
        assert_eq!(traces.len(), 1);
        expect_counters(&finished, &[("spans_exported", 0), ("spans_failed", 1), ("retries", 0)]);
        assert!(finished.stderr().contains("otlp: traces: given up: "), "{}", finished.describe());
    }
}

#[test]
fn a_partial_success_is_counted_and_not_retried() {
    for protocol in Protocol::BOTH {
        for reply in [Reply::Partial(1), Reply::PartialGzip(1)] {
            let (traces, finished) = one_span(protocol, &[reply], &[]);
            assert_eq!(traces.len(), 1);
            let expected =
                [("spans_exported", 0), ("spans_rejected", 1), ("spans_failed", 0), ("retries", 0)];
            expect_counters(&finished, &expected);
            assert!(finished.stderr().contains("1 of 1 rejected: too old"), "{}", finished.describe());
        }
    }
}

#[test]
fn a_lost_connection_and_a_lost_answer_are_retried() {
    for protocol in Protocol::BOTH {
        let (traces, finished) = one_span(protocol, &[Reply::HangUp], &[]);
        assert_eq!(traces.len(), 2);
        expect_counters(&finished, &[("spans_exported", 1), ("spans_failed", 0), ("retries", 1)]);

        let variables = [("OTEL_EXPORTER_OTLP_TIMEOUT", "300")];
        let (traces, finished) = one_span(protocol, &[Reply::Silence], &variables);
        // On a busy machine the answer to a further attempt may be late as well.
        assert!(traces.len() >= 2 && counters(&finished)["retries"] >= 1, "{}", finished.describe());
        expect_counters(&finished, &[("spans_exported", 1), ("spans_failed", 0)]);
    }
}

#[test]
fn a_collector_that_restarts_receives_the_queued_spans() {
    for protocol in Protocol::BOTH {
        let collector = Collector::start(protocol, &[]);
        let port = collector.port;
        let mut sidecar = exporting(port, protocol, &[], &QUICK);
        sidecar.write(span("first.run", "c"));
        collector.wait_for_traces(1);
        drop(collector);
        sidecar.write(span("second.run", "c"));
        sidecar.wait_for_stderr("will be sent again");
        let collector = Collector::start_at(port, protocol, None, &[]);
        assert_eq!(collector.wait_for_traces(1)[0].spans[0].name, "second.run");
        let finished = sidecar.finish();
        expect_counters(&finished, &[("spans_exported", 2), ("spans_failed", 0)]);
    }
}

#[test]
fn an_unreachable_collector_delays_the_exit_by_the_drain_timeout_at_most() {
    let port = {
        let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        unused.local_addr().unwrap().port()
    };
    for protocol in Protocol::BOTH {
        let endpoint = format!("--export-otlp=http://127.0.0.1:{port}");
        let options = ["--drain-timeout", "1s", &endpoint];
        let mut sidecar = wrap(&options, protocol, &[]);
        sidecar.write(span("tool.run", "c"));
        sidecar.wait_for_stderr("traces go to");
        let began = Instant::now();
        let finished = sidecar.finish();
        // The bound allows for a busy machine; without the limit it would be half a minute.
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        expect_counters(&finished, &[("spans_exported", 0), ("spans_failed", 1)]);
        finished.expect_code(0);
    }
    // Without -v the sidecar writes nothing to stderr.
    let quiet =
        run(&["-q", &format!("--export-otlp=http://127.0.0.1:{port}"), "--", "sh", "-c", "echo hello >&2"]);
    assert_eq!(quiet.stderr(), "hello\n");
}

#[test]
fn a_collector_that_never_answers_fills_only_the_queue() {
    for protocol in Protocol::BOTH {
        let collector = Collector::start(protocol, &vec![Reply::Silence; 100]);
        let endpoint = format!("--export-otlp=http://127.0.0.1:{}", collector.port);
        let options = ["--drain-timeout", "1s", "--export-jsonl", "{dir}/all", &endpoint];
        let variables = [("OTEL_BSP_MAX_QUEUE_SIZE", "10"), ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "10")];
        let mut sidecar = wrap(&options, protocol, &variables);
        for number in 0..100 {
            sidecar.write(span("tool.run", &number.to_string()));
        }
        collector.wait_for_traces(1);
        let path = sidecar.path("all");
        wait_until("the other exporter", || {
            std::fs::read_to_string(&path).is_ok_and(|lines| lines.lines().count() == 200)
        });
        let finished = sidecar.finish();
        finished.expect_code(0);
        let counters = counters(&finished);
        let (failed, dropped) = (counters["spans_failed"], counters["spans_dropped"]);
        assert!(failed >= 1 && failed + dropped == 100, "{}", finished.describe());
    }
}

#[test]
fn a_replay_waits_for_a_collector_that_answers_late() {
    for protocol in Protocol::BOTH {
        let collector = Collector::start(protocol, &vec![Reply::Slow(Duration::from_millis(100)); 100]);
        let recording = (0..32).map(|number| span("tool.run", &number.to_string())).collect();
        // More than the default drain timeout.
        let variables = [("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4")];
        let finished = replay(&collector, protocol, recording, &variables);
        expect_counters(&finished, &[("spans_exported", 32), ("spans_failed", 0), ("spans_dropped", 0)]);
        finished.expect_code(0);
    }
}

#[test]
fn a_replay_waits_for_a_collector_that_is_down() {
    for protocol in Protocol::BOTH {
        let collector = Collector::start(protocol, &[Reply::HangUp]);
        let port = collector.port;
        // Live, both limits would end the attempts at once.
        let variables = [("OTEL_BSP_EXPORT_TIMEOUT", "1"), ("OTEL_METRIC_EXPORT_TIMEOUT", "1")];
        let recording = (0..10).map(|number| span("tool.run", &number.to_string())).collect();
        let sidecar = start_replay(port, protocol, recording, &variables);
        collector.wait_for_traces(1);
        drop(collector);
        sidecar.wait_for_stderr("will be sent again");
        let collector = Collector::start_at(port, protocol, None, &[]);
        let finished = sidecar.finish();
        expect_counters(&finished, &[("spans_exported", 10), ("spans_failed", 0), ("spans_dropped", 0)]);
        assert_eq!(collector.spans().len(), 10);
        finished.expect_code(0);
    }
}

#[test]
fn a_replay_that_cannot_deliver_reports_that_and_fails() {
    for (protocol, reply, reason) in [
        (Protocol::Grpc, Reply::Grpc(Code::InvalidArgument, None), "InvalidArgument: no"),
        (Protocol::Http, Reply::Http(400, None), "HTTP 400 Bad Request: no"),
        (Protocol::Grpc, Reply::Partial(10), "rejected: too old"),
    ] {
        let collector = Collector::start(protocol, &[reply]);
        let recording = (0..10).map(|number| span("tool.run", &number.to_string())).collect::<String>();
        let finished = replay(&collector, protocol, recording + "text", &[]);
        let server = format!(" at http://127.0.0.1:{}", collector.port);
        // What a server has rejected it has accepted.
        let server = if reason.starts_with("rejected") { "" } else { &server };
        let line = format!("\ntelemetry-sidecar: otlp: 10 spans not delivered: {reason}{server}\n");
        assert!(finished.stderr().ends_with(&line), "{}", finished.describe());
        finished.expect_code(125);
    }
}

#[test]
fn the_exit_reports_each_kind_of_loss_with_its_reason() {
    // Nothing listens at this port: its listener is bound and closed.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let refused = format!("Connection refused (os error 111) at http://127.0.0.1:{port}");
    let full = "too many were waiting (OTEL_BSP_MAX_QUEUE_SIZE, or 16 MiB)";
    for (protocol, variables, reasons) in [
        (Protocol::Grpc, &[][..], &[refused.as_str()][..]),
        // 20 spans are in flight and 20 wait at most.
        (Protocol::Http, &[("OTEL_BSP_MAX_QUEUE_SIZE", "20")], &[&refused, full]),
    ] {
        let mut sidecar = exporting(port, protocol, &["--drain-timeout", "2s"], variables);
        let spans: String = (0..100).map(|number| span("tool.run", &number.to_string())).collect();
        sidecar.write(spans);
        let finished = sidecar.finish();
        let stderr = finished.expect_code(0).stderr();
        let own = stderr.lines().filter_map(|line| line.strip_prefix("telemetry-sidecar: otlp: "));
        let lost: Vec<_> = own.filter_map(|line| line.split_once(" spans not delivered: ")).collect();
        assert_eq!(lost.iter().map(|(_, reason)| *reason).collect::<Vec<_>>(), reasons, "{stderr}");
        let counts = lost.iter().map(|(count, _)| count.parse::<u64>().unwrap());
        assert_eq!(counts.sum::<u64>(), 100, "{stderr}");
    }
}

#[test]
fn a_signal_ends_the_drain_and_the_losses_are_reported() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let options = ["--drain-timeout", "600s"];
    let mut sidecar = exporting(port, Protocol::Grpc, &options, &[]);
    sidecar.write(span("tool.run", "1"));
    sidecar.close_stdin();
    // The worker has ended when its last spans are sent.
    let _connection = silent.accept().unwrap();
    sidecar.signal(nix::sys::signal::Signal::SIGTERM);
    let finished = sidecar.finish();
    let line = "telemetry-sidecar: otlp: 1 span not delivered: a signal ended the drain\n";
    assert!(finished.expect_code(0).stderr().contains(line), "{}", finished.describe());
    expect_counters(&finished, &[("spans_failed", 1), ("points_failed", 4)]);
}

/// Spans of a burst that the exporter has not even read when the drain ends are in one of the counters, and
/// in a line about losses.
#[test]
fn what_is_left_of_a_burst_at_the_end_of_the_drain_is_counted() {
    const SPANS: u64 = 10_000;
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let burst: String = (0..SPANS).map(|number| span("tool.run", &number.to_string())).collect();
    for timeout in ["0s", "1ms", "100ms"] {
        let mut sidecar = exporting(port, Protocol::Http, &["--drain-timeout", timeout], &[]);
        sidecar.write(&burst);
        let finished = sidecar.finish();
        let counters = counters(&finished);
        let count = |name| counters.get(name).copied().unwrap_or_default();
        let spans = count("spans_failed") + count("spans_dropped");
        let lost = |what: &str| {
            let stderr = finished.stderr();
            assert!(!stderr.contains("ended early"), "{stderr}");
            let own = stderr.lines().filter_map(|line| line.strip_prefix("telemetry-sidecar: otlp: "));
            let counts = own.filter_map(|line| line.split_once(what)?.0.parse::<u64>().ok());
            counts.sum::<u64>()
        };
        assert_eq!(lost(" spans not delivered: "), spans, "{}", finished.describe());
        // Each span has two events. Of one perhaps only the start was read.
        let unread = lost(" events not delivered: ");
        assert_eq!(spans, SPANS - unread / 2, "{}", finished.describe());
    }
}
