//! What was lost: a line for each kind, with the reason.
//!
//! An event is not lost if nobody had subscribed to it, nor if its subscriber has left.

use super::outputs::Drained;
use crate::{
    pipeline::output::{Loss, Undelivered},
    status::Report,
};

/// Why the queue of a subscriber drops events.
const QUEUE_FULL: &str = "a queue was full (--queue-capacity, --queue-bytes, --total-queue-bytes)";

/// The losses with the names of the outputs.
pub(super) fn all(report: &Report, recording: Option<Loss>, drained: Drained) -> Vec<(String, Loss)> {
    let cut = drained.cut.unwrap_or("it ended early");
    let mut losses: Vec<_> = recording.map(|loss| ("record".to_owned(), loss)).into_iter().collect();
    let mut add_events = |name: &str, count, reason| {
        losses.extend(events(count, reason).map(|loss| (name.to_owned(), loss)));
    };
    let subscribers = &report.subscribers;
    add_events("subscribers", subscribers.dropped, QUEUE_FULL);
    add_events("subscribers", subscribers.queued, cut);
    for exporter in &report.hub.exporters {
        add_events(&exporter.name, exporter.stats.dropped - exporter.stats.unsent, "its queue was full");
        add_events(&exporter.name, exporter.stats.queued + exporter.stats.abandoned, cut);
    }
    losses.extend(drained.losses.into_iter().map(|(name, loss)| (name.to_owned(), loss)));
    losses
}

fn events(count: u64, reason: &str) -> Option<Loss> {
    let mut undelivered = Undelivered::default();
    undelivered.add(count, reason);
    undelivered.loss("event")
}
