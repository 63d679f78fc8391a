//! `--export-prometheus`: the pages of the binary.

#![allow(clippy::float_cmp, reason = "these numbers are exact")]

mod exposition;
mod page;
mod serving;
mod targets;
mod vitals;

use crate::http::get;
use crate::support::{Sidecar, fixture, line, run, wait_until};
use std::{collections::BTreeMap, net::TcpListener};

const OPEN_METRICS: &str = "Accept: application/openmetrics-text;version=1.0.0\r\n";

/// A sidecar that serves metrics, whose worker prints the lines that the test writes, and the metrics
/// address.
async fn serving(options: &[&str]) -> (Sidecar, String) {
    let sidecar = Sidecar::wrap_echo(&[&["--export-prometheus", "127.0.0.1:0"], options].concat());
    let address = sidecar.status().await.prometheus_address;
    (sidecar, address)
}

/// The series of a valid page.
fn series(address: &str) -> BTreeMap<String, f64> {
    let page = get(address, "/metrics", "").body;
    exposition::read(&page, false).unwrap_or_else(|error| panic!("{error}\n{page}"))
}

/// The series, once the exporter has processed this number of events.
fn after(events: u32, address: &str) -> BTreeMap<String, f64> {
    const DELIVERED: &str =
        r#"telemetry_sidecar_exporter_events_total{exporter="prometheus",outcome="delivered"}"#;
    let mut all = series(address);
    wait_until("the events to be counted", || {
        all = series(address);
        all[DELIVERED] >= f64::from(events)
    });
    all
}

fn stop(milliseconds: u32, tool: &str) -> String {
    format!(
        "TELEMETRY:{{\"event\": \"tool.execution.stop\", \
         \"measurements\": {{\"duration\": {milliseconds}000000, \
         \"rows\": {milliseconds}}}, \"metadata\": {{\"tool\": \"{tool}\"}}, \"correlation_id\": \
         \"0af76519-16cd-43dd-8448-eb211c80319c\"}}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scrape_shows_the_worker_and_the_sidecar_in_either_format() {
    let (mut sidecar, address) =
        serving(&["--metric-label", "tool", "--metric-kind", "*.rows=counter"]).await;
    sidecar.write(
        [stop(250, "x"), stop(500, "x"), stop(1, "y\\n\\\""), "TELEMETRY:oops\nplain\n".into()].concat(),
    );
    let page = after(3, &address);
    let expect = |series: &str, value: f64| assert_eq!(page.get(series), Some(&value), "{series} {page:#?}");
    expect(r#"snakepit_events_total{event="tool.execution.stop",tool="x"}"#, 2.0);
    expect(r#"snakepit_events_total{event="tool.execution.stop",tool="y\n\""}"#, 1.0);
    let duration = "snakepit_operation_duration_seconds";
    let labels = r#"operation="tool.execution",result="ok",tool="x""#;
    expect(&format!("{duration}_bucket{{{labels},le=\"0.25\"}}"), 1.0);
    expect(&format!("{duration}_count{{{labels}}}"), 2.0);
    expect(&format!("{duration}_sum{{{labels}}}"), 0.75);
    expect(r#"snakepit_tool_execution_rows_total{tool="x"}"#, 750.0);
    expect(r#"telemetry_sidecar_telemetry_lines_total{outcome="malformed"}"#, 1.0);
    expect(r#"telemetry_sidecar_malformed_lines_total{reason="json"}"#, 1.0);
    expect(r#"telemetry_sidecar_exporter_counts_total{exporter="prometheus",counter="overflowed"}"#, 0.0);
    expect("telemetry_sidecar_worker_up", 1.0);
    let version = env!("CARGO_PKG_VERSION");
    expect(&format!("telemetry_sidecar_build_info{{version=\"{version}\"}}"), 1.0);
    for own in [
        "process_cpu_seconds_total",
        "process_open_fds",
        "process_resident_memory_bytes",
        "start_time_seconds",
    ] {
        assert!(page[&format!("telemetry_sidecar_{own}")] > 0.0, "{own}");
    }

    let text = get(&address, "/metrics", "Accept: text/plain\r\n");
    assert_eq!(text.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    let open_metrics = get(&address, "/metrics", OPEN_METRICS);
    assert_eq!(
        open_metrics.header("content-type"),
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    let same = exposition::read(&open_metrics.body, true).unwrap();
    assert!(same.keys().eq(page.keys()));
    for created in [
        "snakepit_events_created{event=\"tool.execution.stop\",tool=\"x\"} ",
        &format!("{duration}_created{{{labels}}} "),
        "snakepit_tool_execution_rows_created{tool=\"x\"} ",
    ] {
        assert!(open_metrics.body.contains(created), "{created} {}", open_metrics.body);
    }
    assert!(!open_metrics.body.contains("telemetry_sidecar_events_created"), "start_time_seconds has it");
    assert!(open_metrics.body.contains("# {trace_id=\"0af7651916cd43dd8448eb211c80319c\"} 0.5 "));
    sidecar.finish().expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn buckets_reach_from_microseconds_to_days_and_can_be_set() {
    let options = ["--metric-kind", "*.rows=histogram", "--metric-buckets", "*.rows=1,2.5,1e7"];
    let options = [&options[..], &["--metric-buckets", "load*=0.5"]].concat();
    let (mut sidecar, address) = serving(&options).await;
    for (operation, nanoseconds) in [("call", 2_000_u64), ("train", 7_200_000_000_000), ("load", 1)] {
        sidecar.write(format!(
            "TELEMETRY:{{\"event\": \"{operation}.stop\", \
             \"measurements\": {{\"duration\": {nanoseconds}, \"rows\": 3}}}}\n"
        ));
    }
    let page = after(3, &address);
    let bounds = |name: &str| -> Vec<f64> {
        let buckets = page.keys().filter_map(|series| series.strip_prefix(name)?.split_once("le=\""));
        let mut bounds: Vec<f64> =
            buckets.filter_map(|(_, le)| le.strip_suffix("\"}")?.parse().ok()).collect();
        bounds.sort_by(f64::total_cmp);
        bounds
    };
    let durations = "snakepit_operation_duration_seconds_bucket";
    let train = format!("{durations}{{operation=\"train\"");
    assert!(bounds(&train).len() < 30, "{:?}", bounds(&train));
    for (operation, above, at_most) in [("call", "1e-06", "5e-06"), ("train", "3600.0", "14400.0")] {
        let bucket =
            |bound| page[&format!("{durations}{{operation=\"{operation}\",result=\"ok\",le=\"{bound}\"}}")];
        assert_eq!((bucket(above), bucket(at_most)), (0.0, 1.0), "{operation}");
    }
    assert_eq!(bounds(&format!("{durations}{{operation=\"load\"")), [0.5, f64::INFINITY]);
    assert_eq!(bounds("snakepit_train_rows_bucket{"), [1.0, 2.5, 1e7, f64::INFINITY]);
    sidecar.finish().expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sidecars_rare_series_are_left_out_until_they_count() {
    let own = |page: &BTreeMap<String, f64>| -> Vec<String> {
        page.keys()
            .filter_map(|series| series.strip_prefix("telemetry_sidecar_"))
            .map(str::to_owned)
            .collect()
    };
    let (mut sidecar, address) = serving(&["--deny", "secret.*"]).await;
    sidecar.write(stop(1, "x"));
    let few = own(&after(1, &address));
    assert!(few.len() <= 32, "{} {few:#?}", few.len());
    // What the alert rules use is there at zero: to Prometheus a first value is no increase.
    for alarming in [
        r#"exporter_events_total{exporter="prometheus",outcome="dropped"}"#,
        r#"exporter_events_total{exporter="prometheus",outcome="abandoned"}"#,
        r#"exporter_counts_total{exporter="prometheus",counter="overflowed"}"#,
        r#"subscriber_events_total{outcome="dropped"}"#,
        r#"telemetry_lines_total{outcome="malformed"}"#,
        r#"telemetry_lines_total{outcome="oversized"}"#,
        r#"embedded_markers_total{outcome="malformed"}"#,
        r#"stderr_bytes_total{outcome="dropped"}"#,
        "stderr_held_bytes",
        r#"backlog_events_total{outcome="dropped"}"#,
    ] {
        assert!(few.contains(&alarming.to_owned()), "{alarming} {few:#?}");
    }
    sidecar.write([line("secret.stop", 1, ""), "TELEMETRY:oops\n".into(), stop(1, "x")].concat());
    let more = own(&after(2, &address));
    let new: Vec<_> = more.iter().filter(|series| !few.contains(series)).collect();
    assert_eq!(
        new,
        [
            r#"exporter_events_total{exporter="prometheus",outcome="filtered"}"#,
            r#"malformed_lines_total{reason="json"}"#
        ]
    );
    sidecar.finish().expect_code(0);

    let (mut sidecar, address) = serving(&["--prometheus-all"]).await;
    sidecar.write(stop(1, "x"));
    let all = own(&after(1, &address));
    assert!(all.len() >= few.len() + 18, "{} {all:#?}", all.len());
    assert!(all.contains(&r#"subscriber_events_total{outcome="filtered"}"#.to_owned()), "{all:#?}");
    sidecar.finish().expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn losses_of_other_exporters_are_on_the_page_from_the_start() {
    let others =
        ["--export-otlp", "--otlp-endpoint", "http://127.0.0.1:9", "--export-statsd", "udp://127.0.0.1:9"];
    let (sidecar, address) = serving(&others).await;
    let page = series(&address);
    let counters = |exporter: &str| -> Vec<String> {
        let start = format!("telemetry_sidecar_exporter_counts_total{{exporter=\"{exporter}\",counter=\"");
        let names = page.keys().filter_map(|series| series.strip_prefix(&start)?.strip_suffix("\"}"));
        names.map(str::to_owned).collect()
    };
    assert_eq!(
        counters("otlp"),
        [
            "logs_dropped",
            "logs_exported",
            "logs_failed",
            "logs_rejected",
            "points_exported",
            "points_failed",
            "points_rejected",
            "samples_invalid",
            "samples_overflowed",
            "samples_refused",
            "spans_dropped",
            "spans_exported",
            "spans_failed",
            "spans_rejected",
        ]
    );
    assert_eq!(counters("statsd"), ["invalid", "oversized", "unsent"]);
    sidecar.finish().expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_prefix_of_the_workers_metrics_can_be_set() {
    let (mut sidecar, address) = serving(&["--prometheus-prefix", "pool_a"]).await;
    sidecar.write(stop(1, "x"));
    let page = after(1, &address);
    assert_eq!(page[r#"pool_a_events_total{event="tool.execution.stop"}"#], 1.0);
    assert_eq!(page["pool_a_tool_execution_rows"], 1.0);
    assert!(
        page.keys().all(|series| series.starts_with("pool_a_") || series.starts_with("telemetry_sidecar_"))
    );
    sidecar.finish().expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn measurements_without_a_kind_are_left_out() {
    let (mut sidecar, address) = serving(&["--metric-kind", "*.secret=none"]).await;
    sidecar.write(
        "TELEMETRY:{\"event\": \"a.start\", \
         \"measurements\": {\"system_time\": 1, \"secret\": 2, \"rss\": 3}}\n",
    );
    let page = after(1, &address);
    let measured: Vec<_> = page.keys().filter(|series| series.starts_with("snakepit_a_")).collect();
    assert_eq!(measured, ["snakepit_a_rss"]);
    sidecar.finish().expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_worker_does_not_prevent_scrapes() {
    let options = ["--export-prometheus", "127.0.0.1:0"];
    let sidecar = Sidecar::wrap(
        &options,
        r#"exec yes 'TELEMETRY:{"event":"a.stop","measurements":{"duration":5}}' >&2"#,
    );
    let address = sidecar.status().await.prometheus_address;
    let (mut last, mut scrapes) = (0.0, 0);
    while scrapes < 5 {
        let all = series(&address);
        let events = all.get(r#"snakepit_events_total{event="a.stop"}"#).copied().unwrap_or(0.0);
        scrapes += u32::from(events > last);
        last = events;
    }
    sidecar.signal(nix::sys::signal::Signal::SIGTERM);
    sidecar.finish().expect_signal(15);
}

#[tokio::test(flavor = "multi_thread")]
async fn sampling_does_not_apply_to_counters_and_other_controls_do() {
    let (mut sidecar, address) = serving(&["--sampling-rate", "0", "--deny", "secret.*"]).await;
    sidecar.write([stop(1, "x"), line("secret.stop", 1, ""), stop(1, "x")].concat());
    let page = after(2, &address);
    assert_eq!(page[r#"snakepit_events_total{event="tool.execution.stop"}"#], 2.0);
    assert_eq!(
        page[r#"telemetry_sidecar_exporter_events_total{exporter="prometheus",outcome="filtered"}"#],
        1.0
    );
    assert!(!page.keys().any(|series| series.contains("secret")));
    sidecar.finish().expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn measurements_without_a_series_are_counted() {
    let labels = ["--metric-label", "tool", "--metric-label", "a.b", "--metric-label", "a-b"];
    let (mut sidecar, address) = serving(&[&labels[..], &["--metric-series", "2"]].concat()).await;
    for tool in ["x", "y", "z"] {
        sidecar.write(stop(1, tool));
    }
    sidecar.write("TELEMETRY:{\"event\": \"x.y\", \"measurements\": {\"z\": 1, \"z-\": 1, \"z_\": 2}}\n");
    let page = after(4, &address);
    assert_eq!(page[r#"snakepit_events_total{otel_metric_overflow="true"}"#], 2.0, "{page:#?}");
    assert_eq!(page.iter().filter(|(series, _)| series.starts_with("snakepit_x_y_z_")).count(), 1);
    let count = |counter: &str| {
        page[&format!(
            "telemetry_sidecar_exporter_counts_total{{exporter=\"prometheus\",counter=\"{counter}\"}}"
        )]
    };
    assert_eq!((count("collisions"), count("overflowed"), count("invalid")), (2.0, 4.0, 0.0));
    let status = sidecar.status().await;
    let counters = &status.exporters[0].counters;
    assert_eq!((counters["collisions"], counters["overflowed"]), (2, 4));
    sidecar.finish().expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_exports_no_worker_metrics() {
    let words = ["replay", "--ready-file", "{dir}/ready", "--export-prometheus", "127.0.0.1:0"];
    let log = fixture("logs/clean.log");
    let words =
        [&words[..], &["--linger", "600s", "--wait-for-subscribers", "0", log.to_str().unwrap()]].concat();
    let sidecar = Sidecar::command(&words).start();
    let address = sidecar.status().await.prometheus_address;
    let page = after(4, &address);
    assert!(!page.keys().any(|series| series.contains("worker")), "{page:#?}");
    assert_eq!(page["telemetry_sidecar_events_total{source=\"line\"}"], 4.0);
    sidecar.signal(nix::sys::signal::Signal::SIGTERM);
    sidecar.finish().expect_signal(15);
}

#[test]
fn an_unavailable_address_prevents_the_start() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (address, cause) in [
        (taken.as_str(), "address in use: name another port, or port 0 for any that is free"),
        (
            "0.0.0.0:0",
            "other hosts could read it without TLS and authentication: use 127.0.0.1, or allow it with \
             --prometheus-insecure",
        ),
        ("unix:/x", "Prometheus scrapes HOST:PORT only"),
    ] {
        let words = ["--export-prometheus", address, "--", "touch", "{dir}/started"];
        let sidecar = Sidecar::command(&words).start();
        let started = sidecar.path("started");
        let finished = sidecar.finish();
        finished.expect_code(125);
        let line = format!("telemetry-sidecar: --export-prometheus: '{address}': {cause}\n");
        assert_eq!(finished.stderr(), line);
        assert!(!started.exists());
    }
}

#[test]
fn the_log_contains_the_address() {
    let finished = run(&["-v", "--export-prometheus", "127.0.0.1:0", "--", "true"]);
    let stderr = finished.expect_code(0).stderr();
    assert!(stderr.contains("telemetry-sidecar: metrics at http://127.0.0.1:"), "{stderr}");
    assert!(stderr.contains("telemetry-sidecar: prometheus: 0 offered\n"), "{stderr}");
}
