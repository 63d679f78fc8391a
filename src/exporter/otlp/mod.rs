//! `--export-otlp`: traces, metrics and logs to an OpenTelemetry collector.
//!
//! ```text
//! feed ──┬→ spans (open ones) → queue ─────────────┬→ request → retry → client ─→ collector
//!        └→ aggregate → metrics (every so often) ──┤              ↖ answer ←─┘
//! lines ───→ log records → queue ──────────────────┘
//! ```
//!
//! The endpoint and its settings come from the standard variables ([`environment`]).
//!
//! Spans and log records are many: each is encoded once, when it is complete ([`attributes`], [`finished`],
//! [`logs`]), and waits as bytes ([`waiting`]). A request is a copy of some of them behind what all requests
//! begin with; it is sent again as it is. Of metrics there are few, made of generated messages.
//!
//! # Why not OpenTelemetry's SDK
//!
//! Only the messages are generated ([`proto`]); the client, retries, partial success and exemplars are own
//! code, because the Rust SDK has none of them (open-telemetry/opentelemetry-rust#3369, #865). Nor can its
//! exporters be used alone: ids, timestamps and exemplars come from the worker, and the SDK's
//! `ResourceMetrics` cannot be constructed from outside.
//!
//! # Accounting
//!
//! The hub counts events: `dropped` if the exporter's queue in the hub was full. A span is made of two events
//! and a data point of any number of them, so the exporter counts spans and data points itself:
//!
//! | counter | |
//! | --- | --- |
//! | `spans_exported`, `points_exported` | accepted by the collector |
//! | `spans_rejected`, `points_rejected` | rejected in an accepted request (a partial success) |
//! | `spans_failed`, `points_failed` | the request failed for good |
//! | `spans_dropped` | the queue of finished spans was full, or the drain timeout was over |
//! | `spans_incomplete` | sent without an end; they are exported like others |
//! | `spans_unsampled` | not exported, because the caller's `traceparent` is not sampled |
//! | `spans_overdue` | open for longer than `--otlp-span-timeout` |
//! | `context_invalid` | events with an invalid id, kind, `traceparent` or `tracestate` in the metadata |
//! | `timestamps_odd` | events with a timestamp more than a day from now |
//! | `log_lines` | lines that became log records, or were dropped before; without blank ones |
//! | `logs_exported`, `logs_rejected`, `logs_failed` | lines, like spans |
//! | `logs_dropped` | lines for which there was no room, or the drain timeout was over |
//! | `logs_cut` | bytes cut off from lines and records that were too long |
//! | `exports`, `retries` | requests accepted; requests sent again |
//! | `samples_invalid`, `samples_overflowed`, `samples_refused` | see [`Counts`] |
//!
//! Cumulative metrics whose request failed are in the next export again.
//!
//! Every finished span is in exactly one of `spans_exported`, `spans_rejected`, `spans_failed`,
//! `spans_dropped` and `spans_unsampled`, or still queued. A span that was given up and ends later is counted
//! twice, as it is sent twice.
//!
//! [`Counts`]: super::metrics::aggregate::Counts

pub mod answer;
pub mod args;
pub mod attributes;
pub mod client;
mod connection;
pub mod convert;
pub mod ended;
pub mod endpoint;
pub mod environment;
pub mod exact;
pub mod finished;
pub mod group;
pub mod logs;
pub mod metadata;
pub mod metrics;
pub mod open;
#[doc(hidden)]
pub mod proto;
pub mod queue;
pub mod request;
pub mod resource;
pub mod retry;
mod run;
pub mod run_span;
mod signal;
pub mod spans;
pub mod started;
mod supported;
pub mod timestamps;
pub mod vitals;
pub mod waiting;
pub mod wire;

pub use args::Settings;

use super::{
    counters::counters,
    feed::{Feed, spawn_async},
};
use crate::pipeline::lines::{LineReader, LineTap};
use crate::pipeline::output::{self, Context, Drain, DrainEnd, Mode, Output, Running, StartError};
use client::TlsFiles;
use endpoint::Destination;
use environment::Environment;
use std::{env, ffi::OsString};

/// The exporter's name in the counters.
pub const NAME: &str = "otlp";

counters! {
    /// What the exporter counts itself.
    pub enum Counter {
        /// Events with an invalid id, kind, `traceparent` or `tracestate` in the metadata.
        ContextInvalid = "context_invalid",
        /// Requests that a collector accepted.
        Exports = "exports",
        /// Lines that became log records, or were dropped before; without blank ones.
        LogLines = "log_lines",
        /// Bytes that were cut off because a line or a record was too long, or the rest of it was dropped.
        LogsCut = "logs_cut",
        /// Lines dropped because too many were waiting, or the time for draining was over.
        LogsDropped = "logs_dropped",
        /// Lines that a collector accepted.
        LogsExported = "logs_exported",
        /// Lines that were not accepted.
        LogsFailed = "logs_failed",
        /// Lines in records that a collector rejected from a request that it accepted (a partial success).
        LogsRejected = "logs_rejected",
        /// Data points that a collector accepted.
        PointsExported = "points_exported",
        /// Data points that were not accepted. Cumulative metrics are in the next export again.
        PointsFailed = "points_failed",
        /// Data points that a collector rejected from a request that it accepted (a partial success).
        PointsRejected = "points_rejected",
        /// Requests sent again.
        Retries = "retries",
        /// See [`Counts::invalid`](super::metrics::aggregate::Counts::invalid).
        SamplesInvalid = "samples_invalid",
        /// See [`Counts::overflowed`](super::metrics::aggregate::Counts::overflowed).
        SamplesOverflowed = "samples_overflowed",
        /// See [`Counts::refused`](super::metrics::aggregate::Counts::refused).
        SamplesRefused = "samples_refused",
        /// Spans dropped because the queue of finished spans was full, or the time for draining was over.
        SpansDropped = "spans_dropped",
        /// Spans that a collector accepted.
        SpansExported = "spans_exported",
        /// Spans that were not accepted.
        SpansFailed = "spans_failed",
        /// Spans sent without an end. They are exported like others.
        SpansIncomplete = "spans_incomplete",
        /// Spans that were open for longer than the timeout.
        SpansOverdue = "spans_overdue",
        /// Spans that a collector rejected from a request that it accepted (a partial success).
        SpansRejected = "spans_rejected",
        /// Spans that are not exported because the caller's `traceparent` is not sampled.
        SpansUnsampled = "spans_unsampled",
        /// Events with a timestamp more than a day from now.
        TimestampsOdd = "timestamps_odd",
    }
}

impl Output for Settings {
    fn destination(&self) -> Option<(&'static str, String)> {
        let (environment, _) = self.environment();
        let used = environment.destinations().filter(|destination| destination.enabled);
        // An endpoint has no credentials.
        let mut servers: Vec<_> = used.map(Destination::server).collect();
        servers.dedup();
        (!servers.is_empty()).then(|| (NAME, servers.join(", ")))
    }

    fn worker_environment(&self) -> Vec<(&'static str, Option<OsString>)> {
        let run = self.run_span.as_ref().filter(|_| self.run_span_env);
        run.map(|run| run.environment()).unwrap_or_default()
    }

    fn reports_failed_start(&self) -> bool {
        self.run_span.is_some()
    }

    fn takes_lines(&self) -> bool {
        self.environment().0.logs.enabled
    }

    fn start(self: Box<Self>, context: &Context) -> Result<Running, StartError> {
        let Context { hub, mode, lines, drain, drain_end, .. } = context.clone();
        let (environment, warnings) = self.environment();
        for warning in warnings {
            tracing::info!("otlp: {warning}");
        }
        let set = env::vars_os().filter(|(_, value)| !value.is_empty());
        let unsupported = supported::unsupported(set.map(|(name, _)| name));
        if !unsupported.is_empty() {
            tracing::info!("otlp: not supported and ignored: {}", unsupported.join(", "));
        }
        if let Some(run) = &self.run_span {
            for name in &run.invalid {
                tracing::info!("otlp: {name}: not valid; the run span does not use it");
            }
        }
        if self.logs && !environment.logs.enabled {
            tracing::info!("otlp: logs are not exported (OTEL_LOGS_EXPORTER)");
        }
        if !environment.destinations().any(|destination| destination.enabled) {
            tracing::info!(
                "otlp: nothing is exported: OTEL_TRACES_EXPORTER and OTEL_METRICS_EXPORTER are none"
            );
            let (done, running) = output::channel(NAME);
            done.drained([]);
            return Ok(running);
        }
        let start = Start {
            tls: TlsFiles::read(&environment)?,
            settings: *self,
            environment,
            feed: Feed::without_samples(&hub, NAME, true),
            lines: lines.as_ref().map(LineTap::reader),
            mode,
            drain,
            drain_end,
        };
        spawn_async(NAME, |done| async move { done.drained(run::run(start).await) })
    }
}

impl Settings {
    /// The settings from the environment, and warnings about variables.
    fn environment(&self) -> (Environment, Vec<String>) {
        Environment::read(self.endpoint.as_ref(), self.logs, &|name| env::var_os(name))
    }
}

/// What the exporter needs to start.
pub struct Start {
    /// The options.
    pub settings: Settings,
    /// The variables.
    pub environment: Environment,
    /// The files for TLS.
    pub tls: TlsFiles,
    /// The events.
    pub feed: Feed<Counter>,
    /// The ordinary lines, if they are exported.
    pub lines: Option<LineReader>,
    /// Whose events they are.
    pub mode: Mode,
    /// How long what is left may be sent after the last event. A complete drain drops nothing.
    pub drain: Drain,
    /// Ends the drain.
    pub drain_end: DrainEnd,
}
