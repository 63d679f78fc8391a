//! Traces: events end spans, which wait in a queue for their batch.

use super::{Exporting, QUEUE_FULL};
use crate::event::view::View;
use crate::exporter::{
    feed::Feed,
    otlp::{
        Counter,
        environment::Batches,
        queue::Queue,
        request::{Request, Room},
        resource::Resource,
        signal::SignalPipeline,
        spans::{self, Spans},
    },
    trace_ids::Context,
};
use std::time::Instant;

pub(super) struct Traces {
    pipeline: SignalPipeline,
    spans: Spans,
    queue: Queue,
    batches: Batches,
    /// How many of the queue's spans have waited for the schedule delay.
    flushable: usize,
}

impl Traces {
    pub(super) fn new(
        pipeline: SignalPipeline,
        options: spans::Options,
        batches: Batches,
        lossless: bool,
    ) -> Self {
        let queue = Queue::new(batches.max_queue, lossless);
        Self { pipeline, spans: Spans::new(options), queue, batches, flushable: 0 }
    }

    /// Whether no more finished spans have room.
    pub(super) fn is_full(&self) -> bool {
        self.queue.is_full()
    }

    /// Takes an event, and returns the sampled span that it belongs to, if there is one.
    pub(super) fn take(&mut self, event: &View<'_>, now: Instant) -> Option<Context> {
        if !self.pipeline.destination().enabled {
            return None;
        }
        self.spans.take(event, now, &mut self.queue)
    }

    /// The spans, open ones and others.
    pub(super) fn spans(&self) -> &Spans {
        &self.spans
    }

    /// The schedule delay is over.
    pub(super) fn flush(&mut self) {
        self.spans.find_overdue(Instant::now());
        self.flushable = self.queue.len();
    }
}

impl Exporting for Traces {
    fn pipeline(&mut self) -> &mut SignalPipeline {
        &mut self.pipeline
    }

    fn next_request(&mut self, resource: &Resource) -> Option<Request> {
        let is_due = self.flushable > 0 || self.queue.len() >= self.batches.max_batch;
        if !is_due || self.queue.is_empty() {
            return None;
        }
        let resource = resource.encoded();
        let spans = self.queue.take(Room::beside(&resource), self.batches.max_batch);
        let taken = usize::try_from(spans.records).unwrap_or(usize::MAX);
        self.flushable = self.flushable.saturating_sub(taken);
        Some(Request::new(spans, &resource, self.pipeline.destination()))
    }

    fn close(&mut self, resource: &Resource) {
        self.spans.close(Instant::now(), &mut self.queue);
        if let Some(worker) = resource.worker() {
            self.spans.end_run(worker, &mut self.queue);
        }
        self.flushable = self.queue.len();
    }

    fn count(&mut self, feed: &Feed<Counter>) {
        let spans = self.spans.take_counts();
        feed.count(Counter::SpansIncomplete, spans.incomplete);
        feed.count(Counter::SpansOverdue, spans.overdue);
        feed.count(Counter::SpansUnsampled, spans.unsampled);
        feed.count(Counter::ContextInvalid, spans.invalid);
        let dropped = self.queue.take_dropped();
        feed.count(Counter::SpansDropped, dropped);
        self.pipeline.add_dropped(dropped, QUEUE_FULL);
    }

    fn give_up(&mut self, feed: &Feed<Counter>, cause: &str) {
        self.pipeline.give_up(self.queue.len() as u64, Counter::SpansDropped, feed, cause);
    }
}
