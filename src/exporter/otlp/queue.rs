//! The queue of finished spans.

use super::proto::trace::v1::{Span, SpanFlags, span::SpanKind};
use prost::Message as _;
use std::collections::VecDeque;

/// The largest size of the queue, in bytes, whatever the number of spans.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// What a span adds to a request besides its encoding: a tag, a length, and a parent that it may get in the
/// queue.
const OVERHEAD_BYTES: usize = 16;

/// How many of the latest spans are searched for children of a span. Without a collector many more may be
/// queued.
const MAX_SEARCHED: usize = 512;

/// A finished span.
#[derive(Debug)]
pub struct Finished {
    /// The message.
    pub span: Span,
    /// Whether an enclosing span may still become its parent.
    pub adoptable: bool,
    /// Whether the worker gave the kind.
    pub has_given_kind: bool,
    /// What the operation does: see [`identity`](super::metadata::identity).
    pub identity: u64,
}

/// Spans in the order in which they ended.
#[derive(Debug)]
pub struct Queue {
    waiting: VecDeque<(Finished, usize)>,
    bytes: usize,
    max_spans: usize,
    /// Whether spans beyond the limit are kept: the caller stops reading events instead.
    lossless: bool,
    dropped: u64,
}

impl Queue {
    /// A queue of at most `max_spans`; more are dropped. With `lossless` none is dropped, and the caller has
    /// to check [`is_full`](Self::is_full).
    pub fn new(max_spans: usize, lossless: bool) -> Self {
        Self { waiting: VecDeque::new(), bytes: 0, max_spans, lossless, dropped: 0 }
    }

    /// Adds a span, or counts it as dropped.
    pub fn push(&mut self, finished: Finished) {
        let size = finished.span.encoded_len() + OVERHEAD_BYTES;
        if !self.lossless && (self.is_full() || self.bytes + size > MAX_BYTES) {
            self.dropped += 1;
            return;
        }
        self.bytes += size;
        self.waiting.push_back((finished, size));
    }

    /// Adds a span before all others, even if the queue is full.
    pub fn push_first(&mut self, finished: Finished) {
        let size = finished.span.encoded_len() + OVERHEAD_BYTES;
        self.bytes += size;
        self.waiting.push_front((finished, size));
    }

    /// Makes a span whose start was not seen the parent of queued spans within it that have the same parent
    /// as itself. Operations that do the same are taken to have run at the same time instead.
    pub fn adopt(&mut self, parent: &Finished) {
        let Finished { span: parent, identity: parents_identity, .. } = parent;
        let latest = self.waiting.iter_mut().rev().take(MAX_SEARCHED);
        // Two spans have the same id only if the worker has given it to them.
        for (finished, _) in latest.filter(|(finished, _)| finished.adoptable) {
            let Finished { span, has_given_kind, identity, .. } = finished;
            if identity != parents_identity
                && span.span_id != parent.span_id
                && span.trace_id == parent.trace_id
                && span.parent_span_id == parent.parent_span_id
                && span.start_time_unix_nano >= parent.start_time_unix_nano
                && span.end_time_unix_nano <= parent.end_time_unix_nano
            {
                span.parent_span_id.clone_from(&parent.span_id);
                // The new parent is not remote, even if the previous one was.
                span.flags = parent.flags & !(SpanFlags::ContextIsRemoteMask as u32);
                if !*has_given_kind {
                    span.kind = SpanKind::Internal.into();
                }
            }
        }
    }

    /// Takes the oldest spans: at most `max_spans` and `max_bytes`, but at least one.
    pub fn take(&mut self, max_spans: usize, max_bytes: usize) -> Vec<Span> {
        let mut taken = Vec::new();
        let mut bytes = 0;
        while taken.len() < max_spans
            && self.waiting.front().is_some_and(|(_, size)| taken.is_empty() || bytes + size <= max_bytes)
            && let Some((finished, size)) = self.waiting.pop_front()
        {
            bytes += size;
            taken.push(finished.span);
        }
        self.bytes -= bytes;
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
        self.waiting.len() >= self.max_spans || self.bytes >= MAX_BYTES
    }

    /// How many were dropped since the last call.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(name: &str) -> Finished {
        let span = Span { name: name.into(), ..Span::default() };
        Finished { span, adoptable: true, has_given_kind: false, identity: 0 }
    }

    #[test]
    fn a_full_queue_drops_what_comes_unless_it_is_lossless() {
        for (lossless, kept) in [(false, 2), (true, 5)] {
            let mut queue = Queue::new(2, lossless);
            (0..5).for_each(|number| queue.push(span(&number.to_string())));
            assert_eq!((queue.len(), queue.take_dropped(), queue.is_full()), (kept, 5 - kept as u64, true));
            assert_eq!(queue.take(1, usize::MAX)[0].name, "0");
        }
    }

    #[test]
    fn a_batch_has_so_many_spans_and_bytes_at_most_but_one_at_least() {
        let mut queue = Queue::new(100, false);
        (0..10).for_each(|_| queue.push(span(&"x".repeat(1000))));
        assert_eq!(queue.take(3, usize::MAX).len(), 3);
        assert_eq!(queue.take(100, 2500).len(), 2);
        assert_eq!(queue.take(100, 1).len(), 1);
        assert_eq!(queue.take(100, usize::MAX).len(), 4);
        assert_eq!((queue.len(), queue.bytes), (0, 0));
        assert!(queue.take(100, usize::MAX).is_empty());
    }

    #[test]
    fn few_large_spans_fill_it_as_well() {
        let mut queue = Queue::new(1000, false);
        (0..100).for_each(|_| queue.push(span(&"x".repeat(1024 * 1024))));
        assert!(queue.bytes <= MAX_BYTES && queue.len() < 17, "{} of {} bytes", queue.len(), queue.bytes);
    }
}
