//! The OTLP exporter of the binary: the requests that a collector receives.

mod collector;
mod endless;
mod exporting;
mod failures;
mod log_floods;
mod logs;
mod memory;
mod run_span;
mod tls;
mod traces;
mod vitals;

use crate::support::{Sidecar, run, wait_for};
use collector::{Collector, Protocol, Received, Reply};
use exporting::{QUICK, expect_counters, exporting, replay, span, text, wrap};
use std::time::Duration;
use telemetry_sidecar::exporter::otlp::proto::metrics::v1::{metric::Data, number_data_point::Value};

#[tokio::test(flavor = "multi_thread")]
async fn spans_and_metrics_arrive_over_both_protocols_compressed_or_not() {
    for protocol in Protocol::BOTH {
        for compression in ["none", "gzip"] {
            let collector = Collector::start(protocol, &[]);
            let variables = [
                ("OTEL_EXPORTER_OTLP_COMPRESSION", compression),
                ("OTEL_EXPORTER_OTLP_HEADERS", "x-team=a%20b"),
                ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "x-team=metrics"),
                ("OTEL_SERVICE_NAME", "trainer"),
                ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test"),
            ];
            let mut sidecar = exporting(collector.port, protocol, &[], &[&variables[..], &QUICK].concat());
            let pid = async || sidecar.status().await.worker.unwrap().pid;
            let pid = wait_for("the worker's process id", pid, |pid| *pid != 0).await;
            sidecar.write(span("tool.run", "0af7651916cd43dd8448eb211c80319c"));

            let Received { path, headers, resource, spans, .. } = collector.wait_for_traces(1).remove(0);
            let expected = match protocol {
                Protocol::Grpc => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
                Protocol::Http => "/v1/traces",
            };
            assert_eq!(path, expected);
            assert_eq!(headers["x-team"], "a b");
            assert!(headers["user-agent"].to_str().unwrap().starts_with("telemetry-sidecar"));
            let said = |key| text(&resource.attributes, key);
            assert_eq!(said("service.name").as_deref(), Some("trainer"));
            assert_eq!(said("deployment.environment").as_deref(), Some("test"));
            assert_eq!(said("process.pid"), Some(pid.to_string()));
            assert_eq!(said("service.instance.id").map(|id| id.len()), Some(36));
            let [span] = &spans[..] else { panic!("{spans:#?}") };
            assert_eq!(span.trace_id, 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128.to_be_bytes());
            assert_eq!(span.end_time_unix_nano - span.start_time_unix_nano, 5_000_000);

            let metric = collector.wait_for_metric("snakepit.operation.duration");
            let Some(Data::Histogram(histogram)) = metric.data else { panic!("{metric:?}") };
            let point = &histogram.data_points[0];
            assert_eq!((point.count, point.sum), (1, Some(0.005)));
            assert_eq!(point.exemplars[0].trace_id, span.trace_id);
            assert_eq!(point.exemplars[0].span_id, span.span_id);
            let metrics =
                collector.received().into_iter().find(|request| !request.metrics.is_empty()).unwrap();
            assert_eq!(metrics.headers["x-team"], "metrics");

            let finished = sidecar.finish();
            expect_counters(&finished, &[("spans_exported", 1), ("spans_failed", 0), ("retries", 0)]);
            finished.expect_code(0);
        }
    }
}

#[test]
fn pending_spans_and_metrics_are_sent_after_the_worker_exits() {
    for protocol in Protocol::BOTH {
        let collector = Collector::start(protocol, &[]);
        let mut sidecar = exporting(collector.port, protocol, &[], &[]);
        for number in 0..1000 {
            sidecar.write(span("tool.run", &number.to_string()));
        }
        sidecar.write("TELEMETRY:{\"event\": \"tool.run.start\", \"correlation_id\": \"open\"}\n");
        let finished = sidecar.finish();
        assert_eq!(collector.spans().len(), 1001);
        assert!(collector.traces().iter().all(|request| request.spans.len() <= 512));
        let Some(Data::Sum(events)) = collector.wait_for_metric("snakepit.events").data else { panic!() };
        assert_eq!(events.data_points.len(), 2);
        expect_counters(
            &finished,
            &[("spans_exported", 1001), ("spans_incomplete", 1), ("spans_dropped", 0)],
        );
    }
}

#[test]
fn a_replay_delivers_everything_to_a_slow_collector() {
    for protocol in Protocol::BOTH {
        let collector = Collector::start(protocol, &vec![Reply::Slow(Duration::from_millis(5)); 1000]);
        let recording = (0..5000).map(|number| span("tool.run", &number.to_string())).collect();
        let variables = [("OTEL_BSP_MAX_QUEUE_SIZE", "100")];
        let finished = replay(&collector, protocol, recording, &variables);
        expect_counters(&finished, &[("spans_exported", 5000), ("spans_dropped", 0)]);
        finished.expect_code(0);
        let said = &collector.traces()[0].resource.attributes;
        assert_eq!(
            (text(said, "service.name").as_deref(), text(said, "process.pid")),
            (Some("unknown_service"), None)
        );
    }
}

#[test]
fn large_events_are_truncated_and_requests_stay_below_the_limit() {
    let collector = Collector::start(Protocol::Grpc, &[]);
    let lines = (0..100).map(|number| {
        // One is as large as an event may be. The others are far beyond a span's limits: 40 MB in all keep a
        // debug build busy for seconds, not minutes.
        let text = "x".repeat(if number == 0 { 1_000_000 } else { 100_000 });
        let metadata: Vec<_> = (0..3).map(|key| format!("\"{key}\": \"{text}\"")).collect();
        let metadata = metadata.join(", ");
        format!(
            "TELEMETRY:{{\"event\": \"tool.stop\", \"correlation_id\": \"{number}{text}\", \
             \"metadata\": {{{metadata}}}}}\n"
        )
    });
    let finished = replay(&collector, Protocol::Grpc, lines.collect(), &[]);
    // The collector accepts less than 4 MiB at a time.
    assert_eq!(collector.spans().len(), 100);
    assert!(collector.traces().len() > 1);
    expect_counters(&finished, &[("spans_exported", 100)]);
}

#[test]
fn filters_and_sampling_apply() {
    let collector = Collector::start(Protocol::Grpc, &[]);
    let mut sidecar = exporting(collector.port, Protocol::Grpc, &["--allow", "a.*", "--deny", "a.no.*"], &[]);
    sidecar.write(["a.yes", "a.no", "b"].map(|operation| span(operation, "c")).concat());
    sidecar.finish().expect_code(0);
    let names: Vec<_> = collector.spans().into_iter().map(|span| span.name).collect();
    assert_eq!(names, ["a.yes"]);

    let collector = Collector::start(Protocol::Grpc, &[]);
    let mut sidecar = exporting(collector.port, Protocol::Grpc, &["--sampling-rate", "0.5"], &[]);
    for number in 0..200 {
        sidecar.write(span("a", &number.to_string()));
    }
    let finished = sidecar.finish();
    let spans = collector.spans().len();
    assert!((50..150).contains(&spans), "{spans}");
    expect_counters(&finished, &[("spans_incomplete", 0)]);
}

#[test]
fn delta_metrics_sum_to_the_total() {
    let collector = Collector::start(Protocol::Http, &[]);
    let variables = [("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta")];
    let mut sidecar = exporting(collector.port, Protocol::Http, &[], &[&variables[..], &QUICK].concat());
    for count in 1..=3 {
        sidecar.write(span("tool.run", "c"));
        collector.wait_for_traces(count);
    }
    sidecar.finish().expect_code(0);
    let metrics = collector.received().into_iter().flat_map(|request| request.metrics);
    let mut total = 0;
    let mut last_end = 0;
    for metric in metrics.filter(|metric| metric.name == "snakepit.events") {
        let Some(Data::Sum(sum)) = metric.data else { panic!("not a sum") };
        assert_eq!(sum.aggregation_temporality, 1);
        let point = &sum.data_points[0];
        assert!(point.start_time_unix_nano >= last_end && point.start_time_unix_nano > 0, "they overlap");
        last_end = point.time_unix_nano;
        for point in sum.data_points {
            let Some(Value::AsInt(value)) = point.value else { panic!("{point:?}") };
            total += value;
        }
    }
    assert_eq!(total, 6);
}

#[test]
fn histograms_have_exponential_buckets_if_the_variable_asks_for_them() {
    let collector = Collector::start(Protocol::Grpc, &[]);
    let variable = "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION";
    let variables = [(variable, "base2_exponential_bucket_histogram")];
    let mut sidecar = exporting(collector.port, Protocol::Grpc, &[], &variables);
    sidecar.write(span("tool.run", "c"));
    sidecar.finish().expect_code(0);
    let metric = collector.wait_for_metric("snakepit.operation.duration");
    let Some(Data::ExponentialHistogram(histogram)) = metric.data else { panic!("{metric:?}") };
    let point = &histogram.data_points[0];
    assert_eq!((point.count, point.sum, point.scale), (1, Some(0.005), 20));
    let positive = point.positive.as_ref().unwrap();
    let base = 2_f64.powf(2_f64.powi(-20));
    let upper = base.powi(positive.offset + 1);
    assert!(positive.bucket_counts == [1] && upper / base < 0.005 && 0.005 <= upper, "{positive:?}");
    assert_eq!(point.exemplars[0].span_id, collector.spans()[0].span_id);
}

#[test]
fn otel_variables_alone_do_not_enable_the_exporter_and_the_worker_inherits_them() {
    let collector = Collector::start(Protocol::Grpc, &[]);
    let endpoint = format!("http://127.0.0.1:{}", collector.port);
    let script = "echo \"$OTEL_EXPORTER_OTLP_ENDPOINT $TELEMETRY_SIDECAR_EXPORT_OTLP.\"; \
                  echo 'TELEMETRY:{\"event\": \"a.stop\"}' >&2";
    for (switch, spans) in [("0", 0), ("1", 1)] {
        let builder = Sidecar::command(&["-q", "--drain-timeout", "30s", "--", "sh", "-c", script]);
        let builder = builder.env("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint);
        let finished = builder.env("TELEMETRY_SIDECAR_EXPORT_OTLP", switch).start().finish();
        assert_eq!(finished.stdout(), format!("{endpoint} .\n"));
        assert_eq!(collector.spans().len(), spans);
    }
    let received = collector.received();
    let said = &received[0].resource.attributes;
    assert_eq!(text(said, "service.name").as_deref(), Some("unknown_service:sh"));
}

#[test]
fn an_invalid_endpoint_prevents_the_start_and_invalid_variables_are_logged() {
    for word in ["localhost:4317", "ftp://a", "http://me:secret@a:4317", "http://"] {
        let finished = run(&[&format!("--export-otlp={word}"), "--", "echo", "started"]);
        finished.expect_code(125);
        let stderr = finished.stderr();
        assert!(stderr.starts_with(&format!("telemetry-sidecar: --export-otlp: '{word}': ")), "{stderr}");
        assert_eq!((stderr.lines().count(), finished.stdout().as_str()), (1, ""));
    }
    let collector = Collector::start(Protocol::Grpc, &[]);
    let variables = [("OTEL_BSP_SCHEDULE_DELAY", "soon"), ("OTEL_EXPORTER_OTLP_COMPRESSION", "zip")];
    let mut sidecar = exporting(collector.port, Protocol::Grpc, &[], &variables);
    sidecar.write(span("tool.run", "c"));
    let finished = sidecar.finish();
    for warning in [
        "telemetry-sidecar: otlp: OTEL_BSP_SCHEDULE_DELAY: 'soon': expected milliseconds, a whole number; \
         it is ignored",
        "telemetry-sidecar: otlp: OTEL_EXPORTER_OTLP_COMPRESSION: 'zip': expected gzip or none; \
         it is ignored",
    ] {
        assert_eq!(finished.stderr().matches(warning).count(), 1, "{}", finished.describe());
    }
    expect_counters(&finished, &[("spans_exported", 1)]);
}

#[test]
fn a_signal_whose_exporter_is_none_is_not_sent() {
    for (variable, paths) in
        [("OTEL_TRACES_EXPORTER", vec!["/v1/metrics"]), ("OTEL_METRICS_EXPORTER", vec!["/v1/traces"])]
    {
        let collector = Collector::start(Protocol::Http, &[]);
        let mut sidecar = exporting(collector.port, Protocol::Http, &[], &[(variable, "none")]);
        sidecar.write(span("tool.run", "c"));
        let finished = sidecar.finish();
        finished.expect_code(0);
        let received: Vec<_> = collector.received().into_iter().map(|request| request.path).collect();
        assert_eq!(received, paths, "{}", finished.describe());
        let line = format!("are not exported ({variable})\n");
        assert_eq!(finished.stderr().matches(&line).count(), 1, "{}", finished.describe());
    }
}

#[test]
fn nothing_is_sent_or_counted_if_both_exporters_are_none() {
    let collector = Collector::start(Protocol::Grpc, &[]);
    // A certificate that does not exist is not needed.
    let variables = [
        ("OTEL_TRACES_EXPORTER", "none"),
        ("OTEL_METRICS_EXPORTER", "none"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nonexistent"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://localhost:4317"),
    ];
    let mut sidecar = wrap(&["--export-otlp"], Protocol::Grpc, &variables);
    sidecar.write(span("tool.run", "c"));
    let finished = sidecar.finish();
    finished.expect_code(0);
    let line = "otlp: nothing is exported: OTEL_TRACES_EXPORTER and OTEL_METRICS_EXPORTER are none\n";
    assert_eq!(finished.stderr().matches(line).count(), 1, "{}", finished.describe());
    assert!(collector.received().is_empty() && !finished.stderr().contains("otlp: offered"));
}

#[test]
fn variables_that_have_no_effect_are_named_once_without_their_values() {
    let collector = Collector::start(Protocol::Grpc, &[]);
    let variables = [
        ("OTEL_SDK_DISABLED", "secret"),
        ("OTEL_EXPORTER_OTLP_TRACES_INSECURE", "secret"),
        ("OTEL_EXPORTER_OTLP_LOGS_HEADERS", ""),
        ("OTEL_SERVICE_NAME", "trainer"),
    ];
    let mut sidecar = exporting(collector.port, Protocol::Grpc, &[], &variables);
    sidecar.write(span("tool.run", "c"));
    let finished = sidecar.finish();
    let line = "telemetry-sidecar: otlp: not supported and ignored: OTEL_EXPORTER_OTLP_TRACES_INSECURE, \
                OTEL_SDK_DISABLED\n";
    assert_eq!(finished.stderr().matches(line).count(), 1, "{}", finished.describe());
    assert!(!finished.stderr().contains("secret"), "{}", finished.describe());
    expect_counters(&finished, &[("spans_exported", 1)]);
}
