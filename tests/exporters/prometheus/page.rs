//! The page is valid for random names, labels and values, as checked by a strict parser.

#![allow(clippy::cast_precision_loss, reason = "these numbers are small")]

use super::exposition;
use proptest::{
    collection::{btree_map, vec},
    option,
    prelude::*,
    sample::select,
    test_runner::Config,
};
use telemetry_sidecar::{
    control::glob::Glob,
    event::{
        proto::bridge::{TelemetryEvent, TelemetryValue, telemetry_value::Value},
        view::View,
    },
    exporter::{
        metrics::sample::{Kind, Measures},
        prometheus::{
            page::{Format, Page},
            series::Metrics,
        },
    },
};

/// Names that collide with each other, with suffixes, with reserved names, or with the syntax.
#[rustfmt::skip]
const NASTY: &[&str] = &[
    "a", "b", "a_b", "a.b", "a-b", "A", "", "_", "__", "__name__", "1", "é", "ü", "le", "quantile",
    "event", "events", "operation", "result", "duration", "duration_ms", "duration_seconds", "seconds",
    "total", "count", "sum", "bucket", "created", "_total", "otel.metric.overflow", "metadata_le",
    "x\ny", "q\"}", "\\", "\\n", "\0", "# EOF", "\r", "\u{2028}", "start", "stop", "exception",
];

/// One of these names, or any other.
fn word() -> impl Strategy<Value = String> {
    prop_oneof![8 => select(NASTY).prop_map(ToOwned::to_owned), 1 => any::<String>()]
}

fn number() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<f64>().prop_map(Value::FloatValue),
        select(&[f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, f64::MAX, 0.001, 1.0][..])
            .prop_map(Value::FloatValue),
        any::<i64>().prop_map(Value::IntValue),
        (0..1000_i64).prop_map(Value::IntValue),
        word().prop_map(Value::StringValue),
    ]
}

fn event() -> impl Strategy<Value = TelemetryEvent> {
    let measurement = number().prop_map(|value| TelemetryValue { value: Some(value) });
    let correlation_id = prop_oneof![word(), Just("0af7651916cd43dd8448eb211c80319c".to_owned())];
    (
        vec(word(), 1..4),
        btree_map(word(), measurement, 0..5),
        btree_map(word(), word(), 0..4),
        any::<i64>(),
        correlation_id,
    )
        .prop_map(|(event_parts, measurements, metadata, timestamp_ns, correlation_id)| TelemetryEvent {
            event_parts,
            measurements,
            metadata,
            timestamp_ns,
            correlation_id,
        })
}

fn measures() -> impl Strategy<Value = Measures> {
    let glob = prop_oneof![Just("*".to_owned()), word().prop_map(|word| format!("*{word}"))];
    let kind = select(&[Kind::Counter, Kind::Gauge, Kind::Histogram, Kind::Distribution][..]);
    let kind = option::of(kind);
    (vec((glob.prop_map(|glob| Glob::new(&glob)), kind), 0..5), vec(word(), 0..5))
        .prop_map(|(kinds, labels)| Measures { kinds, labels, ..Measures::default() })
}

fn page(metrics: &Metrics, format: Format) -> String {
    let mut page = Page::new(format);
    metrics.write(&mut page);
    page.finish()
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, cases: 100, ..Config::default() })]

    #[test]
    fn the_page_is_valid_for_any_names_labels_and_values(
        measures in measures(),
        max_series in 1..4_usize,
        events in vec(event(), 1..24),
    ) {
        let mut metrics = Metrics::new(measures, max_series, &"snakepit".parse().unwrap());
        let mut names_before = Vec::new();
        for scraped in events.chunks(8) {
            for event in scraped {
                metrics.add(&View::from(event));
            }
            let text = page(&metrics, Format::Text);
            let series = exposition::read(&text, false);
            let series = series.map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
            // No family disappears or changes its type.
            let comments = text.lines().filter(|line| line.starts_with("# "));
            let names: Vec<_> = comments.map(ToOwned::to_owned).collect();
            prop_assert!(names_before.iter().all(|name| names.contains(name)), "{names_before:?} {names:?}");
            names_before = names;

            let open_metrics = page(&metrics, Format::OpenMetrics);
            let same = exposition::read(&open_metrics, true)
                .map_err(|error| TestCaseError::fail(format!("{error}\n{open_metrics}")))?;
            prop_assert!(same.keys().eq(series.keys()), "the formats have different series");
        }
        // Every event is counted under any name.
        let counted: f64 = exposition::read(&page(&metrics, Format::Text), false).unwrap().iter()
            .filter(|(series, _)| series.starts_with("snakepit_events_total{")).map(|(_, value)| value).sum();
        prop_assert_eq!(counted, events.len() as f64);
    }
}
