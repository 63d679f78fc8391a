//! Which open span an event belongs to, and which one is the parent of another.

use super::{Spans, is_sampled, sampled};
use crate::event::view::View;
use crate::exporter::{
    event::cut,
    otlp::{
        attributes::{Attributes, MAX_NAME_BYTES, Owner},
        convert::time_ns,
        metadata::{Given, Kind, agrees, fingerprints},
        started::{Correlation, Number, Open, Parent},
    },
    trace_ids::Context,
};

impl Spans {
    /// Adds an event without a phase to the span that it names, or else to the innermost open span of its
    /// correlation id.
    pub(super) fn point(&mut self, event: &View<'_>, given: &Given) -> Option<Context> {
        let id = event.correlation_id();
        let correlation = Correlation::new(id);
        let context = &given.context;
        let find = |span_id| self.open.find(span_id, correlation, context.trace_id);
        let ids = [context.span_id, context.parent_span_id].into_iter().flatten();
        let mut numbers = ids.map(find);
        let number = match numbers.next() {
            Some(first) => first.or(numbers.next().flatten()),
            None if correlation.is_none() => None,
            None => self.open.of(correlation).next().map(|(number, _)| number),
        };
        let Some((number, span)) = number.and_then(|number| Some((number, self.open.get(number)?))) else {
            return if self.names_run(given) { self.run_event(event) } else { self.named(event, given) };
        };
        let found = sampled(span)?;
        let mut attributes = Attributes::new(Owner::Event);
        attributes.add_event(event, |key, value| {
            let is_parent = key == "parent_span_id" && context.parent_span_id == Some(span.context.span_id);
            key != "span.kind" && (is_parent || given.is_in(span, key, value))
        });
        self.open.add_event(number, event.name(), time_ns(event), &attributes);
        Some(found)
    }

    /// The open span that an event ends.
    pub(super) fn matching(&self, event: &View<'_>, given: &Given, expected_ns: u64) -> Option<Number> {
        if self.open.is_empty() {
            return None;
        }
        let operation = cut(event.operation(), MAX_NAME_BYTES);
        let correlation = Correlation::new(event.correlation_id());
        let is_same = |span: &Open| *span.operation == *operation;
        let context = &given.context;
        let find = |trace_id| self.open.find(context.span_id?, correlation, trace_id);
        // A trace id that only the end has does not change the span's.
        let named = find(context.trace_id).or_else(|| find(None));
        if let Some(number) = named
            && self.open.get(number).is_some_and(is_same)
        {
            return Some(number);
        }
        let metadata = fingerprints(event);
        let is_other = |span: &Open| context.span_id.is_some() && span.has_given_id;
        let key = (correlation, operation, &*metadata);
        let exact = self.open.nearest_with_metadata(key, expected_ns, |span| !is_other(span));
        exact.or_else(|| {
            let same = self.open.of(correlation).filter(|(_, span)| is_same(span) && !is_other(span));
            let agreeing = same.filter(|(_, span)| agrees(&span.metadata, &metadata).is_some());
            let nearest = agreeing.min_by_key(|(_, span)| span.start_ns.abs_diff(expected_ns));
            nearest.map(|(number, _)| number)
        })
    }

    /// Decides about the parent of a span that is about to end, and whether it is sampled.
    pub(super) fn settle(&mut self, number: Number, given: &Given) {
        let Some(span) = self.open.get(number) else { return };
        let Open { identity, correlation, start_ns, context, flags, .. } = *span;
        let is_open_question = !self.open.is_given_up(number) && (span.nests || span.parent.is_none());
        let given_parent = given.context.parent_span_id;
        let given_parent = given_parent.filter(|id| is_open_question && *id != context.span_id);
        let around = if let Some(parent) = given_parent {
            self.open.find(parent, correlation, Some(context.trace_id))
        } else if span.outlived_one && span.nests {
            self.open.enclosing(correlation, identity, number, |other| {
                let is_same_trace = other.context.trace_id == context.trace_id && other.flags == flags;
                other.start_ns <= start_ns && is_same_trace
            })
        } else {
            span.around
        };
        let find_ended = |id| self.open.find_ended(id, correlation, Some(context.trace_id));
        let is_run = |span_id| self.is_run(Context { trace_id: context.trace_id, span_id });
        let is_known =
            given_parent.is_some_and(|id| around.is_some() || find_ended(id).is_some() || is_run(id));
        let caller = given.context.traceparent.filter(|_| is_open_question && !is_known);
        let is_callers_run = caller.is_some_and(|caller| self.is_run(caller.parent));
        let Some(span) = self.open.get_mut(number) else { return };
        span.around = around;
        if let Some(span_id) = given_parent {
            span.nests = false;
            span.parent = Some(Parent { span_id, is_remote: is_known.then_some(false) });
        }
        let Some(caller) = caller else { return };
        if !is_sampled(caller.flags) {
            // What was sent keeps its parent.
            span.flags = if span.children > 0 { span.flags } else { caller.flags };
        } else if span.around.is_none()
            && span.parent.is_none()
            && caller.parent.trace_id == context.trace_id
            && caller.parent.span_id != context.span_id
        {
            span.nests = false;
            span.parent = Some(Parent { span_id: caller.parent.span_id, is_remote: Some(!is_callers_run) });
            span.kind = if is_callers_run { span.kind } else { Kind::Server };
        }
    }
}
