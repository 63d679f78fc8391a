//! The options of all exporters, and what they come to.

use super::{
    jsonl::args::JsonlArgs,
    metrics::args::MetricArgs,
    otlp::{self, args::OtlpArgs},
    prometheus::{self, args::PrometheusArgs},
    statsd::{self, args::StatsdArgs},
};
use crate::system::option::Given;
use clap::Args;
use std::path::PathBuf;

/// The options of the command line.
#[derive(Debug, Args)]
pub struct ExportArgs {
    #[command(flatten)]
    jsonl: JsonlArgs,
    #[command(flatten)]
    otlp: OtlpArgs,
    #[command(flatten)]
    prometheus: PrometheusArgs,
    #[command(flatten)]
    statsd: StatsdArgs,
    #[command(flatten)]
    metrics: MetricArgs,
}

/// The exporters, each if it is on.
#[derive(Debug)]
pub struct Export {
    /// The file to write JSON lines to.
    pub jsonl: Option<Given<PathBuf>>,
    /// To an OpenTelemetry collector.
    pub otlp: Option<otlp::Settings>,
    /// For Prometheus.
    pub prometheus: Option<prometheus::Settings>,
    /// To a StatsD server.
    pub statsd: Option<statsd::Settings>,
}

impl ExportArgs {
    /// The settings of all exporters. `insecure` allows addresses that other hosts can reach.
    ///
    /// # Errors
    ///
    /// If options do not go together.
    pub fn settings(self, insecure: bool) -> Result<Export, String> {
        let max_series = self.metrics.series;
        let measures = self.metrics.measures();
        Ok(Export {
            jsonl: self.jsonl.export_jsonl,
            otlp: self.otlp.settings(&measures, max_series)?,
            prometheus: self.prometheus.settings(&measures, max_series, insecure)?,
            statsd: self.statsd.settings(&measures),
        })
    }
}

impl Export {
    /// Whether any exporter is on.
    pub fn any(&self) -> bool {
        self.jsonl.is_some() || self.otlp.is_some() || self.prometheus.is_some() || self.statsd.is_some()
    }
}
