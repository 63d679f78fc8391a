//! All exporters: their options, and their outputs.

use super::{
    jsonl::args::JsonlArgs, metrics::args::MetricArgs, otlp::args::OtlpArgs,
    prometheus::args::PrometheusArgs, statsd::args::StatsdArgs,
};
use crate::pipeline::output::Output;
use clap::Args;

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

impl ExportArgs {
    /// The exporters that are on, in the order in which they are started. With `disabled` they get no events.
    ///
    /// # Errors
    ///
    /// If options do not go together.
    pub fn settings(self, disabled: bool) -> Result<Vec<Box<dyn Output>>, String> {
        let max_series = self.metrics.series;
        let measures = self.metrics.measures();
        let otlp = self.otlp.settings(&measures, max_series, disabled);
        let run = otlp.as_ref().and_then(|otlp| otlp.run_span.clone());
        let exporters = [
            boxed(self.jsonl.settings()),
            boxed(self.prometheus.settings(&measures, max_series, run)?),
            boxed(self.statsd.settings(&measures)),
            boxed(otlp),
        ];
        Ok(exporters.into_iter().flatten().collect())
    }
}

fn boxed<T: Output + 'static>(settings: Option<T>) -> Option<Box<dyn Output>> {
    settings.map(|settings| Box::new(settings) as Box<dyn Output>)
}
