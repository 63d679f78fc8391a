//! What is known of a span when it starts.

use super::{Spans, is_sampled};
use crate::event::view::View;
use crate::exporter::{
    event::cut,
    otlp::{
        attributes::{Attributes, MAX_NAME_BYTES, Owner},
        ended::Ended,
        group::Overlaps,
        metadata::{Given, Kind, identity},
        started::{Correlation, Events, Number, Open, Parent},
    },
    trace_ids::{Context, SAMPLED, TraceId, Traceparent, trace_id},
};
use std::time::Instant;

impl Spans {
    /// A span that starts at a time, without attributes.
    pub(super) fn begin(&mut self, event: &View<'_>, given: &Given, start_ns: u64, now: Instant) -> Open {
        let context = &given.context;
        let correlation = Correlation::new(event.correlation_id());
        let operation = cut(event.operation(), MAX_NAME_BYTES);
        let identity = identity(event);
        let has_parent = context.parent_span_id.is_some() || context.traceparent.is_some();
        let nests = !self.options.flat && !has_parent && !correlation.is_none();
        let number = if let Some(parent) = context.parent_span_id {
            self.open.find(parent, correlation, context.trace_id)
        } else if nests {
            self.open.enclosing(correlation, identity, Number::MAX, |span| {
                let trace_id = context.trace_id.unwrap_or(span.context.trace_id);
                span.start_ns <= start_ns && span.context.trace_id == trace_id
            })
        } else {
            None
        };
        let around = number.and_then(|number| self.open.get(number));
        let ended = || self.open.find_ended(context.parent_span_id?, correlation, context.trace_id).cloned();
        let above = around.map(Ended::of).or_else(ended);
        let trace_id = above.as_ref().map(|above| above.context.trace_id);
        let trace_id = trace_id.or_else(|| self.named_trace(event, given));
        let trace_id = trace_id.unwrap_or_else(|| self.random.trace_id());
        let caller = caller(event, given);
        let callers = caller.filter(|caller| caller.parent.trace_id == trace_id);
        let is_run = |span_id| self.is_run(Context { trace_id, span_id });
        let is_known = above.is_some() || context.parent_span_id.is_some_and(is_run);
        let mut parent = parent(given, around, is_known, callers);
        if let Some(parent) = parent.as_mut().filter(|parent| is_run(parent.span_id)) {
            // The worker has it from its environment, and it is no request that the worker serves.
            parent.is_remote = Some(false);
        }
        let run = self.run_of(trace_id);
        let flags = above.as_ref().map(|above| above.flags).or(caller.map(|caller| caller.flags));
        let flags = flags.or(run.map(|run| run.flags)).unwrap_or(SAMPLED);
        let serves_caller = above.is_none() && parent.is_some_and(|parent| parent.is_remote == Some(true));
        let runs_state = run.filter(|_| caller.is_none()).and_then(|run| run.trace_state.clone());
        let inherited_state = || above.and_then(|above| above.trace_state).or(runs_state);
        if context.parent_span_id.is_some() {
            self.open.add_child(number);
        }
        Open {
            operation: operation.into(),
            identity,
            correlation,
            context: Context { trace_id, span_id: context.span_id.unwrap_or_else(|| self.random.span_id()) },
            has_given_id: context.span_id.is_some(),
            parent,
            nests,
            around: number,
            outlived_one: false,
            children: 0,
            overlaps: Overlaps::default(),
            flags,
            trace_state: context.tracestate.map(Into::into).or_else(inherited_state),
            kind: given.kind.unwrap_or(if serves_caller { Kind::Server } else { Kind::Internal }),
            start_ns,
            seen: now,
            metadata: Box::default(),
            attributes: Attributes::new(Owner::Span),
            events: Events::default(),
        }
    }

    /// The trace that an event names.
    fn named_trace(&self, event: &View<'_>, given: &Given) -> Option<TraceId> {
        let id = event.correlation_id();
        let callers = || caller(event, given).map(|caller| caller.parent.trace_id);
        let from_id = || (!id.is_empty()).then(|| trace_id(id, &self.options.instance));
        let runs = || self.options.run.as_ref().map(|run| run.context.trace_id);
        given.context.trace_id.or_else(callers).or_else(runs).or_else(from_id)
    }

    /// The span that an event names, if it is not open and is, as far as is known, sampled.
    pub(super) fn named(&self, event: &View<'_>, given: &Given) -> Option<Context> {
        let context = &given.context;
        let correlation = Correlation::new(event.correlation_id());
        let mut ids = [context.span_id, context.parent_span_id].into_iter().flatten();
        let span_id = context.span_id.or(context.parent_span_id)?;
        let ended = ids.find_map(|id| self.open.find_ended(id, correlation, context.trace_id));
        let trace_id =
            ended.map(|ended| ended.context.trace_id).or_else(|| self.named_trace(event, given))?;
        let flags = ended.map(|ended| ended.flags);
        let flags = flags.or_else(|| caller(event, given).map(|caller| caller.flags));
        let flags = flags.or_else(|| self.run_of(trace_id).map(|run| run.flags));
        if !flags.is_none_or(is_sampled) {
            return None;
        }
        Some(Context { trace_id, span_id })
    }
}

/// The caller's span.
fn caller(event: &View<'_>, given: &Given) -> Option<Traceparent> {
    given.context.traceparent.or_else(|| Traceparent::parse(event.correlation_id()))
}

/// The parent as long as no open span is. `caller` is in the same trace. `is_known`: the parent that the
/// worker names is open, or has ended.
fn parent(
    given: &Given,
    around: Option<&Open>,
    is_known: bool,
    caller: Option<Traceparent>,
) -> Option<Parent> {
    let callers_span = caller.map(|caller| caller.parent.span_id);
    match (given.context.parent_span_id, around) {
        (Some(span_id), _) => {
            let is_callers = (callers_span == Some(span_id)).then_some(true);
            Some(Parent { span_id, is_remote: if is_known { Some(false) } else { is_callers } })
        }
        (None, Some(around)) => around.parent,
        (None, None) => {
            // A worker may print the context of the span itself.
            let other = callers_span.filter(|span_id| given.context.span_id != Some(*span_id));
            other.map(|span_id| Parent { span_id, is_remote: Some(true) })
        }
    }
}
