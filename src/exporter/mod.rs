//! Exporters: consumers of the hub that carry events elsewhere, each on a thread and behind a queue of its
//! own.
//!
//! ```text
//! hub → feed → view ─┬→ jsonl
//!                    ├→ metrics::sample ─┬→ statsd
//!                    │                   └→ metrics::aggregate ─┬→ prometheus
//!                    └→ otlp (spans) ───────────────────────────┴→ otlp (metrics)
//! ```
//!
//! [`digest`] is what people look at, as in the [`summary`]: operations and measurements, of the same
//! numbers.

pub mod args;
pub mod counters;
pub mod digest;
pub mod event;
pub mod feed;
pub mod jsonl;
pub mod log;
pub mod metrics;
pub mod number;
pub mod otlp;
pub mod prometheus;
pub mod statsd;
pub mod summary;
pub mod trace_context;
pub mod trace_ids;
pub mod vitals;
