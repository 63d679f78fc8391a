//! Spans below the span of the worker's run.
//!
//! Without a context in its metadata an event belongs to the run's trace, whatever its correlation id, and a
//! span without a parent is a child of the run span.

use super::Spans;
use crate::{
    event::view::View,
    exporter::{
        otlp::{
            attributes::{Attributes, Owner},
            convert::time_ns,
            metadata::Given,
            queue::Queue,
            run_span::RunSpan,
            started::Parent,
        },
        trace_ids::{Context, TraceId},
    },
    worker::state::WorkerState,
};

/// Metadata that names the run span.
const CONTEXT_KEYS: [&str; 7] =
    ["correlation_id", "traceparent", "tracestate", "trace_id", "span_id", "parent_span_id", "span.kind"];

impl Spans {
    /// The run span, if it has this trace.
    pub(super) fn run_of(&self, trace_id: TraceId) -> Option<&RunSpan> {
        self.options.run.as_deref().filter(|run| run.context.trace_id == trace_id)
    }

    /// Whether this is the run span.
    pub(super) fn is_run(&self, context: Context) -> bool {
        self.run_of(context.trace_id).is_some_and(|run| run.context.span_id == context.span_id)
    }

    /// The parent of a span that has no other.
    pub(super) fn run_as_parent(&self, trace_id: TraceId) -> Option<Parent> {
        self.run_of(trace_id).map(|run| Parent { span_id: run.context.span_id, is_remote: Some(false) })
    }

    /// Whether an event names the run span.
    pub(super) fn names_run(&self, given: &Given) -> bool {
        let context = &given.context;
        let callers = context.traceparent.map(|caller| caller.parent);
        let trace_id = context.trace_id.or(callers.map(|caller| caller.trace_id));
        let span_id = context.span_id.or(context.parent_span_id).or(callers.map(|caller| caller.span_id));
        self.options.run.as_deref().is_some_and(|run| {
            span_id == Some(run.context.span_id) && trace_id.is_none_or(|id| id == run.context.trace_id)
        })
    }

    /// Adds an event to the run span. Returns its context if it is sampled.
    pub(super) fn run_event(&mut self, event: &View<'_>) -> Option<Context> {
        let mut attributes = Attributes::new(Owner::Event);
        attributes.add_event(event, |key, _| CONTEXT_KEYS.contains(&key));
        self.run_events.push(event.name(), time_ns(event), &attributes);
        self.options.run.as_deref().filter(|run| run.is_sampled()).map(|run| run.context)
    }

    /// Queues the span of a run that has ended, before all others: it explains them, and there may not be
    /// time for all.
    pub fn end_run(&mut self, worker: &WorkerState, queue: &mut Queue) {
        let Some(run) = self.options.run.take() else { return };
        if !run.is_sampled() {
            self.counts.unsampled += 1;
            return;
        }
        run.send(worker, &std::mem::take(&mut self.run_events), queue);
    }
}
