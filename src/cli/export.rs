//! The options of exporting.

use super::word::{FromVariable, Word, switch};
use clap::Args;
use std::path::PathBuf;

/// Where else events go.
#[derive(Debug, Args)]
#[command(next_help_heading = "Exporters")]
pub struct Export {
    /// Append every event to this file as a JSON line
    #[arg(long, value_name = "PATH", env = "TELEMETRY_SIDECAR_EXPORT_JSONL")]
    pub export_jsonl: Option<PathBuf>,

    /// Send traces and metrics to an OpenTelemetry collector [default endpoint: http://localhost:4317]
    #[arg(
        long,
        value_name = "ENDPOINT",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "1",
        env = "TELEMETRY_SIDECAR_EXPORT_OTLP",
        long_help = "Send traces and metrics to an OpenTelemetry collector. Without ENDPOINT, and for everything else, \
            the standard variables OTEL_EXPORTER_OTLP_*, OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_BSP_* and \
            OTEL_METRIC_EXPORT_INTERVAL count. In the environment 1 is the default endpoint, 0 is off"
    )]
    pub export_otlp: Option<Word>,

    /// Do not make spans children of the spans around them; only traceparent says what is whose child
    #[arg(long, env = "TELEMETRY_SIDECAR_OTLP_FLAT", value_parser = FromVariable(switch))]
    pub otlp_flat: bool,

    /// After this time without an end a span is sent as incomplete; 0s never
    #[arg(long, value_name = "DURATION", default_value = "10m", env = "TELEMETRY_SIDECAR_OTLP_SPAN_TIMEOUT")]
    pub otlp_span_timeout: Word,

    /// Serve metrics for Prometheus at http://HOST:PORT/metrics
    #[arg(long, value_name = "HOST:PORT", env = "TELEMETRY_SIDECAR_EXPORT_PROMETHEUS")]
    pub export_prometheus: Option<Word>,

    /// Send metrics to a StatsD server: udp://HOST:PORT or unix:PATH
    #[arg(long, value_name = "ADDRESS", env = "TELEMETRY_SIDECAR_EXPORT_STATSD")]
    pub export_statsd: Option<Word>,

    /// What the StatsD server understands: statsd or dogstatsd
    #[arg(long, value_name = "WHICH", default_value = "statsd", env = "TELEMETRY_SIDECAR_STATSD_DIALECT")]
    pub statsd_dialect: Word,

    /// What the names of StatsD metrics start with; a dot for nothing
    #[arg(long, value_name = "PREFIX", default_value = "snakepit", env = "TELEMETRY_SIDECAR_STATSD_PREFIX")]
    pub statsd_prefix: Word,

    /// What a measurement is, by its name OPERATION.KEY: counter, gauge or histogram; repeatable [default: gauge]
    #[arg(long, value_name = "GLOB=KIND", env = "TELEMETRY_SIDECAR_METRIC_KIND")]
    pub metric_kind: Vec<Word>,

    /// Make this key of the metadata a label of metrics; repeatable [default: none]
    #[arg(long, value_name = "KEY", env = "TELEMETRY_SIDECAR_METRIC_LABEL")]
    pub metric_label: Vec<Word>,

    /// How many series a metric may have; samples of more join one overflow series
    #[arg(long, value_name = "N", default_value = "1000", env = "TELEMETRY_SIDECAR_METRIC_SERIES")]
    pub metric_series: Word,
}
