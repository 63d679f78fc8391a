//! OpenTelemetry's standard variables. The worker inherits them unchanged.
//!
//! An empty variable counts as unset. So does, as OpenTelemetry's specification requires, one with an invalid
//! value, which is logged. Of headers only the invalid pairs are ignored.
//!
//! - <https://opentelemetry.io/docs/specs/otel/protocol/exporter/>
//! - <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>

use super::endpoint::{
    Destination, Endpoint, EndpointError, IncompleteIdentity, Protocol, ProtocolError, Signal,
};
use crate::net::source_file::SourceFile;
use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;
use std::{ffi::OsString, time::Duration};
use thiserror::Error;

const SPAN_SCHEDULE_DELAY: Duration = Duration::from_secs(5);
const LOG_SCHEDULE_DELAY: Duration = Duration::from_secs(1);
const EXPORT_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_QUEUE_SIZE: usize = 2048;
const MAX_EXPORT_BATCH_SIZE: usize = 512;
const METRIC_INTERVAL: Duration = Duration::from_secs(60);
const TRY_TIMEOUT: Duration = Duration::from_secs(10);

/// A shorter timeout is taken for a mistake: seconds instead of milliseconds.
const SHORT_TIMEOUT: Duration = Duration::from_millis(100);

/// The settings from the environment.
#[derive(Debug, Clone)]
pub struct Environment {
    /// The destination of spans.
    pub traces: Destination,
    /// The destination of metrics.
    pub metrics: Destination,
    /// The destination of log records.
    pub logs: Destination,
    /// Attributes of the resource, including `service.name` if it is set.
    pub attributes: Vec<(String, String)>,
    /// How spans are batched.
    pub batches: Batches,
    /// How log records are batched.
    pub log_batches: Batches,
    /// The interval between exports of metrics; not zero.
    pub metric_interval: Duration,
    /// The timeout of an export of metrics, including retries; `None` is unlimited.
    pub metric_timeout: Option<Duration>,
    /// Whether temporality is delta; otherwise it is cumulative.
    pub delta: bool,
    /// Whether histograms have exponential buckets.
    pub exponential_histograms: bool,
}

/// How spans or log records are batched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batches {
    /// How long an item waits for a batch to fill; not zero.
    pub delay: Duration,
    /// The most queued items; at least 1.
    pub max_queue: usize,
    /// The most items in a request; at least 1 and at most `max_queue`.
    pub max_batch: usize,
    /// The timeout of an export, including retries; `None` is unlimited.
    pub timeout: Option<Duration>,
}

impl Environment {
    /// Reads the variables; also returns one warning for each invalid one. The endpoint of the command line
    /// overrides the endpoints of all variables. Without `logs` these are not exported, and nothing is wrong
    /// with their variables.
    pub fn read(
        endpoint: Option<&Endpoint>,
        logs: bool,
        variable: &dyn Fn(&str) -> Option<OsString>,
    ) -> (Self, Vec<String>) {
        let mut reader = Reader { variable, warnings: Vec::new() };
        let (log_destination, log_batches) = reader.logs(endpoint, logs);
        let environment = Self {
            traces: reader.destination(Signal::Traces, endpoint),
            metrics: reader.destination(Signal::Metrics, endpoint),
            logs: log_destination,
            attributes: reader.attributes(),
            batches: reader.batches("OTEL_BSP", SPAN_SCHEDULE_DELAY),
            log_batches,
            metric_interval: reader.interval("OTEL_METRIC_EXPORT_INTERVAL", METRIC_INTERVAL),
            metric_timeout: reader.timeout("OTEL_METRIC_EXPORT_TIMEOUT"),
            delta: reader
                .parse("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", is_delta)
                .unwrap_or_default(),
            exponential_histograms: reader
                .parse("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", is_exponential)
                .unwrap_or_default(),
        };
        (environment, reader.warnings)
    }

    /// The destinations of all signals.
    pub fn destinations(&self) -> impl Iterator<Item = &Destination> {
        [&self.traces, &self.metrics, &self.logs].into_iter()
    }
}

/// Why a variable is ignored.
#[derive(Debug, Error)]
enum InvalidValue {
    #[error("expected UTF-8")]
    NotUtf8,
    #[error("expected milliseconds, a whole number")]
    Milliseconds,
    #[error("expected a number from 1 to 1000000")]
    Count,
    #[error("expected gzip or none")]
    Compression,
    #[error("expected cumulative, delta or lowmemory")]
    Temporality,
    #[error("expected explicit_bucket_histogram or base2_exponential_bucket_histogram")]
    Histograms,
    #[error("expected otlp or none")]
    Exporter,
    #[error("expected KEY=VALUE,KEY=VALUE, percent-encoded")]
    Pairs,
    #[error("no name of a header")]
    HeaderName,
    #[error("no value of a header")]
    HeaderValue,
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
}

struct Reader<'a> {
    variable: &'a dyn Fn(&str) -> Option<OsString>,
    warnings: Vec<String>,
}

impl Reader<'_> {
    /// A variable's value, if it is set and valid.
    fn parse<T, E>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, E>) -> Option<T>
    where
        InvalidValue: From<E>,
    {
        let value = (self.variable)(name).filter(|value| !value.is_empty())?;
        let text = value.to_str().ok_or(InvalidValue::NotUtf8);
        match text.and_then(|text| Ok(parse(text.trim())?)) {
            Ok(value) => Some(value),
            Err(cause) => {
                // Headers may contain credentials.
                let shown = if name.ends_with("HEADERS") { "…".into() } else { value.to_string_lossy() };
                self.warn(format!("{name}: '{shown}': {cause}; it is ignored"));
                None
            }
        }
    }

    /// The setting of a signal, or else of all signals.
    fn of_signal<T, E>(
        &mut self,
        signal: Signal,
        what: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T>
    where
        InvalidValue: From<E>,
    {
        let [own, general] = names(signal, what);
        self.parse(&own, &parse).or_else(|| self.parse(&general, parse))
    }

    /// The file for a signal, or else for all signals.
    fn file(&mut self, signal: Signal, setting: &str) -> Option<SourceFile> {
        names(signal, setting).into_iter().find_map(|variable| {
            let path = self.parse(&variable, |word| Ok::<_, InvalidValue>(word.into()))?;
            Some(SourceFile::public(variable, path))
        })
    }

    /// The headers of a signal, or else of all signals.
    fn headers(&mut self, signal: Signal) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for name in names(signal, "HEADERS") {
            let Some(pairs) = self.parse(&name, |word| Ok::<_, InvalidValue>(pairs(word))) else { continue };
            for (position, pair) in (1..).zip(pairs) {
                match pair.and_then(|(key, value)| header(&key, &value)) {
                    Ok((key, value)) => _ = headers.insert(key, value),
                    // Neither the key nor the value is shown: without its name a secret looks like a key.
                    Err(cause) => self.warn(format!("{name}: pair {position}: {cause}; it is ignored")),
                }
            }
            break;
        }
        headers
    }

    /// The client's certificate and key.
    fn identity(&mut self, signal: Signal) -> Result<Option<(SourceFile, SourceFile)>, IncompleteIdentity> {
        let [certificate, key] = ["CLIENT_CERTIFICATE", "CLIENT_KEY"];
        let (given, missing) = match (self.file(signal, certificate), self.file(signal, key)) {
            (Some(certificate), Some(key)) => return Ok(Some((certificate, key))),
            (None, None) => return Ok(None),
            (Some(given), None) => (given, key),
            (None, Some(given)) => (given, certificate),
        };
        let [_, missing] = names(signal, missing);
        Err(IncompleteIdentity { given, missing })
    }

    /// Adds a warning once: the general variables are read for each signal.
    fn warn(&mut self, warning: String) {
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    fn destination(&mut self, signal: Signal, endpoint: Option<&Endpoint>) -> Destination {
        let own = format!("OTEL_EXPORTER_OTLP_{}_ENDPOINT", signal.name().to_ascii_uppercase());
        let own = if endpoint.is_some() { None } else { self.parse(&own, str::parse::<Endpoint>) };
        let general = endpoint.cloned();
        let general = general.or_else(|| self.parse("OTEL_EXPORTER_OTLP_ENDPOINT", str::parse));
        let given = own.as_ref().or(general.as_ref());
        let usual = given.map_or(Protocol::Grpc, Endpoint::usual_protocol);
        let protocol = self.of_signal(signal, "PROTOCOL", str::parse).unwrap_or(usual);
        if protocol == Protocol::Grpc && given.is_some_and(Endpoint::has_path) {
            let signal = signal.name();
            self.warn(format!("the path of the endpoint for {signal} is ignored: the protocol is grpc"));
        }
        let uri = match (own, general) {
            (Some(own), _) => own.own_uri(protocol, signal),
            (None, Some(general)) => general.uri(protocol, signal),
            (None, None) => Endpoint::of(protocol).uri(protocol, signal),
        };
        let identity = self.identity(signal);
        let exporter = format!("OTEL_{}_EXPORTER", signal.name().to_ascii_uppercase());
        Destination {
            signal,
            enabled: self.parse(&exporter, is_enabled).unwrap_or(true),
            protocol,
            uri,
            headers: self.headers(signal),
            gzip: self.of_signal(signal, "COMPRESSION", is_gzip).unwrap_or_default(),
            timeout: self.first_timeout(&names(signal, "TIMEOUT"), TRY_TIMEOUT),
            certificate: self.file(signal, "CERTIFICATE"),
            incomplete_identity: identity.as_ref().err().cloned(),
            identity: identity.ok().flatten(),
        }
    }

    fn logs(&mut self, endpoint: Option<&Endpoint>, is_wanted: bool) -> (Destination, Batches) {
        let mut destination = self.destination(Signal::Logs, endpoint);
        let batches = self.batches("OTEL_BLRP", LOG_SCHEDULE_DELAY);
        if !is_wanted {
            destination.enabled = false;
            self.warnings.clear();
        }
        (destination, batches)
    }

    fn attributes(&mut self) -> Vec<(String, String)> {
        let all = |word: &str| pairs(word).into_iter().collect::<Result<_, _>>();
        let mut attributes: Vec<_> = self.parse("OTEL_RESOURCE_ATTRIBUTES", all).unwrap_or_default();
        if let Some(name) = self.parse("OTEL_SERVICE_NAME", |name| Ok::<_, InvalidValue>(name.to_owned())) {
            attributes.push(("service.name".into(), name));
        }
        attributes
    }

    /// The settings of a batch processor, whose variables start with `prefix`.
    fn batches(&mut self, prefix: &str, delay: Duration) -> Batches {
        let name = |setting| format!("{prefix}_{setting}");
        let max_queue = self.parse(&name("MAX_QUEUE_SIZE"), positive).unwrap_or(MAX_QUEUE_SIZE);
        let max_batch = self.parse(&name("MAX_EXPORT_BATCH_SIZE"), positive).unwrap_or(MAX_EXPORT_BATCH_SIZE);
        Batches {
            delay: self.interval(&name("SCHEDULE_DELAY"), delay),
            max_queue,
            max_batch: max_batch.min(max_queue),
            timeout: self.timeout(&name("EXPORT_TIMEOUT")),
        }
    }

    fn interval(&mut self, name: &str, default: Duration) -> Duration {
        self.parse(name, milliseconds).unwrap_or(default).max(Duration::from_millis(1))
    }

    fn timeout(&mut self, name: &str) -> Option<Duration> {
        self.first_timeout(&[name.to_owned()], EXPORT_TIMEOUT)
    }

    /// The timeout of the first of these variables that is set and valid; zero is unlimited.
    fn first_timeout(&mut self, names: &[String], default: Duration) -> Option<Duration> {
        let given = names.iter().find_map(|name| Some((name, self.parse(name, milliseconds)?)));
        let Some((name, timeout)) = given else { return Some(default) };
        if timeout.is_zero() {
            return None;
        }
        if timeout < SHORT_TIMEOUT {
            let milliseconds = timeout.as_millis();
            self.warn(format!("{name}: the unit is milliseconds, not seconds: {milliseconds} ms is short"));
        }
        Some(timeout)
    }
}

/// The variables for a setting of a signal: its own, and the one for all signals.
fn names(signal: Signal, what: &str) -> [String; 2] {
    let own = signal.name().to_ascii_uppercase();
    [format!("OTEL_EXPORTER_OTLP_{own}_{what}"), format!("OTEL_EXPORTER_OTLP_{what}")]
}

fn milliseconds(word: &str) -> Result<Duration, InvalidValue> {
    // More than a month is a mistake, and timers would overflow.
    let milliseconds =
        word.parse().ok().filter(|milliseconds| *milliseconds <= u64::from(i32::MAX.unsigned_abs()));
    milliseconds.map(Duration::from_millis).ok_or(InvalidValue::Milliseconds)
}

fn positive(word: &str) -> Result<usize, InvalidValue> {
    let number = word.parse().ok().filter(|number| (1..=1_000_000).contains(number));
    number.ok_or(InvalidValue::Count)
}

/// A list may name other exporters of an SDK as well.
fn is_enabled(word: &str) -> Result<bool, InvalidValue> {
    let word = word.to_ascii_lowercase();
    match word.as_str() {
        "none" => Ok(false),
        _ if word.split(',').any(|name| name.trim() == "otlp") => Ok(true),
        _ => Err(InvalidValue::Exporter),
    }
}

fn is_gzip(word: &str) -> Result<bool, InvalidValue> {
    match word.to_ascii_lowercase().as_str() {
        "gzip" => Ok(true),
        "none" => Ok(false),
        _ => Err(InvalidValue::Compression),
    }
}

/// All sums of this exporter are synchronous counters, so `lowmemory` is the same as `delta`.
fn is_delta(word: &str) -> Result<bool, InvalidValue> {
    match word.to_ascii_lowercase().as_str() {
        "cumulative" => Ok(false),
        "delta" | "lowmemory" => Ok(true),
        _ => Err(InvalidValue::Temporality),
    }
}

fn is_exponential(word: &str) -> Result<bool, InvalidValue> {
    match word.to_ascii_lowercase().as_str() {
        "explicit_bucket_histogram" => Ok(false),
        "base2_exponential_bucket_histogram" => Ok(true),
        _ => Err(InvalidValue::Histograms),
    }
}

/// `key1=value1,key2=value2`, values percent-encoded: the syntax of W3C's Baggage without properties.
fn pairs(word: &str) -> Vec<Result<(String, String), InvalidValue>> {
    let decoded = |text: &str| percent_decode_str(text.trim()).decode_utf8().ok().map(String::from);
    let pairs = word.split(',').filter(|pair| !pair.trim().is_empty()).map(move |pair| {
        let (key, value) = pair.split_once('=')?;
        Some((decoded(key).filter(|key| !key.is_empty())?, decoded(value)?))
    });
    pairs.map(|pair| pair.ok_or(InvalidValue::Pairs)).collect()
}

fn header(key: &str, value: &str) -> Result<(HeaderName, HeaderValue), InvalidValue> {
    let name = key.parse().map_err(|_| InvalidValue::HeaderName)?;
    let mut value: HeaderValue = value.parse().map_err(|_| InvalidValue::HeaderValue)?;
    value.set_sensitive(true);
    Ok((name, value))
}

#[cfg(test)]
mod tests;
