//! Makes spans of the start and end events of operations.
//!
//! # Which end belongs to which start
//!
//! They have the same operation and correlation id, and their metadata does not conflict (metadata that
//! describes an error is ignored). Of several such starts one with exactly the end's metadata is preferred,
//! then the one nearest to the end's time minus its duration or, without a duration, the latest.
//!
//! An end without a start becomes a span of its duration. A start without an end is closed as incomplete:
//! after the timeout, when the worker exits, or as the oldest when there are too many.
//!
//! # Which span is the parent
//!
//! A `traceparent` in the metadata of the start names the parent. Otherwise it is the innermost enclosing
//! span: one of the same correlation id and trace that was open when this one started and is still open when
//! it ends. So the parent is known at the end, but a span's own ids and trace are known from its start on.
//!
//! A span without a start is first seen when it ends, after its children. It becomes the parent of spans
//! within it that have the same parent as itself and are still in the [`Queue`], where most spans wait for
//! seconds.

use super::proto::{
    common::v1::any_value::Value,
    trace::v1::{Span, SpanFlags},
};
use super::{
    attributes::{Attributes, MAX_NAME_BYTES},
    convert::{ERROR_KEYS, describe_error, duration_ns, finish, span_event, time_ns},
    open::{Correlation, Events, Number, Open, OpenSpans, Parent},
    queue::{Finished, Queue},
};
use crate::exporter::{
    event::{Event, Phase, cut},
    trace_ids::{Context, Random, Traceparent, trace_id},
};
use std::time::{Duration, Instant};

/// The attribute of a span without an end.
pub const INCOMPLETE: &str = "snakepit.incomplete";

/// The trace flag of traces without a sampling decision by a caller.
const SAMPLED: u8 = 1;

/// Turns events into spans.
#[derive(Debug)]
pub struct Spans {
    open: OpenSpans,
    flat: bool,
    timeout: Duration,
    random: Random,
    /// The time of the last event, by the worker's clock.
    last_ns: u64,
    incomplete: u64,
}

impl Spans {
    /// With `flat` only a `traceparent` gives a span a parent.
    pub fn new(flat: bool, timeout: Duration) -> Self {
        let open = OpenSpans::default();
        Self { open, flat, timeout, random: Random::default(), last_ns: 0, incomplete: 0 }
    }

    /// Handles an event: queues the span that it ends, and returns the span that the event belongs to, if
    /// there is one.
    pub fn take(&mut self, event: &Event, now: Instant, queue: &mut Queue) -> Option<Context> {
        self.last_ns = time_ns(event);
        match event.phase() {
            Phase::Start => Some(self.start(event, now, queue)),
            Phase::Stop | Phase::Exception => Some(self.end(event, queue)),
            Phase::Point => self.point(event),
        }
    }

    /// Closes spans that have been open for longer than the timeout.
    pub fn expire(&mut self, now: Instant, queue: &mut Queue) {
        while let Some((number, span)) = self.open.oldest() {
            if now.saturating_duration_since(span.seen) < self.timeout {
                return;
            }
            self.close_incomplete(number, now, queue);
        }
    }

    /// Closes all open spans.
    pub fn close(&mut self, now: Instant, queue: &mut Queue) {
        while let Some((number, _)) = self.open.oldest() {
            self.close_incomplete(number, now, queue);
        }
    }

    /// How many were closed as incomplete since the last call.
    pub fn take_incomplete(&mut self) -> u64 {
        std::mem::take(&mut self.incomplete)
    }

    fn start(&mut self, event: &Event, now: Instant, queue: &mut Queue) -> Context {
        let mut attributes = Attributes::default();
        attributes.add_metadata(event, |_| false);
        let metadata = attributes.list.len();
        attributes.add_measurements(event);
        attributes.list.shrink_to_fit();
        let span = Open { seen: now, metadata, attributes, ..self.begin(event, time_ns(event), now) };
        let context = span.context;
        self.open.insert(span);
        while self.open.overfull() {
            let Some((number, _)) = self.open.oldest() else { break };
            self.close_incomplete(number, now, queue);
        }
        context
    }

    /// A span that starts at a time, without attributes.
    fn begin(&mut self, event: &Event, start_ns: u64, now: Instant) -> Open {
        let id = &event.event.correlation_id;
        let correlation = Correlation::new(id);
        let given = event.event.metadata.get("traceparent").and_then(|text| Traceparent::parse(text));
        let nests = !self.flat && given.is_none() && !correlation.is_none();
        let around = if nests { self.innermost(correlation, start_ns, None, None) } else { None };
        let around = around.map(|(_, span)| (span.context.trace_id, span.flags, span.parent));
        let (trace_id, flags, parent) = match (given.or_else(|| Traceparent::parse(id)), around) {
            (_, Some(around)) => around,
            (Some(given), None) => {
                (given.parent.trace_id, given.flags, Some(Parent::Remote(given.parent.span_id)))
            }
            (None, None) if correlation.is_none() => (self.random.trace_id(), SAMPLED, None),
            (None, None) => (trace_id(id), SAMPLED, None),
        };
        Open {
            operation: cut(event.operation(), MAX_NAME_BYTES).into(),
            correlation,
            context: Context { trace_id, span_id: self.random.span_id() },
            parent,
            flags,
            nests,
            start_ns,
            seen: now,
            attributes: Attributes::default(),
            metadata: 0,
            events: Events::default(),
        }
    }

    fn end(&mut self, event: &Event, queue: &mut Queue) -> Context {
        let end_ns = time_ns(event);
        let duration_ns = duration_ns(event);
        let expected_ns = end_ns.saturating_sub(duration_ns.unwrap_or_default());
        let found =
            self.matching(event, expected_ns).and_then(|number| Some((number, self.open.remove(number)?)));
        let started = found.is_some();
        let (number, mut open) = match found {
            Some((number, open)) => (Some(number), open),
            None => (None, self.begin(event, expected_ns, Instant::now())),
        };
        let (parent, flags) = self.parent(&open, number);
        let failed = event.phase() == Phase::Exception;
        let exported_elsewhere = |key: &str| failed && ERROR_KEYS.contains(&key);
        open.attributes.add_metadata(event, exported_elsewhere);
        open.attributes.add_measurements(event);
        let status = failed.then(|| describe_error(event, end_ns, &mut open));
        let context = open.context;
        // The measured duration takes precedence over timestamps that a clock or the pipe has moved closer
        // together.
        open.start_ns = open.start_ns.min(expected_ns);
        let adoptable = open.nests;
        let span = Span { parent_span_id: parent, flags, status, ..finish(open, end_ns) };
        if adoptable && !started {
            queue.adopt(&span);
        }
        queue.push(Finished { span, adoptable });
        context
    }

    /// Closes a span as incomplete.
    fn close_incomplete(&mut self, number: Number, now: Instant, queue: &mut Queue) {
        let Some(mut open) = self.open.close_incomplete(number) else { return };
        self.incomplete += 1;
        let (parent, flags) = self.parent(&open, Some(number));
        open.attributes.set(INCOMPLETE, Value::BoolValue(true));
        // It was open for this long, and at the last event. In a replay the latter is later.
        let waited = now.saturating_duration_since(open.seen).as_nanos();
        let waited_ns = u64::try_from(waited).unwrap_or(u64::MAX);
        let end_ns = open.start_ns.saturating_add(waited_ns).max(self.last_ns);
        let adoptable = open.nests;
        let span = Span { parent_span_id: parent, flags, ..finish(open, end_ns) };
        queue.push(Finished { span, adoptable });
    }

    /// Adds an event without a phase to the innermost open span of its correlation id.
    fn point(&mut self, event: &Event) -> Option<Context> {
        let correlation = Correlation::new(&event.event.correlation_id);
        if correlation.is_none() {
            return None;
        }
        let (number, span) = self.innermost(correlation, u64::MAX, None, None)?;
        let context = span.context;
        let mut attributes = Attributes::default();
        attributes.add_metadata(event, |_| false);
        attributes.add_measurements(event);
        self.open.add_event(number, span_event(event.name(), time_ns(event), attributes));
        Some(context)
    }

    /// The open span that an event ends.
    fn matching(&self, event: &Event, expected_ns: u64) -> Option<Number> {
        let operation = cut(event.operation(), MAX_NAME_BYTES);
        let mut metadata = Attributes::default();
        metadata.add_metadata(event, |key| key.starts_with("error_") || key == "traceback");
        let all = self.open.of(Correlation::new(&event.event.correlation_id));
        let same = all.filter(|(_, span)| *span.operation == *operation);
        let ranked = same.filter_map(|(number, span)| {
            let differs = !agrees(span, &metadata)?;
            Some(((differs, span.start_ns.abs_diff(expected_ns)), number))
        });
        ranked.min_by_key(|(rank, _)| *rank).map(|(_, number)| number)
    }

    /// The innermost open span of a correlation id that had started by a time; if given, one that started
    /// before the span of this number and is in the same trace as another.
    fn innermost(
        &self,
        correlation: Correlation,
        start_ns: u64,
        before: Option<Number>,
        like: Option<&Open>,
    ) -> Option<(Number, &Open)> {
        self.open.of(correlation).find(|(number, span)| {
            span.start_ns <= start_ns
                && before.is_none_or(|before| *number < before)
                && like.is_none_or(|like| like.context.trace_id == span.context.trace_id)
        })
    }

    /// The id of a span's parent, empty without one, and the span's flags.
    fn parent(&self, span: &Open, number: Option<Number>) -> (Vec<u8>, u32) {
        let around = if span.nests {
            self.innermost(span.correlation, span.start_ns, number, Some(span))
        } else {
            None
        };
        let known = u32::from(span.flags) | SpanFlags::ContextHasIsRemoteMask as u32;
        match (around, span.parent) {
            (Some((_, parent)), _) => (parent.context.span_id.to_vec(), known),
            (None, Some(Parent::Incomplete(parent))) => (parent.to_vec(), known),
            (None, Some(Parent::Remote(parent))) => {
                (parent.to_vec(), known | SpanFlags::ContextIsRemoteMask as u32)
            }
            (None, None) => (Vec::new(), known),
        }
    }
}

/// Whether a start has the same metadata as an end; `None` if they conflict.
fn agrees(span: &Open, end: &Attributes) -> Option<bool> {
    let start = span.attributes.list.get(..span.metadata).unwrap_or_default();
    let mut shared = 0;
    for attribute in start {
        if let Some(other) = end.list.iter().find(|other| other.key == attribute.key) {
            if other.value != attribute.value {
                return None;
            }
            shared += 1;
        }
    }
    Some(shared == start.len() && shared == end.list.len())
}

#[cfg(test)]
mod property;
#[cfg(test)]
mod tests;
