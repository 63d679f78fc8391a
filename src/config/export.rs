//! Where else events go.

use super::{at_least_1, duration};
use crate::{
    cli::Export as Words,
    control::glob::Glob,
    exporter::{
        metrics::sample::{Kind, Measures},
        otlp, prometheus, statsd,
    },
    grpc::listener::Address,
};
use std::path::PathBuf;

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

/// Makes values of words. `insecure` allows addresses that other hosts can reach.
///
/// # Errors
///
/// What is wrong with them, in one line.
pub fn export(words: Words, insecure: bool) -> Result<Export, String> {
    let kinds = words.metric_kind.iter().map(|word| metric_kind(word)).collect::<Result<_, _>>()?;
    if words.metric_label.iter().any(String::is_empty) {
        return Err("--metric-label: '': expected a key of the metadata".into());
    }
    if words.metric_label.iter().any(|key| key == "correlation_id") {
        return Err("--metric-label: 'correlation_id': every trace would be a series of its own".into());
    }
    let mut labels: Vec<String> = Vec::new();
    for key in words.metric_label {
        if !labels.contains(&key) {
            labels.push(key);
        }
    }
    let measures = Measures { kinds, labels };
    let max_series = at_least_1("--metric-series", words.metric_series)?;
    let otlp = match words.export_otlp.as_deref() {
        None | Some("0" | "false") => None,
        Some(word) => Some(otlp::Settings {
            endpoint: Some(word)
                .filter(|word| !matches!(*word, "1" | "true"))
                .map(|word| word.parse().map_err(|cause| format!("--export-otlp: '{word}': {cause}")))
                .transpose()?,
            flat: words.otlp_flat,
            span_timeout: duration("--otlp-span-timeout", &words.otlp_span_timeout)?,
            measures: measures.clone(),
            max_series,
        }),
    };
    let prometheus = words.export_prometheus.map(|word| prometheus_address(&word, insecure)).transpose()?;
    let prometheus =
        prometheus.map(|address| prometheus::Settings { address, measures: measures.clone(), max_series });
    let statsd = words.export_statsd.map(|word| {
        let wrong = |option: &str, value: &str, cause: String| format!("{option}: '{value}': {cause}");
        Ok::<_, String>(statsd::Settings {
            target: word.parse().map_err(|cause| wrong("--export-statsd", &word, cause))?,
            dialect: words
                .statsd_dialect
                .parse()
                .map_err(|cause| wrong("--statsd-dialect", &words.statsd_dialect, cause))?,
            prefix: words
                .statsd_prefix
                .parse()
                .map_err(|cause| wrong("--statsd-prefix", &words.statsd_prefix, cause))?,
            measures,
        })
    });
    Ok(Export { jsonl: words.export_jsonl, otlp, prometheus, statsd: statsd.transpose()? })
}

fn metric_kind(word: &str) -> Result<(Glob, Kind), String> {
    let expected = || format!("--metric-kind: '{word}': expected GLOB=counter, GLOB=gauge or GLOB=histogram");
    let (glob, kind) = word.rsplit_once('=').ok_or_else(expected)?;
    let kind = match kind {
        "counter" => Kind::Counter,
        "gauge" => Kind::Gauge,
        "histogram" => Kind::Histogram,
        _ => return Err(expected()),
    };
    if glob.is_empty() { Err(expected()) } else { Ok((Glob::new(glob), kind)) }
}

fn prometheus_address(word: &str, insecure: bool) -> Result<Address, String> {
    let wrong = |cause: String| format!("--export-prometheus: '{word}': {cause}");
    let address: Address = word.parse().map_err(wrong)?;
    if matches!(address, Address::Unix(_)) {
        return Err(wrong("Prometheus scrapes HOST:PORT only".into()));
    }
    if !insecure && !address.is_local().map_err(wrong)? {
        return Err(wrong("other hosts can reach it: use 127.0.0.1, or allow it with --insecure".into()));
    }
    Ok(address)
}
