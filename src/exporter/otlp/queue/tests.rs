//! What the queue keeps, hands out and changes.

use super::*;
use crate::exporter::{
    otlp::{
        attributes::{Attributes, Owner},
        proto::trace::v1::{ScopeSpans, Span},
        started::Events,
    },
    trace_ids::Context,
};
use proptest::{collection::vec, prelude::*, test_runner::Config};
use prost::Message as _;

impl Queue {
    /// Takes spans as a receiver decodes them.
    fn spans(&mut self, max_spans: usize, max_bytes: usize) -> Vec<Span> {
        let items = self.take(Room { front: 0, items: max_bytes }, max_spans);
        let spans = ScopeSpans::decode(items.encoded()).unwrap().spans;
        assert_eq!((items.items, items.records), (spans.len() as u64, spans.len() as u64));
        spans
    }

    /// Takes all spans.
    pub(in crate::exporter::otlp) fn all(&mut self) -> Vec<Span> {
        self.spans(usize::MAX, usize::MAX)
    }
}

/// A span of a trace with an id, from one time to another.
fn span((trace, id): (u8, u64), (start_ns, end_ns): (u64, u64)) -> Finished {
    Finished {
        context: Context { trace_id: [trace; 16], span_id: id.to_be_bytes() },
        parent: None,
        flags: 0x301,
        kind: SpanKind::Server,
        start_ns,
        end_ns,
        adoptable: true,
        has_given_kind: false,
        identity: id,
    }
}

fn push(queue: &mut Queue, span: Finished, name: &str) {
    let (attributes, events) = (Attributes::new(Owner::Span), Events::default());
    let body = Body { name, trace_state: None, attributes: &attributes, events: &events, error: None };
    queue.push(span, &body);
}

fn push_named(queue: &mut Queue, name: &str) {
    push(queue, span((1, 1), (0, 0)), name);
}

#[test]
fn a_full_queue_drops_what_comes_unless_it_is_lossless() {
    for (lossless, kept) in [(false, 2), (true, 5)] {
        let mut queue = Queue::new(2, lossless);
        (0..5).for_each(|number| push_named(&mut queue, &number.to_string()));
        assert_eq!((queue.len(), queue.take_dropped(), queue.is_full()), (kept, 5 - kept as u64, true));
        assert_eq!(queue.spans(1, usize::MAX)[0].name, "0");
    }
}

#[test]
fn a_batch_has_so_many_spans_and_bytes_at_most_but_one_at_least() {
    let mut queue = Queue::new(100, false);
    (0..10).for_each(|_| push_named(&mut queue, &"x".repeat(1000)));
    assert_eq!(queue.spans(3, usize::MAX).len(), 3);
    assert_eq!(queue.spans(100, 2500).len(), 2);
    assert_eq!(queue.spans(100, 1).len(), 1);
    assert_eq!(queue.all().len(), 4);
    assert_eq!((queue.len(), queue.waiting.bytes()), (0, 0));
    assert!(queue.all().is_empty());
}

#[test]
fn few_large_spans_fill_it_as_well() {
    let mut queue = Queue::new(1000, false);
    (0..100).for_each(|_| push_named(&mut queue, &"x".repeat(1024 * 1024)));
    let bytes = queue.waiting.bytes();
    assert!(bytes <= MAX_BYTES && queue.len() < 17, "{} of {bytes} bytes", queue.len());
}

/// What a queued span becomes when another one ends that was not seen to start.
fn adopted(mut span: Finished, parent: &Finished) -> Finished {
    let is_within = span.start_ns >= parent.start_ns && span.end_ns <= parent.end_ns;
    let Context { trace_id, span_id } = span.context;
    let is_child = span.adoptable && span.parent == parent.parent && trace_id == parent.context.trace_id;
    if is_child && is_within && span.identity != parent.identity && span_id != parent.context.span_id {
        span.parent = Some(parent.context.span_id);
        span.flags = parent.flags & !0x200;
        span.kind = if span.has_given_kind { span.kind } else { SpanKind::Internal };
    }
    span
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, cases: 64, ..Config::default() })]

    #[test]
    fn the_children_of_a_span_are_found_among_all_that_wait(
        steps in vec(((0..3u8, 0..6u64), (0..10u64, 0..10u64), any::<[bool; 2]>(), 0..8usize), 0..200),
    ) {
        let mut queue = Queue::new(1000, false);
        let mut expected: Vec<Finished> = Vec::new();
        for (ids, (start_ns, more), [adoptable, has_given_kind], taken) in steps {
            let new = Finished { adoptable, has_given_kind, ..span(ids, (start_ns, start_ns + more)) };
            if adoptable {
                queue.adopt(&new);
                for span in &mut expected {
                    *span = adopted(*span, &new);
                }
            }
            push(&mut queue, new, "");
            expected.push(new);
            let spans = queue.spans(taken, usize::MAX);
            for (span, expected) in spans.iter().zip(expected.drain(..spans.len())) {
                prop_assert_eq!(&span.span_id, &expected.context.span_id);
                prop_assert_eq!(&span.parent_span_id[..], expected.parent.as_ref().map_or(&[][..], |id| id));
                prop_assert_eq!((span.flags, span.kind), (expected.flags, expected.kind.into()));
            }
        }
    }

    #[test]
    fn only_the_latest_spans_are_searched(others in 500..530u64) {
        let mut queue = Queue::new(1000, false);
        push(&mut queue, span((1, 1), (5, 6)), "child");
        (0..others).for_each(|id| push(&mut queue, span((2, 10 + id), (0, 1)), "other"));
        queue.adopt(&span((1, 2), (0, 10)));
        prop_assert_eq!(queue.all()[0].parent_span_id.is_empty(), others >= MAX_SEARCHED);
    }
}
