//! `--export-otlp`: traces and metrics to an OpenTelemetry collector.

use super::metrics::sample::Measures;
use std::time::Duration;

/// The exporter's name in the books.
pub const NAME: &str = "otlp";

/// The options of the command line; the standard environment variables say the rest.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where to send; none is what the environment says, or the default.
    pub endpoint: Option<String>,
    /// Whether only `traceparent` makes spans children of others.
    pub flat: bool,
    /// After how much time without an end a span is sent as incomplete.
    pub span_timeout: Duration,
    /// What is measured.
    pub measures: Measures,
    /// How many series a metric may have.
    pub max_series: usize,
}
