//! The options of OpenTelemetry, and what they come to. Standard variables have the rest ([`environment`]).
//!
//! [`environment`]: super::environment

use super::endpoint::Endpoint;
use crate::{
    exporter::metrics::sample::Measures,
    system::{
        option::{Given, named, value},
        value::{MAX_DURATION, Period, Wanted, duration, switch, wanted},
    },
};
use clap::Args;
use std::time::Duration;

/// Longer than almost every operation, and short enough for one that hangs to be noticed.
const SPAN_TIMEOUT: Period = Period(Duration::from_secs(600));

/// The options of the command line.
#[derive(Debug, Args)]
#[command(next_help_heading = "Exporters")]
pub struct OtlpArgs {
    /// Send to an OpenTelemetry collector
    #[arg(
        long,
        value_name = "URL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "1",
        env = "TELEMETRY_SIDECAR_EXPORT_OTLP",
        value_parser = named(wanted(str::parse::<Endpoint>)),
        long_help = "Send traces and metrics to an OpenTelemetry collector. The standard variables \
            OTEL_EXPORTER_OTLP_*, OTEL_TRACES_EXPORTER, OTEL_METRICS_EXPORTER, OTEL_SERVICE_NAME, \
            OTEL_RESOURCE_ATTRIBUTES, OTEL_BSP_* and OTEL_METRIC_EXPORT_* apply. --export-otlp=URL is \
            the same as --export-otlp --otlp-endpoint URL"
    )]
    export_otlp: Option<Given<Wanted<Endpoint>>>,

    /// Endpoint of the OpenTelemetry collector [default: http://localhost:4317]
    #[arg(
        long,
        value_name = "URL",
        env = "TELEMETRY_SIDECAR_OTLP_ENDPOINT",
        value_parser = named(str::parse::<Endpoint>),
        long_help = "Endpoint of the OpenTelemetry collector; it overrides OTEL_EXPORTER_OTLP_ENDPOINT \
            [default: http://localhost:4317]"
    )]
    otlp_endpoint: Option<Given<Endpoint>>,

    /// Do not derive parents of spans from nesting; only traceparent and parent_span_id in the metadata count
    #[arg(long, env = "TELEMETRY_SIDECAR_OTLP_FLAT", value_parser = value(switch))]
    otlp_flat: bool,

    /// Count and log operations that run for longer; they are sent when they end. 0s disables this
    #[arg(
        long,
        value_name = "DURATION",
        default_value_t = SPAN_TIMEOUT,
        env = "TELEMETRY_SIDECAR_OTLP_SPAN_TIMEOUT",
        value_parser = value(duration)
    )]
    otlp_span_timeout: Period,
}

/// What to send where.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The collector's URL; without one that of the standard variables, or the default.
    pub endpoint: Option<Endpoint>,
    /// Whether only the metadata makes spans children of others.
    pub flat: bool,
    /// The time after which an open span is overdue.
    pub span_timeout: Duration,
    /// What is measured.
    pub measures: Measures,
    /// How many series a metric may have.
    pub max_series: usize,
}

impl OtlpArgs {
    /// What to send, if the exporter is on.
    pub fn settings(self, measures: &Measures, max_series: usize) -> Option<Settings> {
        let Given { value: collector, origin } = self.export_otlp?;
        let endpoint = match (collector, self.otlp_endpoint) {
            (Wanted::Off, _) => return None,
            // A variable must not override what was typed.
            (Wanted::At(endpoint), Some(other))
                if origin.is_command_line() && !other.origin.is_command_line() =>
            {
                Some(endpoint)
            }
            (_, Some(endpoint)) => Some(endpoint.value),
            (Wanted::At(endpoint), None) => Some(endpoint),
            (Wanted::On, None) => None,
        };
        let span_timeout = self.otlp_span_timeout.0;
        Some(Settings {
            endpoint,
            flat: self.otlp_flat,
            span_timeout: if span_timeout.is_zero() { MAX_DURATION } else { span_timeout },
            measures: measures.clone(),
            max_series,
        })
    }
}
