//! The options of OpenTelemetry, and what they come to. Standard variables have the rest ([`environment`]).
//!
//! [`environment`]: super::environment

use super::{endpoint::Endpoint, environment::Environment, run_span::RunSpan};
use crate::{
    exporter::metrics::sample::Measures,
    system::{
        option::{Given, named, value},
        value::{MAX_DURATION, Period, Wanted, duration, switch, wanted},
    },
};
use clap::Args;
use std::{env, sync::Arc, time::Duration};

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
        long_help = "Send traces, metrics and, with --otlp-logs, logs to an OpenTelemetry collector. The \
            standard variables OTEL_EXPORTER_OTLP_*, OTEL_TRACES_EXPORTER, OTEL_METRICS_EXPORTER, \
            OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_BSP_* and OTEL_METRIC_EXPORT_* apply. \
            --export-otlp=URL is the same as --export-otlp --otlp-endpoint URL"
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

    /// Send stderr's lines as log records
    #[arg(
        long,
        env = "TELEMETRY_SIDECAR_OTLP_LOGS",
        value_parser = value(switch),
        long_help = "Also send the worker's ordinary stderr lines as log records: with the severity that a \
            line states and the span that it names or that is open; a traceback is one record. stderr itself \
            is unchanged. OTEL_LOGS_EXPORTER and OTEL_BLRP_* apply"
    )]
    otlp_logs: bool,

    /// Count and log operations that run for longer; they are sent when they end. 0s disables this
    #[arg(
        long,
        value_name = "DURATION",
        default_value_t = SPAN_TIMEOUT,
        env = "TELEMETRY_SIDECAR_OTLP_SPAN_TIMEOUT",
        value_parser = value(duration)
    )]
    otlp_span_timeout: Period,

    /// Send a span for the worker's whole run
    #[arg(
        long,
        value_name = "NAME",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "1",
        env = "TELEMETRY_SIDECAR_RUN_SPAN",
        value_parser = value(wanted(span_name)),
        long_help = "Send one span for the worker's whole run, from its start to its end, with its exit code \
            or signal; without =NAME it is named after the worker's program. A TRACEPARENT in the \
            environment is its parent. Spans of the worker without a parent become its children, unless \
            they have a traceparent or a trace_id of another trace. A replay ignores this option [default: \
            off]"
    )]
    run_span: Option<Wanted<String>>,

    /// Give the worker a TRACEPARENT that names the run span
    #[arg(
        long,
        env = "TELEMETRY_SIDECAR_RUN_SPAN_ENV",
        value_parser = value(switch),
        long_help = "Set TRACEPARENT in the worker's environment to the run span, so that spans of the \
            worker's own OpenTelemetry SDK can be its descendants. A TRACESTATE of the same trace stays, \
            another one is removed. Without this option, or with --run-span=false, TRACEPARENT and \
            TRACESTATE are passed on unchanged"
    )]
    run_span_env: bool,
}

/// What to send where.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The collector's URL; without one that of the standard variables, or the default.
    pub endpoint: Option<Endpoint>,
    /// Whether ordinary lines are sent as log records.
    pub logs: bool,
    /// Whether only the metadata makes spans children of others.
    pub flat: bool,
    /// The time after which an open span is overdue.
    pub span_timeout: Duration,
    /// The span of the run, if there is one.
    pub run_span: Option<Arc<RunSpan>>,
    /// Whether the worker is to inherit it.
    pub run_span_env: bool,
    /// What is measured.
    pub measures: Measures,
    /// How many series a metric may have.
    pub max_series: usize,
}

impl OtlpArgs {
    /// What to send, if the exporter is on. With `disabled` there are no events, and neither a run span nor
    /// log records.
    pub fn settings(self, measures: &Measures, max_series: usize, disabled: bool) -> Option<Settings> {
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
        let name = match self.run_span {
            None | Some(Wanted::Off) => None,
            Some(Wanted::On) => Some(None),
            Some(Wanted::At(name)) => Some(Some(name)),
        };
        let variable = |name: &str| env::var_os(name);
        let (environment, _) = Environment::read(endpoint.as_ref(), self.otlp_logs, &variable);
        // A parent that is never exported would hide the caller's span from the worker.
        let name = name.filter(|_| environment.traces.enabled && !disabled);
        let run_span = name.map(|name| Arc::new(RunSpan::new(name, &variable)));
        let span_timeout = self.otlp_span_timeout.0;
        Some(Settings {
            endpoint,
            logs: self.otlp_logs && !disabled,
            flat: self.otlp_flat,
            span_timeout: if span_timeout.is_zero() { MAX_DURATION } else { span_timeout },
            run_span,
            run_span_env: self.run_span_env,
            measures: measures.clone(),
            max_series,
        })
    }
}

fn span_name(text: &str) -> Result<String, &'static str> {
    if text.trim().is_empty() { Err("expected a name") } else { Ok(text.to_owned()) }
}
