//! The options that all exporters of metrics have in common.

use super::{
    buckets::{Bounds, Buckets},
    sample::{Kind, Measures},
};
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

/// Each bucket is a series in Prometheus, for every label. 160 is what an exponential histogram has.
const MAX_BOUNDS: usize = 200;

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
            glob that matches counts. OPERATION is the event's name without .start, .stop or .exception \
            [default: gauge, and none for system_time]"
    )]
    kind: Vec<Several<(Glob, Option<Kind>)>>,

    /// Upper bounds of a histogram's buckets; repeatable [default: 1 µs to 7 days]
    #[arg(
        long = "metric-buckets",
        value_name = "GLOB=BOUNDS",
        env = "TELEMETRY_SIDECAR_METRIC_BUCKETS",
        value_parser = repeated(metric_buckets),
        long_help = "Upper bounds of the buckets of the histogram OPERATION.KEY, such as '*.rows=1,10,100', \
            or of an operation's durations in seconds, such as 'train=60,600,3600'; repeatable, the last \
            glob that matches counts. OPERATION is the event's name without .start, .stop or .exception \
            [default: 1 µs to 7 days for durations, powers of ten for others]"
    )]
    buckets: Vec<Several<(Glob, Bounds)>>,

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
        let buckets = Buckets { rules: Several::flatten(self.buckets).map(|rule| rule.value).collect() };
        Measures { kinds: Several::flatten(self.kind).map(|kind| kind.value).collect(), buckets, labels }
    }
}

fn metric_label(word: &str) -> Result<String, String> {
    match word {
        "" => Err("expected a key of the metadata".into()),
        "correlation_id" => Err("every trace would be a series of its own".into()),
        key if key.contains(',') => Err(one_for_each("KEY", "--metric-label")),
        key => Ok(key.to_owned()),
    }
}

/// Comma-separated lists are common elsewhere; here they would be a name that matches nothing.
fn one_for_each(value: &str, option: &str) -> String {
    format!("expected one {value} for each {option}, and one on each line of the variable")
}

fn metric_kind(word: &str) -> Result<(Glob, Option<Kind>), String> {
    let expected = "expected GLOB=counter, GLOB=gauge, GLOB=histogram, GLOB=distribution or GLOB=none";
    let (glob, kind) = word.split_once('=').ok_or(expected)?;
    if kind.contains('=') {
        return Err(one_for_each("GLOB=KIND", "--metric-kind"));
    }
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

fn metric_buckets(word: &str) -> Result<(Glob, Bounds), String> {
    let expected = || "expected GLOB=NUMBER,NUMBER, such as '*.rows=1,10,100'".to_owned();
    let (glob, bounds) = word.split_once('=').filter(|(glob, _)| !glob.is_empty()).ok_or_else(expected)?;
    if bounds.contains('=') {
        return Err(one_for_each("GLOB=BOUNDS", "--metric-buckets"));
    }
    let mut ascending: Vec<f64> = Vec::new();
    for word in bounds.split(',') {
        let number = word.trim().parse::<f64>().ok().filter(|number| number.is_finite());
        // Adding 0.0 turns a negative zero into a positive one.
        let bound = number.ok_or_else(expected)? + 0.0;
        if let Some(before) = ascending.last().filter(|before| **before >= bound) {
            return Err(format!("expected ascending numbers: {bound} follows {before}"));
        }
        ascending.push(bound);
    }
    if ascending.len() > MAX_BOUNDS {
        return Err(format!("expected at most {MAX_BOUNDS} numbers"));
    }
    Ok((Glob::new(glob), ascending.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_several_values_are_refused() {
        let expected = |value, option| {
            format!("expected one {value} for each {option}, and one on each line of the variable")
        };
        let kinds = metric_kind("*.tokens=counter,*.rows=histogram").unwrap_err();
        assert_eq!(kinds, expected("GLOB=KIND", "--metric-kind"));
        let buckets = metric_buckets("*.tokens=1,2,*.rows=3,4").unwrap_err();
        assert_eq!(buckets, expected("GLOB=BOUNDS", "--metric-buckets"));
        assert_eq!(metric_label("tool,model").unwrap_err(), expected("KEY", "--metric-label"));
    }

    #[test]
    fn bounds_are_ascending_finite_numbers() {
        let (_, bounds) = metric_buckets("a?b.*=-1,-0, 1e-3,2.5").unwrap();
        assert_eq!(*bounds, [-1.0, 0.0, 0.001, 2.5]);
        for word in ["", "a", "=1", "a=", "a=1,", "a=x", "a=inf", "a=NaN", "a=1e999"] {
            let error = metric_buckets(word).unwrap_err();
            assert_eq!(error, "expected GLOB=NUMBER,NUMBER, such as '*.rows=1,10,100'", "{word}");
        }
        for (word, pair) in
            [("a=1,1", "1 follows 1"), ("a=1,10,2.5", "2.5 follows 10"), ("a=0,-0", "0 follows 0")]
        {
            let error = metric_buckets(word).unwrap_err();
            assert_eq!(error, format!("expected ascending numbers: {pair}"));
        }
        let numbers = |count: usize| (1..=count).map(|bound| bound.to_string()).collect::<Vec<_>>().join(",");
        assert!(metric_buckets(&format!("a={}", numbers(200))).is_ok());
        let error = metric_buckets(&format!("a={}", numbers(201))).unwrap_err();
        assert_eq!(error, "expected at most 200 numbers");
    }
}
