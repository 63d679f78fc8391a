//! What the worker does not report itself: events that the sidecar makes of what it observes from outside.
//!
//! They go into the hub as the worker's own do, so that they reach every subscriber and every exporter.

pub mod args;
pub mod lifecycle;
pub mod names;
pub mod output;
pub mod vitals;

use crate::{
    event::{
        batch::{Batch, BatchBuilder, Origin},
        metadata::add_missing,
        proto::bridge::{TelemetryEvent, TelemetryValue, telemetry_value::Value},
        stats::Observed,
    },
    hub::Hub,
    system::clock::now_ns,
};
use std::{collections::BTreeMap, sync::Arc};

/// An event about the worker, at this moment.
#[derive(Debug, Default)]
pub struct Observation {
    name: &'static str,
    measurements: BTreeMap<String, TelemetryValue>,
    metadata: BTreeMap<String, String>,
}

impl Observation {
    /// An event of this dotted name.
    pub fn new(name: &'static str) -> Self {
        Self { name, ..Self::default() }
    }

    /// The same with a measurement.
    #[must_use]
    pub fn measured(mut self, key: &str, value: Value) -> Self {
        self.measurements.insert(key.to_owned(), TelemetryValue { value: Some(value) });
        self
    }

    /// The same with metadata.
    #[must_use]
    pub fn described(mut self, key: &str, value: impl Into<String>) -> Self {
        self.metadata.insert(key.to_owned(), value.into());
        self
    }
}

/// Publishes events about the worker. Each thread that observes has its own clone.
#[derive(Debug, Clone)]
pub struct Observer {
    hub: Arc<Hub>,
    metadata: Arc<[(String, String)]>,
}

impl Observer {
    /// `metadata` is added to every event that does not have the key.
    pub fn new(hub: Arc<Hub>, metadata: Vec<(String, String)>) -> Self {
        Self { hub, metadata: metadata.into() }
    }

    /// Publishes events in this order, with the time of this call. It never waits for room: full queues drop
    /// events, as they do with those of the worker.
    pub fn publish(&self, observations: impl IntoIterator<Item = Observation>) {
        let (batch, count) = self.batch(observations);
        self.hub.publish(batch.from(Origin::Observed), &count);
    }

    /// Publishes the last events, those of the worker's end: full queues take them, too.
    pub fn publish_end(&self, observations: impl IntoIterator<Item = Observation>) {
        let (batch, count) = self.batch(observations);
        self.hub.publish(batch.from(Origin::End), &count);
    }

    /// Publishes samples of what the worker uses. Exporters that have metrics of their own for it leave them
    /// out.
    pub fn publish_samples(&self, observations: impl IntoIterator<Item = Observation>) {
        let (batch, count) = self.batch(observations);
        self.hub.publish(batch.from(Origin::Samples), &count);
    }

    fn batch(&self, observations: impl IntoIterator<Item = Observation>) -> (Batch, Observed) {
        let mut batch = BatchBuilder::default();
        let mut count = 0;
        for Observation { name, measurements, mut metadata } in observations {
            add_missing(&mut metadata, &self.metadata);
            let event = TelemetryEvent {
                event_parts: name.split('.').map(str::to_owned).collect(),
                measurements,
                metadata,
                timestamp_ns: now_ns(),
                ..TelemetryEvent::default()
            };
            // What is observed is far below the limit, unless --metadata is not.
            count += u64::from(batch.encode(&event, name, true));
        }
        (batch.take(), Observed(count))
    }
}

#[cfg(test)]
mod tests;
