//! The metrics of `--vitals`.

use super::{
    collector::{Collector, Protocol},
    exporting::{QUICK, exporting},
};
use telemetry_sidecar::exporter::otlp::proto::metrics::v1::{metric::Data, number_data_point::Value};

#[test]
fn samples_are_metrics_of_the_semantic_conventions() {
    for temporality in ["cumulative", "delta"] {
        let collector = Collector::start(Protocol::Http, &[]);
        let variables = [&QUICK[..], &[("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", temporality)]];
        let mut sidecar =
            exporting(collector.port, Protocol::Http, &["--vitals", "100ms"], &variables.concat());
        let memory = collector.wait_for_metric("process.memory.usage");
        assert_eq!(memory.unit, "By");
        let Some(Data::Sum(sum)) = memory.data else { panic!("{memory:?}") };
        assert!(!sum.is_monotonic && sum.aggregation_temporality == 2, "{sum:?}");
        let Some(Value::AsInt(bytes)) = sum.data_points[0].value else { panic!("{sum:?}") };
        assert!(bytes > 0);
        sidecar.close_stdin();
        sidecar.finish().expect_code(0);
        let all: Vec<_> = collector.received().into_iter().map(|request| request.metrics).collect();
        let names: Vec<_> = all.iter().flatten().map(|metric| metric.name.as_str()).collect();
        assert!(!names.iter().any(|name| name.starts_with("snakepit.")), "{names:?}");
        // After the worker's end there is processor time, and nothing else.
        let last: Vec<_> = all.last().unwrap().iter().map(|metric| metric.name.as_str()).collect();
        assert_eq!(last, ["process.cpu.time"], "{temporality}");
    }
}
