//! The queue of finished spans.

use super::{
    finished::{Body, Finished},
    proto::trace::v1::{SpanFlags, span::SpanKind},
    request::{Items, Room},
    waiting::{Head, Waiting},
};
use crate::exporter::trace_ids::TraceId;

/// The largest size of the queue, in bytes, whatever the number of spans.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// How many of the latest spans are searched for children of a span. Without a collector many more may be
/// queued.
const MAX_SEARCHED: u64 = 512;

/// How many different traces are searched separately, about: a power of two.
const SLOTS: usize = 1024;

/// Spans in the order in which they ended.
#[derive(Debug)]
pub struct Queue {
    waiting: Waiting<Queued>,
    /// The number of the first span.
    first: u64,
    latest: Latest,
    max_spans: usize,
    /// Whether spans beyond the limit are kept: the caller stops reading events instead.
    lossless: bool,
    dropped: u64,
}

/// A span, and the number of the one before in the same slot.
#[derive(Debug)]
struct Queued {
    span: Finished,
    previous: u64,
}

impl Head for Queued {
    fn count(&self) -> u64 {
        self.span.count()
    }

    fn write(&self, buffer: &mut Vec<u8>) {
        self.span.write(buffer);
    }
}

/// The number of the latest span of each slot. Spans of one trace have one slot, which is shared with few
/// others: a span is searched among those instead of all.
#[derive(Debug)]
struct Latest(Box<[u64]>);

impl Latest {
    fn slot(&mut self, trace_id: TraceId) -> Option<&mut u64> {
        // Ids that are counted up differ in their last bytes, others in all of them.
        let [.., high, low] = trace_id;
        self.0.get_mut(usize::from(u16::from_be_bytes([high, low])) % SLOTS)
    }
}

impl Queue {
    /// A queue of at most `max_spans`; more are dropped. With `lossless` none is dropped, and the caller has
    /// to check [`is_full`](Self::is_full).
    pub fn new(max_spans: usize, lossless: bool) -> Self {
        // Zero is before all spans.
        let (first, latest) = (1, Latest(vec![0; SLOTS].into()));
        Self { waiting: Waiting::default(), first, latest, max_spans, lossless, dropped: 0 }
    }

    /// Adds a span, or counts it as dropped.
    pub fn push(&mut self, span: Finished, body: &Body<'_>) {
        let bytes = body.max_bytes();
        let size = Waiting::<Queued>::size(bytes);
        if !self.lossless && (self.is_full() || self.waiting.bytes() + size > MAX_BYTES) {
            self.dropped += 1;
            return;
        }
        let number = self.first + self.waiting.len() as u64;
        let latest = self.latest.slot(span.context.trace_id).filter(|_| span.adoptable);
        let previous = latest.map(|latest| std::mem::replace(latest, number)).unwrap_or_default();
        self.waiting.push(Queued { span, previous }, bytes, |buffer| body.write(buffer));
    }

    /// Adds the last span, before all others, even if the queue is full.
    pub fn push_first(&mut self, span: Finished, body: &Body<'_>) {
        let mut bytes = Vec::new();
        body.write(&mut bytes);
        self.first = self.first.saturating_sub(1);
        self.waiting.push_first(Queued { span, previous: 0 }, bytes);
    }

    /// Makes a span whose start was not seen the parent of queued spans within it that have the same parent
    /// as itself. Operations that do the same are taken to have run at the same time instead.
    pub fn adopt(&mut self, parent: &Finished) {
        let next = self.first + self.waiting.len() as u64;
        let oldest = next.saturating_sub(MAX_SEARCHED).max(self.first);
        let slot = self.latest.slot(parent.context.trace_id);
        let mut number = slot.map(|latest| *latest).unwrap_or_default();
        while number >= oldest {
            let position = usize::try_from(number - self.first).unwrap_or(usize::MAX);
            let Some(Queued { span, previous }) = self.waiting.head_mut(position) else { break };
            number = *previous;
            // Two spans have the same id only if the worker has given it to them.
            if span.adoptable
                && span.identity != parent.identity
                && span.context.span_id != parent.context.span_id
                && span.context.trace_id == parent.context.trace_id
                && span.parent == parent.parent
                && span.start_ns >= parent.start_ns
                && span.end_ns <= parent.end_ns
            {
                span.parent = Some(parent.context.span_id);
                // The new parent is not remote, even if the previous one was.
                span.flags = parent.flags & !(SpanFlags::ContextIsRemoteMask as u32);
                if !span.has_given_kind {
                    span.kind = SpanKind::Internal;
                }
            }
        }
    }

    /// Takes the oldest spans for a request: at most `max_spans` and as many as there is room for, but at
    /// least one.
    pub fn take(&mut self, room: Room, max_spans: usize) -> Items {
        let taken = self.waiting.take(room.front, max_spans, room.items);
        self.first += taken.records;
        taken
    }

    /// The number of queued spans.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether no span is queued.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether a limit is reached.
    pub fn is_full(&self) -> bool {
        self.waiting.len() >= self.max_spans || self.waiting.bytes() >= MAX_BYTES
    }

    /// How many were dropped since the last call.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }
}

#[cfg(test)]
mod tests;
