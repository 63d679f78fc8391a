//! The options that all exporters of metrics have in common.

use super::sample::{Kind, Measures};
use crate::{
    control::glob::Glob,
    system::{
        option::{Several, repeated, value},
        value::{COUNT, integer_in},
    },
};
use clap::Args;

/// A metric with more series is mostly one with a label that should not be one; Prometheus' own advice is to
/// stay in the tens. One thousand leaves room for a name for each tool of a large pool.
const MAX_SERIES: usize = 1000;

/// The options of the command line.
#[derive(Debug, Args)]
#[command(next_help_heading = "Exporters")]
pub struct MetricArgs {
    /// Kind of the measurement OPERATION.KEY: counter, gauge, histogram, distribution or none; repeatable
    /// [default: gauge]
    #[arg(
        long = "metric-kind",
        value_name = "GLOB=KIND",
        env = "TELEMETRY_SIDECAR_METRIC_KIND",
        value_parser = repeated(metric_kind),
        long_help = "Kind of the measurement OPERATION.KEY: counter, gauge, histogram, distribution (the \
            same as histogram, except in DogStatsD), or none, which leaves it out; repeatable, the last \
            glob that matches counts [default: gauge, and none for system_time]"
    )]
    kind: Vec<Several<(Glob, Option<Kind>)>>,

    /// Make this key of the metadata a label of metrics; repeatable
    #[arg(
        long = "metric-label",
        value_name = "KEY",
        env = "TELEMETRY_SIDECAR_METRIC_LABEL",
        value_parser = repeated(metric_label),
        long_help = "Make this key of the metadata a label of metrics; repeatable. correlation_id cannot \
            be one"
    )]
    label: Vec<Several<String>>,

    /// Series that a metric may have; samples of further ones are added to one overflow series
    #[arg(
        long = "metric-series",
        value_name = "N",
        default_value_t = MAX_SERIES,
        env = "TELEMETRY_SIDECAR_METRIC_SERIES",
        value_parser = value(integer_in::<usize>(COUNT))
    )]
    pub(crate) series: usize,
}

impl MetricArgs {
    /// What is measured.
    pub fn measures(self) -> Measures {
        let mut labels = Vec::new();
        for key in Several::flatten(self.label) {
            if !labels.contains(&key.value) {
                labels.push(key.value);
            }
        }
        Measures { kinds: Several::flatten(self.kind).map(|kind| kind.value).collect(), labels }
    }
}

fn metric_label(word: &str) -> Result<String, String> {
    match word {
        "" => Err("expected a key of the metadata".into()),
        "correlation_id" => Err("every trace would be a series of its own".into()),
        key => Ok(key.to_owned()),
    }
}

fn metric_kind(word: &str) -> Result<(Glob, Option<Kind>), String> {
    let expected = "expected GLOB=counter, GLOB=gauge, GLOB=histogram, GLOB=distribution or GLOB=none";
    let (glob, kind) = word.rsplit_once('=').ok_or(expected)?;
    let kind = match kind {
        "counter" => Some(Kind::Counter),
        "gauge" => Some(Kind::Gauge),
        "histogram" => Some(Kind::Histogram),
        "distribution" => Some(Kind::Distribution),
        "none" => None,
        _ => return Err(expected.into()),
    };
    if glob.is_empty() { Err(expected.into()) } else { Ok((Glob::new(glob), kind)) }
}
