//! A publisher's end of the flush interval.

use super::Hub;
use crate::event::{batch::Batch, stats::Source};
use std::{sync::Arc, time::Instant};

/// Publishes [coalesced](Hub::publish_coalesced) and remembers when to flush. Its owner calls
/// [`flush`](Self::flush) then.
#[derive(Debug)]
pub struct Coalescer {
    hub: Arc<Hub>,
    due: Option<Instant>,
}

impl Coalescer {
    /// Publishes to this hub.
    pub fn new(hub: Arc<Hub>) -> Self {
        Self { hub, due: None }
    }

    /// Publishes a batch, which may be empty, with the counters of the source up to it.
    pub fn publish(&mut self, batch: impl Into<Arc<Batch>>, source: &dyn Source) {
        let batch = batch.into();
        if batch.is_empty() {
            self.hub.account(source);
        } else {
            self.due = self.hub.publish_coalesced(batch, source);
        }
    }

    /// Updates the counters of a source without an event.
    pub fn account(&self, source: &dyn Source) {
        self.hub.account(source);
    }

    /// When events that are held back are to be flushed, if there are any.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Flushes what is held back.
    pub fn flush(&mut self) {
        if self.due.take().is_some() {
            self.hub.flush();
        }
    }
}
