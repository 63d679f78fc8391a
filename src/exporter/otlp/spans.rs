//! Starts and ends of operations become spans.
//!
//! # Which end belongs to which start
//!
//! They have the same operation and correlation id, and do not contradict each other in their metadata (what tells of
//! the error apart). Of several such starts the one with exactly the end's metadata is taken, then the one nearest to
//! the end's time less its duration, or, if there is no duration, the latest.
//!
//! An end without a start is a span of its duration. A start without an end is closed as incomplete: after the timeout,
//! at the worker's end, or as the oldest of too many.
//!
//! # Which span is the parent
//!
//! `traceparent` in the metadata of the start says it. Otherwise it is the innermost span around this one: of the same
//! correlation id and trace, open when this one began and still open when it ends. That is known at the end, while the
//! parent's id is there from its start. A span's trace is known from the start on, so that its children can be told.
//!
//! A span without a start is seen when it ends, after its children. It becomes the parent of those that lie within it,
//! have the parent that it has itself, and still wait to be sent ([`Queue`]): most wait for seconds.

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

/// The attribute of a span whose end was not seen.
pub const INCOMPLETE: &str = "snakepit.incomplete";

/// The trace flag of traces that nobody else has decided upon.
const SAMPLED: u8 = 1;

/// Makes spans of events.
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
    /// None yet. If `flat`, only `traceparent` says who is whose parent.
    pub fn new(flat: bool, timeout: Duration) -> Self {
        let open = OpenSpans::default();
        Self { open, flat, timeout, random: Random::default(), last_ns: 0, incomplete: 0 }
    }

    /// Takes an event, queues the span that it finishes, and tells which span the event belongs to, if to any.
    pub fn take(&mut self, event: &Event, now: Instant, queue: &mut Queue) -> Option<Context> {
        self.last_ns = time_ns(event);
        match event.phase() {
            Phase::Start => Some(self.start(event, now, queue)),
            Phase::Stop | Phase::Exception => Some(self.end(event, queue)),
            Phase::Point => self.point(event),
        }
    }

    /// Closes those that have been open for longer than the timeout.
    pub fn expire(&mut self, now: Instant, queue: &mut Queue) {
        while let Some((number, span)) = self.open.oldest() {
            if now.saturating_duration_since(span.seen) < self.timeout {
                return;
            }
            self.give_up(number, now, queue);
        }
    }

    /// Closes all: nothing more will come.
    pub fn close(&mut self, now: Instant, queue: &mut Queue) {
        while let Some((number, _)) = self.open.oldest() {
            self.give_up(number, now, queue);
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
            self.give_up(number, now, queue);
        }
        context
    }

    /// A span that begins at a time, without what its start said.
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
        let told = |key: &str| failed && ERROR_KEYS.contains(&key);
        open.attributes.add_metadata(event, told);
        open.attributes.add_measurements(event);
        let status = failed.then(|| describe_error(event, end_ns, &mut open));
        let context = open.context;
        // What a clock or a pipe has made shorter than the worker has measured is as long as measured.
        open.start_ns = open.start_ns.min(expected_ns);
        let adoptable = open.nests;
        let span = Span { parent_span_id: parent, flags, status, ..finish(open, end_ns) };
        if adoptable && !started {
            queue.adopt(&span);
        }
        queue.push(Finished { span, adoptable });
        context
    }

    /// Closes a span whose end has not come.
    fn give_up(&mut self, number: Number, now: Instant, queue: &mut Queue) {
        let Some(mut open) = self.open.give_up(number) else { return };
        self.incomplete += 1;
        let (parent, flags) = self.parent(&open, Some(number));
        open.attributes.set(INCOMPLETE, Value::BoolValue(true));
        // It was open for so long, and at the last event. The second counts in a replay.
        let waited = now.saturating_duration_since(open.seen).as_nanos();
        let waited_ns = u64::try_from(waited).unwrap_or(u64::MAX);
        let end_ns = open.start_ns.saturating_add(waited_ns).max(self.last_ns);
        let adoptable = open.nests;
        let span = Span { parent_span_id: parent, flags, ..finish(open, end_ns) };
        queue.push(Finished { span, adoptable });
    }

    /// An event by itself happened in the innermost span of its correlation id, if one is open.
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

    /// The innermost of the open spans of a correlation id that began by a time, before a span of this number and in a
    /// trace, if that matters.
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

    /// The id of a span's parent, nothing if it has none, and the span's flags.
    fn parent(&self, span: &Open, number: Option<Number>) -> (Vec<u8>, u32) {
        let around = if span.nests {
            self.innermost(span.correlation, span.start_ns, number, Some(span))
        } else {
            None
        };
        let known = u32::from(span.flags) | SpanFlags::ContextHasIsRemoteMask as u32;
        match (around, span.parent) {
            (Some((_, parent)), _) => (parent.context.span_id.to_vec(), known),
            (None, Some(Parent::GivenUp(parent))) => (parent.to_vec(), known),
            (None, Some(Parent::Remote(parent))) => {
                (parent.to_vec(), known | SpanFlags::ContextIsRemoteMask as u32)
            }
            (None, None) => (Vec::new(), known),
        }
    }
}

/// Whether a start has the same metadata as an end; none if they contradict each other.
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
