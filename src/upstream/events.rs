//! Turns the messages of a worker's own telemetry stream into events like those that are decoded from lines.
//!
//! A message is decoded, normalised and encoded again: this drops unknown fields.

use crate::{
    event::{
        batch::{Batch, BatchBuilder},
        frame::Skipped,
        metadata::add_missing,
        proto::bridge::TelemetryEvent,
        stats::UpstreamStats,
    },
    input::dialect::SNAKEPIT,
};
use bytes::Bytes;
use prost::Message as _;

/// Why a message is not an event.
enum Reject {
    Malformed,
    Oversized,
}

impl From<Skipped> for Reject {
    fn from(skipped: Skipped) -> Self {
        match skipped {
            // The sidecar accepts no compression.
            Skipped::Compressed => Self::Malformed,
            Skipped::TooLong => Self::Oversized,
        }
    }
}

/// Collects events to publish, and counts messages.
#[derive(Debug)]
pub struct Events {
    metadata: Vec<(String, String)>,
    batch: BatchBuilder,
    stats: UpstreamStats,
}

impl Events {
    /// `metadata` is added to every event that does not have the key. Of repeated keys the last one counts.
    pub fn new(metadata: Vec<(String, String)>) -> Self {
        Self { metadata, batch: BatchBuilder::default(), stats: UpstreamStats::default() }
    }

    /// Adds the event of a message, or counts why it has none. `now_ns`, nanoseconds since the Unix epoch, is
    /// the timestamp of an event without one.
    pub(crate) fn add(&mut self, message: Result<Bytes, Skipped>, now_ns: i64) {
        self.stats.messages += 1;
        match message.map_err(Reject::from).and_then(|message| self.add_event(message, now_ns)) {
            Ok(()) => self.stats.events += 1,
            Err(Reject::Malformed) => self.stats.malformed += 1,
            Err(Reject::Oversized) => self.stats.oversized += 1,
        }
    }

    /// The events added since it was called last.
    pub fn take(&mut self) -> Batch {
        self.batch.take()
    }

    /// The counters of all messages.
    pub fn stats(&self) -> &UpstreamStats {
        &self.stats
    }

    fn add_event(&mut self, message: Bytes, now_ns: i64) -> Result<(), Reject> {
        let mut event = TelemetryEvent::decode(message).map_err(|_| Reject::Malformed)?;
        let name = event.event_parts.join(".");
        if name.is_empty() {
            return Err(Reject::Malformed);
        }
        if event.event_parts.iter().any(|part| part.contains('.')) {
            event.event_parts = name.split('.').map(ToOwned::to_owned).collect();
        }
        // In proto3 a timestamp of 0 is none.
        let timestamp_given = event.timestamp_ns != 0;
        if !timestamp_given {
            event.timestamp_ns = now_ns;
        }
        if event.correlation_id.is_empty()
            && let Some(id) = event.metadata.get(SNAKEPIT.metadata_correlation_id)
        {
            event.correlation_id.clone_from(id);
        }
        add_missing(&mut event.metadata, &self.metadata);
        if self.batch.encode(&event, &name, timestamp_given) { Ok(()) } else { Err(Reject::Oversized) }
    }
}

#[cfg(test)]
mod tests;
