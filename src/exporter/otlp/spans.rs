//! Makes spans of the start and end events of operations.
//!
//! # Which end belongs to which start
//!
//! One with the same `span_id` in its metadata, in the same trace or of the same correlation id. Otherwise
//! they have the same operation and correlation id, and their metadata does not conflict (metadata that
//! describes an error is ignored). Of several such starts one with exactly the end's metadata is preferred,
//! then the one nearest to the end's time minus its duration or, without a duration, the latest. Starts with
//! other metadata are searched among the latest ones of the correlation id only ([`group`](super::group)).
//!
//! An end without a start becomes a span of its duration. A span lasts from its start for the measured
//! duration: clocks may have been set in between. Without one the timestamps count.
//!
//! A span that is open for longer than the timeout is counted, and stays open. Nothing is sent before its
//! end, unless too many are open: then the oldest is given up and sent as incomplete. If its end comes later
//! it is sent again, with the same ids, start and parent. When the worker exits all open spans are sent as
//! incomplete.
//!
//! # Ids
//!
//! Ids in the metadata are taken as they are ([`trace_context`](crate::exporter::trace_context)). The start's
//! count; an end can only add a parent: its `traceparent` only one in the same trace, otherwise it stays an
//! attribute.
//!
//! # Which span is the parent
//!
//! A `parent_span_id` in the metadata names the parent, or else a `traceparent`. A parent that has ended
//! still gives its children the trace ([`ended`](super::ended)). Otherwise it is the innermost enclosing
//! span: one of the same correlation id and trace that was open when this one started and is still open when
//! it ends, and that does not run at the same time as this one ([`group`](super::group)). So the parent is
//! known at the end, but a span's own ids and trace are known from its start on.
//!
//! A span without a start is first seen when it ends, after its children. It becomes the parent of spans
//! within it that have the same parent as itself and are still in the [`Queue`], where most spans wait for
//! seconds.
//!
//! A [`RunSpan`] is the parent of all others in its trace, and that is the trace of all events that name
//! none, whatever their correlation ids.
//!
//! # Sampling
//!
//! A `traceparent` whose caller has decided against sampling makes an unsampled span, and so are all spans
//! below it, also those that start after its end and name it. If the start gave no context, the end's
//! `traceparent` decides, unless a span below was sent before. They take part in all of the above, but they
//! are not sent, and exemplars do not point at them.

use super::{
    attributes::{Attributes, Owner, Value},
    convert::{ERROR_KEYS, describe_error, duration_ns, time_ns},
    finished::{Body, Finished},
    metadata::{Given, Kind, fingerprints},
    open::{LIMITS, Limits, OpenSpans},
    proto::trace::v1::SpanFlags,
    queue::Queue,
    run_span::RunSpan,
    started::{Events, Number, Open, Parent},
};
use crate::{
    event::view::{Phase, View},
    exporter::trace_ids::{Context, Random, SAMPLED},
    system::{log, value::Period},
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// The attribute of a span without an end.
pub const INCOMPLETE: &str = "snakepit.incomplete";

/// Turns events into spans.
#[derive(Debug)]
pub struct Spans {
    open: OpenSpans,
    options: Options,
    random: Random,
    /// The time of the last event, by the worker's clock.
    last_ns: u64,
    /// Spans with lower numbers have been checked for being overdue.
    first_in_time: Number,
    counts: Counts,
    /// The events of the run span.
    run_events: Events,
    /// Memory for the attributes of a span that ends.
    scratch: Attributes,
}

/// How spans are made.
#[derive(Debug, Clone)]
pub struct Options {
    /// Only the metadata gives a span a parent.
    pub flat: bool,
    /// After this time an open span is overdue.
    pub timeout: Duration,
    /// The service instance, for trace ids.
    pub instance: String,
    /// The span that those without a parent are below.
    pub run: Option<Arc<RunSpan>>,
}

/// What happened to spans that are not exported as usual.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Spans sent without an end.
    pub incomplete: u64,
    /// Spans that were open for longer than the timeout.
    pub overdue: u64,
    /// Spans that were not sent because their trace is not sampled.
    pub unsampled: u64,
    /// Events with an invalid value in the context.
    pub invalid: u64,
}

impl Spans {
    /// No spans yet.
    pub fn new(options: Options) -> Self {
        Self::with_limits(options, LIMITS)
    }

    fn with_limits(options: Options, limits: Limits) -> Self {
        Self {
            open: OpenSpans::new(limits),
            options,
            random: Random::default(),
            last_ns: 0,
            first_in_time: 0,
            counts: Counts::default(),
            run_events: Events::default(),
            scratch: Attributes::new(Owner::Span),
        }
    }

    /// Handles an event: queues the span that it ends, and returns the span that the event belongs to, if
    /// there is one and it is sampled.
    pub fn take(&mut self, event: &View<'_>, now: Instant, queue: &mut Queue) -> Option<Context> {
        self.last_ns = time_ns(event);
        let given = Given::of(event);
        if let Some(key) = given.invalid {
            self.counts.invalid += 1;
            log::limited!(INFO, "otlp: {}: the metadata '{key}' is not valid and not used", event.name());
        }
        match event.phase() {
            Phase::Start => self.start(event, &given, now, queue),
            Phase::Stop | Phase::Exception => self.end(event, &given, now, queue),
            Phase::Point => self.point(event, &given),
        }
    }

    /// Counts spans that have been open for longer than the timeout.
    pub fn find_overdue(&mut self, now: Instant) {
        for (number, span) in self.open.open_from(self.first_in_time) {
            if now.saturating_duration_since(span.seen) < self.options.timeout {
                break;
            }
            self.first_in_time = number + 1;
            self.counts.overdue += 1;
            let timeout = Period(self.options.timeout);
            log::limited!(
                INFO,
                "otlp: {} runs for longer than {timeout} (--otlp-span-timeout)",
                span.operation
            );
        }
    }

    /// Sends all open spans as incomplete, and forgets them.
    pub fn close(&mut self, now: Instant, queue: &mut Queue) {
        while let Some(number) = self.open.oldest() {
            self.give_up(number, now, queue);
        }
        self.open.clear();
    }

    /// What was counted since the last call.
    pub fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    fn start(&mut self, event: &View<'_>, given: &Given, now: Instant, queue: &mut Queue) -> Option<Context> {
        let mut span = self.begin(event, given, time_ns(event), now);
        let mut attributes = Attributes::new(Owner::Span);
        attributes.add_event(event, |key, value| given.is_in(&span, key, value));
        attributes.shrink();
        span.attributes = attributes;
        span.metadata = fingerprints(event).into();
        let context = sampled(&span);
        self.open.insert(span);
        while self.open.overfull() {
            let Some(number) = self.open.oldest() else { break };
            self.give_up(number, now, queue);
        }
        context
    }

    fn end(&mut self, event: &View<'_>, given: &Given, now: Instant, queue: &mut Queue) -> Option<Context> {
        let at_ns = time_ns(event);
        let duration_ns = duration_ns(event);
        let expected_ns = at_ns.saturating_sub(duration_ns.unwrap_or_default());
        let number = self.matching(event, given, expected_ns);
        if let Some(number) = number {
            self.settle(number, given);
        }
        let found = number.and_then(|number| self.open.end(number));
        let started = found.is_some();
        let mut span = found.unwrap_or_else(|| self.begin(event, given, expected_ns, now));
        let end_ns = match duration_ns {
            Some(duration_ns) if started => span.start_ns.saturating_add(duration_ns),
            _ => at_ns.max(span.start_ns),
        };
        let failed = event.phase() == Phase::Exception;
        let mut attributes = std::mem::replace(&mut self.scratch, Attributes::new(Owner::Span));
        attributes.copy(&span.attributes);
        attributes.add_event(event, |key, value| {
            failed && ERROR_KEYS.contains(&key) || given.is_in(&span, key, value)
        });
        span.kind = given.kind.unwrap_or(span.kind);
        let error = failed.then(|| describe_error(event, end_ns, &mut attributes, &mut span.events));
        if !started {
            self.open.add_ended(&span);
        }
        let context = sampled(&span);
        if context.is_some() {
            let finished = self.finished(&span, end_ns);
            if finished.adoptable && !started {
                queue.adopt(&finished);
            }
            queue.push(finished, &body(&span, &attributes, error));
        } else {
            self.counts.unsampled += 1;
        }
        self.scratch = attributes;
        context
    }

    /// Sends a span as incomplete.
    fn give_up(&mut self, number: Number, now: Instant, queue: &mut Queue) {
        self.settle(number, &Given::default());
        let parent = self.open.get(number).and_then(|span| self.parent(span));
        if let Some(span) = self.open.get_mut(number) {
            // It stays the same until the end comes.
            (span.parent, span.nests) = (parent, false);
        }
        let Some(mut span) = self.open.give_up(number) else { return };
        if sampled(&span).is_none() {
            self.counts.unsampled += 1;
            return;
        }
        self.counts.incomplete += 1;
        span.attributes.set(INCOMPLETE, Value::Bool(true));
        // It was open for this long, and at the last event. In a replay the latter is later.
        let waited = now.saturating_duration_since(span.seen).as_nanos();
        let waited_ns = u64::try_from(waited).unwrap_or(u64::MAX);
        let end_ns = span.start_ns.saturating_add(waited_ns).max(self.last_ns);
        let finished = self.finished(&span, end_ns);
        queue.push(finished, &body(&span, &span.attributes, None));
    }

    /// The parent of a span that ends now.
    fn parent(&self, span: &Open) -> Option<Parent> {
        let around = span.around.filter(|_| span.nests).and_then(|number| self.open.get(number));
        let around = around.map(|around| around.context.span_id);
        let parent = around.map(|span_id| Parent { span_id, is_remote: Some(false) }).or(span.parent);
        // The worker may have given two spans the same id.
        let is_other = |parent: &Parent| parent.span_id != span.context.span_id;
        let run = || self.run_as_parent(span.context.trace_id).filter(is_other);
        parent.filter(is_other).or_else(run)
    }

    /// A span with its end, which is not before its start, and its parent.
    fn finished(&mut self, span: &Open, end_ns: u64) -> Finished {
        let parent = self.parent(span);
        self.open.add_child(span.around);
        // Without a parent there is no remote one either.
        let remoteness = match parent.map_or(Some(false), |parent| parent.is_remote) {
            Some(true) => SpanFlags::ContextHasIsRemoteMask as u32 | SpanFlags::ContextIsRemoteMask as u32,
            Some(false) => SpanFlags::ContextHasIsRemoteMask as u32,
            None => 0,
        };
        Finished {
            context: span.context,
            parent: parent.map(|parent| parent.span_id),
            flags: u32::from(span.flags) | remoteness,
            kind: span.kind.into(),
            start_ns: span.start_ns,
            end_ns: end_ns.max(span.start_ns),
            adoptable: span.nests,
            has_given_kind: matches!(span.kind, Kind::Given(_)),
            identity: span.identity,
        }
    }
}

/// What does not change any more of a span.
fn body<'a>(span: &'a Open, attributes: &'a Attributes, error: Option<&'a str>) -> Body<'a> {
    let trace_state = span.trace_state.as_deref();
    Body { name: &span.operation, trace_state, attributes, events: &span.events, error }
}

fn is_sampled(flags: u8) -> bool {
    flags & SAMPLED != 0
}

/// The ids of a span that exemplars may point at.
fn sampled(span: &Open) -> Option<Context> {
    is_sampled(span.flags).then_some(span.context)
}

mod begin;
mod line;
mod related;
mod run;

#[cfg(test)]
mod property;
#[cfg(test)]
mod tests;
