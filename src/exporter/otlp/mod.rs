//! `--export-otlp`: traces and metrics to an OpenTelemetry collector.
//!
//! ```text
//! feed ─┬→ spans (open ones) → queue ─────────────┬→ request → retry → client ─→ collector
//!       └→ aggregate → metrics (every so often) ──┘              ↖ answer ←─┘
//! ```
//!
//! Messages are made directly, without OpenTelemetry's SDK: ids, ends and exemplars come from the worker, and the SDK
//! has no place for them. Where to send and how is said by the standard variables ([`environment`]).
//!
//! # Accounting
//!
//! In the exporter's books `delivered` are the events that it took; events that found its queue in the hub full are
//! `dropped`. What became of what it took is in counters of its own, since a span is two events and a data point any
//! number of them:
//!
//! | counter | |
//! | --- | --- |
//! | `spans_exported`, `points_exported` | a collector took them |
//! | `spans_rejected`, `points_rejected` | a collector took the request without them (a partial success) |
//! | `spans_failed`, `points_failed` | not taken, and given up; cumulative metrics will be in the next export |
//! | `spans_dropped` | the queue of finished spans was full, or the time was over |
//! | `spans_incomplete` | closed without an end; they are exported as others are |
//! | `exports`, `retries` | requests taken; requests sent again |
//! | `samples_invalid`, `samples_overflowed`, `samples_refused` | see [`Counts`](super::metrics::aggregate::Counts) |
//!
//! Every finished span is in exactly one of `spans_exported`, `spans_rejected`, `spans_failed` and `spans_dropped`, or
//! still waiting.

pub mod answer;
pub mod args;
pub mod attributes;
pub mod client;
pub mod convert;
pub mod endpoint;
pub mod environment;
pub mod metrics;
pub mod open;
#[doc(hidden)]
pub mod proto;
pub mod queue;
pub mod request;
pub mod resource;
pub mod retry;
mod run;
pub mod spans;

pub use args::Settings;

use super::feed::{self, Feed};
use crate::worker::state::WorkerState;
use client::Authorities;
use environment::Environment;
use std::{io, sync::Arc, time::Duration};

/// The exporter's name in the books.
pub const NAME: &str = "otlp";

/// What an exporter starts with.
pub struct Start {
    /// The options.
    pub settings: Settings,
    /// The variables.
    pub environment: Environment,
    /// Who is trusted.
    pub authorities: Authorities,
    /// The events.
    pub feed: Feed,
    /// Whose events they are; none in a replay, where nothing may be dropped.
    pub worker: Option<Arc<WorkerState>>,
    /// How long what is left may be sent after the last event.
    pub drain_timeout: Duration,
}

/// Starts the exporter. It ends when the hub is closed and everything is sent, or could not be in time.
///
/// # Errors
///
/// If there can be no thread.
pub fn start(start: Start) -> io::Result<()> {
    feed::spawn(NAME, move || run::run(start))
}
