//! Where else events go.

use super::all;
use crate::{
    cli::{
        Export as Words,
        word::{COUNT, MAX_DURATION, duration, whole},
    },
    control::glob::Glob,
    exporter::{
        metrics::sample::{Kind, Measures},
        otlp, prometheus, statsd,
    },
    net::address::{Address, HostPort, HostPortError, ResolvedAddress},
};
use std::{path::PathBuf, time::Duration};

/// The exporters, each if it is wanted.
#[derive(Debug)]
pub struct Export {
    /// Where events are written as JSON lines.
    pub jsonl: Option<PathBuf>,
    /// To an OpenTelemetry collector.
    pub otlp: Option<otlp::Settings>,
    /// For Prometheus.
    pub prometheus: Option<prometheus::Settings>,
    /// To a StatsD server.
    pub statsd: Option<statsd::Settings>,
}

impl Export {
    /// Whether events go anywhere else.
    pub fn any(&self) -> bool {
        self.jsonl.is_some() || self.otlp.is_some() || self.prometheus.is_some() || self.statsd.is_some()
    }
}

/// Makes values of words, also of those for exporters that are off. `insecure` allows addresses that other hosts can
/// reach.
///
/// # Errors
///
/// What is wrong with them, in one line.
pub fn export(words: Words, insecure: bool) -> Result<Export, String> {
    let mut labels: Vec<String> = Vec::new();
    for key in all("--metric-label", &words.metric_label, metric_label)? {
        if !labels.contains(&key) {
            labels.push(key);
        }
    }
    let measures = Measures { kinds: all("--metric-kind", &words.metric_kind, metric_kind)?, labels };
    let max_series = words.metric_series.parse("--metric-series", whole(COUNT))?;

    let otlp =
        words.export_otlp.map(|word| word.parse("--export-otlp", otlp_endpoint)).transpose()?.flatten();
    let span_timeout = words.otlp_span_timeout.parse("--otlp-span-timeout", never_or)?;
    let otlp = otlp.map(|Collector(endpoint)| otlp::Settings {
        endpoint,
        flat: words.otlp_flat,
        span_timeout,
        measures: measures.clone(),
        max_series,
    });

    let address = |word: &str| prometheus_address(word, insecure);
    let prometheus =
        words.export_prometheus.map(|word| word.parse("--export-prometheus", address)).transpose()?;
    let prometheus =
        prometheus.map(|address| prometheus::Settings { address, measures: measures.clone(), max_series });

    let target = words.export_statsd.map(|word| word.parse("--export-statsd", str::parse)).transpose()?;
    let dialect = words.statsd_dialect.parse("--statsd-dialect", str::parse)?;
    let prefix = words.statsd_prefix.parse("--statsd-prefix", str::parse)?;
    let statsd = target.map(|target| statsd::Settings { target, dialect, prefix, measures });
    Ok(Export { jsonl: words.export_jsonl, otlp, prometheus, statsd })
}

/// A collector at this endpoint, or where the standard variables say.
struct Collector(Option<otlp::endpoint::Endpoint>);

/// A variable can also say that there is none.
fn otlp_endpoint(word: &str) -> Result<Option<Collector>, String> {
    match word {
        "0" | "false" => Ok(None),
        "1" | "true" => Ok(Some(Collector(None))),
        _ => Ok(Some(Collector(Some(word.parse()?)))),
    }
}

fn never_or(word: &str) -> Result<Duration, String> {
    let duration = duration(word)?;
    Ok(if duration.is_zero() { MAX_DURATION } else { duration })
}

fn metric_label(word: &str) -> Result<String, String> {
    match word {
        "" => Err("expected a key of the metadata".into()),
        "correlation_id" => Err("every trace would be a series of its own".into()),
        key => Ok(key.to_owned()),
    }
}

fn metric_kind(word: &str) -> Result<(Glob, Kind), String> {
    let expected = "expected GLOB=counter, GLOB=gauge or GLOB=histogram";
    let (glob, kind) = word.rsplit_once('=').ok_or(expected)?;
    let kind = match kind {
        "counter" => Kind::Counter,
        "gauge" => Kind::Gauge,
        "histogram" => Kind::Histogram,
        _ => return Err(expected.into()),
    };
    if glob.is_empty() { Err(expected.into()) } else { Ok((Glob::new(glob), kind)) }
}

fn prometheus_address(word: &str, insecure: bool) -> Result<ResolvedAddress, String> {
    if word.starts_with("unix:") {
        return Err("Prometheus scrapes HOST:PORT only".into());
    }
    let address: HostPort = word.parse().map_err(|error: HostPortError| error.to_string())?;
    let address = Address::Tcp(address).resolve()?;
    if !insecure && !address.is_local() {
        return Err("other hosts can reach it: use 127.0.0.1, or allow it with --insecure".into());
    }
    Ok(address)
}
