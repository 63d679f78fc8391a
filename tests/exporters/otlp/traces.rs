//! Traces as the worker's events describe them.

use super::{
    collector::{Collector, Protocol},
    exporting::{QUICK, expect_counters, exporting, replay},
};
use crate::support::wait_for;
use std::time::{SystemTime, UNIX_EPOCH};
use telemetry_sidecar::exporter::otlp::proto::{
    metrics::v1::{Exemplar, metric::Data},
    trace::v1::Span,
};

const CALLER: &str = "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331";

const MS: u64 = 1_000_000;

/// The time in nanoseconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos().try_into().unwrap()
}

/// A line with a correlation id, a timestamp, the measured duration and metadata.
fn line(name: &str, id: &str, at: u64, duration: Option<u64>, metadata: &[(&str, &str)]) -> String {
    let duration = duration.map(|duration| format!("\"duration\": {duration}")).unwrap_or_default();
    let metadata: Vec<_> = metadata.iter().map(|(key, value)| format!("\"{key}\": \"{value}\"")).collect();
    let metadata = metadata.join(", ");
    format!(
        "TELEMETRY:{{\"event\": \"{name}\", \"measurements\": {{{duration}}}, \"metadata\": {{{metadata}}}, \
         \"timestamp_ns\": {at}, \"correlation_id\": \"{id}\"}}\n"
    )
}

fn named(spans: &[Span], name: &str) -> Span {
    let mut all = spans.iter().filter(|span| span.name == name);
    let span = all.next().unwrap_or_else(|| panic!("no {name} in {spans:#?}"));
    assert!(all.next().is_none(), "{name} more than once: {spans:#?}");
    span.clone()
}

/// The exemplars of all durations.
fn exemplars(collector: &Collector) -> Vec<Exemplar> {
    let metric = collector.wait_for_metric("snakepit.operation.duration");
    let Some(Data::Histogram(histogram)) = metric.data else { panic!("{metric:?}") };
    histogram.data_points.into_iter().flat_map(|point| point.exemplars).collect()
}

#[test]
fn unsampled_traces_are_counted_and_not_exported() {
    let collector = Collector::start(Protocol::Grpc, &[]);
    let (unsampled, sampled) = (format!("00-{CALLER}-00"), format!("00-{CALLER}-01"));
    let caller = [("traceparent", unsampled.as_str())];
    let recording = [
        line("a.start", "r", MS, None, &caller),
        line("inner.stop", "r", 2 * MS, Some(MS), &[]),
        line("a.stop", "r", 3 * MS, Some(2 * MS), &caller),
        line("b.start", &unsampled, MS, None, &[]),
        line("b.stop", &unsampled, 2 * MS, Some(MS), &[]),
        line("control.stop", &sampled, MS, Some(MS), &[("tracestate", "vendor=x")]),
    ];
    let finished = replay(&collector, Protocol::Grpc, recording.concat(), &[]);
    let [control] = &collector.spans()[..] else { panic!("{:#?}", collector.spans()) };
    assert_eq!((control.name.as_str(), control.flags), ("control", 0x301));
    assert_eq!(control.trace_state, "vendor=x");
    let exemplars = exemplars(&collector);
    assert!(exemplars.iter().all(|exemplar| exemplar.span_id == control.span_id), "{exemplars:?}");
    assert_eq!(exemplars.len(), 1);
    expect_counters(&finished, &[("spans_exported", 1), ("spans_unsampled", 3), ("spans_dropped", 0)]);
    finished.expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_that_outlives_the_timeout_is_one_span() {
    let collector = Collector::start(Protocol::Grpc, &[]);
    let options = ["--otlp-span-timeout", "10ms"];
    let mut sidecar = exporting(collector.port, Protocol::Grpc, &options, &QUICK);
    let start = now();
    sidecar.write(line("train.start", "job", start, None, &[("n", "1")]));
    sidecar.write(line("step1.stop", "job", start + 2 * MS, Some(MS), &[]));
    let is_overdue = |counters: &u64| *counters == 1;
    let overdue = async || {
        let status = sidecar.status().await;
        let otlp = status.exporters.into_iter().find(|exporter| exporter.name == "otlp").unwrap();
        otlp.counters.get("spans_overdue").copied().unwrap_or_default()
    };
    wait_for("the timeout", overdue, is_overdue).await;
    // The export of this step would have been that of the incomplete span.
    sidecar.write(line("step2.stop", "job", start + 4 * MS, Some(MS), &[]));
    collector.wait_for_traces(2);
    assert!(collector.spans().iter().all(|span| span.name != "train"), "{:#?}", collector.spans());
    sidecar.write(line("train.stop", "job", start + 9 * MS, Some(9 * MS), &[("n", "1")]));
    let finished = sidecar.finish();
    let spans = collector.spans();
    let train = named(&spans, "train");
    assert_eq!(train.end_time_unix_nano - train.start_time_unix_nano, 9 * MS);
    for step in ["step1", "step2"] {
        assert_eq!(named(&spans, step).parent_span_id, train.span_id, "{step}");
    }
    expect_counters(
        &finished,
        &[("spans_exported", 3), ("spans_incomplete", 0), ("spans_overdue", 1), ("timestamps_odd", 0)],
    );
    let logged = "otlp: train runs for longer than 10ms (--otlp-span-timeout)";
    assert_eq!(finished.stderr().matches(logged).count(), 1, "{}", finished.describe());
}

#[test]
fn ids_and_kinds_of_the_worker_are_exported() {
    let collector = Collector::start(Protocol::Http, &[]);
    let span = |digit| format!("00000000000000b{digit}");
    let call = [("span_id", "00000000000000AA"), ("span.kind", "Consumer")];
    let mut recording = line("call.start", "r", MS, None, &call);
    // Tasks of asyncio: the first one lasts longest.
    for n in 0..3 {
        let ids = [("span_id", span(n)), ("parent_span_id", "00000000000000aa".into())];
        let ids = ids.each_ref().map(|(key, value)| (*key, value.as_str()));
        recording += &line("tool.start", "r", (2 + n) * MS, None, &ids);
    }
    for n in (0..3).rev() {
        let id = span(n);
        recording += &line("tool.stop", "r", (9 - n) * MS, Some((7 - 2 * n) * MS), &[("span_id", &id)]);
    }
    recording += &line("call.stop", "r", 10 * MS, None, &call[..1]);
    recording += &line("bad.stop", "r", 11 * MS, None, &[("span_id", "7")]);
    let finished = replay(&collector, Protocol::Http, recording, &[]);
    let spans = collector.spans();
    let call = named(&spans, "call");
    assert_eq!((call.span_id.as_slice(), call.kind), (&0xaa_u64.to_be_bytes()[..], 5));
    let tools: Vec<_> = spans.iter().filter(|span| span.name == "tool").collect();
    assert_eq!(tools.len(), 3);
    for tool in &tools {
        assert_eq!((&tool.parent_span_id, &tool.trace_id), (&call.span_id, &call.trace_id));
        let n = u64::from(tool.span_id[7] - 0xb0);
        let times = ((2 + n) * MS, (9 - n) * MS);
        assert_eq!((tool.start_time_unix_nano, tool.end_time_unix_nano), times);
    }
    let keys = spans.iter().filter(|span| span.name != "bad").flat_map(|span| &span.attributes);
    let mut keys: Vec<_> = keys.map(|attribute| attribute.key.as_str()).collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys, ["duration", "snakepit.correlation_id"]);
    // The latest value of each bucket.
    for exemplar in exemplars(&collector) {
        assert!(tools.iter().any(|tool| tool.span_id == exemplar.span_id), "{exemplar:?}");
    }
    expect_counters(&finished, &[("spans_exported", 5), ("context_invalid", 1)]);
}

#[test]
fn tasks_without_ids_are_siblings() {
    let collector = Collector::start(Protocol::Grpc, &[]);
    let mut recording = line("call.start", "r", MS, None, &[]);
    for n in 0..3 {
        recording += &line("tool.start", "r", (2 + n) * MS, None, &[("n", &n.to_string())]);
    }
    for n in (0..3).rev() {
        recording += &line("tool.stop", "r", (9 - n) * MS, Some((7 - 2 * n) * MS), &[("n", &n.to_string())]);
    }
    recording += &line("call.stop", "r", 10 * MS, None, &[]);
    replay(&collector, Protocol::Grpc, recording, &[]).expect_code(0);
    let spans = collector.spans();
    let call = named(&spans, "call");
    let tools = spans.iter().filter(|span| span.name == "tool");
    let parents: Vec<_> = tools.map(|tool| tool.parent_span_id.clone()).collect();
    assert_eq!(parents, [call.span_id.clone(), call.span_id.clone(), call.span_id]);
}

#[test]
fn short_correlation_ids_make_traces_of_one_service_instance() {
    let recording = line("a.stop", "7", MS, Some(MS), &[]);
    let trace = |variables: &[(&str, &str)]| {
        let collector = Collector::start(Protocol::Grpc, &[]);
        replay(&collector, Protocol::Grpc, recording.clone(), variables).expect_code(0);
        let id = named(&collector.spans(), "a").trace_id;
        assert_eq!(exemplars(&collector)[0].trace_id, id);
        id
    };
    let in_a = trace(&[("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=a")]);
    // As docs/opentelemetry.md says: printf 'a\0007' | sha256sum | cut -c 1-32
    assert_eq!(in_a, 0x8cb6_ee7a_35dc_7a51_b87d_f5ff_3305_4767_u128.to_be_bytes());
    assert_ne!(trace(&[]), trace(&[]));
}

#[test]
fn the_measured_duration_is_the_length_of_a_span() {
    let collector = Collector::start(Protocol::Grpc, &[]);
    // The clock was set back by an hour while the second one ran.
    let hour = 3_600_000 * MS;
    let recording = [
        line("a.start", "r", 2 * hour, None, &[]),
        line("a.stop", "r", 2 * hour + 9 * MS, Some(5 * MS), &[]),
        line("b.start", "r", 2 * hour, None, &[]),
        line("b.stop", "r", hour, Some(5 * MS), &[]),
    ];
    let finished = replay(&collector, Protocol::Grpc, recording.concat(), &[]);
    for name in ["a", "b"] {
        let span = named(&collector.spans(), name);
        let times = (span.start_time_unix_nano, span.end_time_unix_nano);
        assert_eq!(times, (2 * hour, 2 * hour + 5 * MS), "{name}");
    }
    // A recording may be old.
    expect_counters(&finished, &[("timestamps_odd", 0)]);
}

#[test]
fn timestamps_of_another_unit_are_counted_and_logged_once() {
    let collector = Collector::start(Protocol::Grpc, &[]);
    let mut sidecar = exporting(collector.port, Protocol::Grpc, &[], &QUICK);
    let seconds = now() / 1_000_000_000;
    for _ in 0..3 {
        sidecar.write(line("a.stop", "r", seconds, None, &[]));
        sidecar.write(line("b.stop", "r", now(), None, &[]));
    }
    let finished = sidecar.finish();
    expect_counters(&finished, &[("spans_exported", 6), ("timestamps_odd", 3)]);
    let logged = format!("otlp: a.stop: timestamp_ns is {seconds}, more than a day from now");
    assert_eq!(finished.stderr().matches(&logged).count(), 1, "{}", finished.describe());
}
