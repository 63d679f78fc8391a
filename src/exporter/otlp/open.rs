//! Spans that have started and not ended, by age and by correlation id.
//!
//! Memory is bounded by a number of spans and of bytes. Nothing is kept of a trace without open spans.

use super::attributes::Attributes;
use super::proto::trace::v1::span;
use crate::exporter::trace_ids::{Context, SpanId};
use prost::Message as _;
use std::{
    collections::{BTreeMap, HashMap},
    time::Instant,
};
use xxhash_rust::xxh3::xxh3_128;

/// The most open spans: more than a worker runs at a time, so the oldest ones beyond were probably never
/// ended.
pub const MAX_OPEN: usize = 10_000;

/// The largest size of all open spans, in bytes.
pub const MAX_OPEN_BYTES: usize = 8 * 1024 * 1024;

/// The most events of a span, not counting the exception that ends it: the specification's default,
/// <https://opentelemetry.io/docs/specs/otel/trace/sdk/#span-limits>.
const MAX_EVENTS: usize = 128;

/// The largest size of all events of a span, in bytes.
const MAX_EVENTS_BYTES: usize = 256 * 1024;

/// How many open spans of one correlation id are searched. Only a worker that does not end its spans has more
/// of them, and they must not make the handling of every event slow.
const MAX_SEARCHED: usize = 1000;

/// A span's number: spans that started later have higher ones.
pub type Number = u64;

/// A 128-bit hash of a correlation id, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Correlation(Option<u128>);

impl Correlation {
    /// Hashes an id; an empty one is none.
    pub fn new(id: &str) -> Self {
        Self((!id.is_empty()).then(|| xxh3_128(id.as_bytes())))
    }

    /// Whether there is no id, so that events cannot be related.
    pub fn is_none(self) -> bool {
        self.0.is_none()
    }
}

/// A parent that is not an open span.
#[derive(Debug, Clone, Copy)]
pub enum Parent {
    /// The caller's span, from a `traceparent`.
    Remote(SpanId),
    /// A span that was closed without an end.
    Incomplete(SpanId),
}

/// An open span.
#[derive(Debug)]
pub struct Open {
    /// The operation.
    pub operation: Box<str>,
    /// The correlation id.
    pub correlation: Correlation,
    /// The ids of the trace and the span.
    pub context: Context,
    /// The parent, unless another span is the parent when it ends.
    pub parent: Option<Parent>,
    /// The trace flags.
    pub flags: u8,
    /// Whether an enclosing span may be its parent.
    pub nests: bool,
    /// The start by the worker's clock, in nanoseconds since the Unix epoch.
    pub start_ns: u64,
    /// When the sidecar read the start event.
    pub seen: Instant,
    /// The attributes of the start event.
    pub attributes: Attributes,
    /// How many of the attributes are metadata: the first ones.
    pub metadata: usize,
    /// The span's events.
    pub events: Events,
}

impl Open {
    fn memory(&self) -> usize {
        size_of::<Self>() + self.operation.len() + self.attributes.memory() + self.events.bytes
    }
}

/// The events of a span.
#[derive(Debug, Default)]
pub struct Events {
    /// In the order in which they were read.
    pub list: Vec<span::Event>,
    /// How many were dropped.
    pub dropped: u32,
    bytes: usize,
}

impl Events {
    /// Adds an event if there is room.
    pub fn push(&mut self, event: span::Event) {
        let size = event.encoded_len() + size_of::<span::Event>();
        if self.list.len() < MAX_EVENTS && self.bytes + size <= MAX_EVENTS_BYTES {
            self.bytes += size;
            self.list.push(event);
        } else {
            self.dropped += 1;
        }
    }
}

/// All open spans.
#[derive(Debug, Default)]
pub struct OpenSpans {
    spans: BTreeMap<Number, Open>,
    by_correlation: HashMap<Correlation, Vec<Number>>,
    next: Number,
    bytes: usize,
}

impl OpenSpans {
    /// Adds a span.
    pub fn insert(&mut self, span: Open) {
        self.bytes += span.memory();
        self.by_correlation.entry(span.correlation).or_default().push(self.next);
        self.spans.insert(self.next, span);
        self.next += 1;
    }

    /// Removes a span without an end. It stays the parent of the spans that started within it.
    pub fn close_incomplete(&mut self, number: Number) -> Option<Open> {
        let span = self.remove(number)?;
        let numbers = self.by_correlation.get(&span.correlation).map(Vec::as_slice).unwrap_or_default();
        let inner = numbers.iter().rev().take_while(|other| **other > number).take(MAX_SEARCHED);
        for number in inner {
            if let Some(inner) = self.spans.get_mut(number)
                && inner.nests
                && inner.context.trace_id == span.context.trace_id
                && inner.start_ns >= span.start_ns
            {
                inner.parent = Some(Parent::Incomplete(span.context.span_id));
            }
        }
        Some(span)
    }

    /// Removes a span.
    pub fn remove(&mut self, number: Number) -> Option<Open> {
        let span = self.spans.remove(&number)?;
        self.bytes -= span.memory();
        if let Some(numbers) = self.by_correlation.get_mut(&span.correlation) {
            // It is usually the last one.
            if let Some(at) = numbers.iter().rposition(|other| *other == number) {
                numbers.remove(at);
            }
            if numbers.is_empty() {
                self.by_correlation.remove(&span.correlation);
            }
        }
        // A map does not shrink by itself, and there may have been very many entries.
        if self.by_correlation.capacity() > 64 + 8 * self.by_correlation.len() {
            self.by_correlation.shrink_to(2 * self.by_correlation.len());
        }
        Some(span)
    }

    /// The open spans of a correlation id, the latest first.
    pub fn of(&self, correlation: Correlation) -> impl Iterator<Item = (Number, &Open)> {
        let numbers = self.by_correlation.get(&correlation).map(Vec::as_slice).unwrap_or_default();
        let youngest = numbers.iter().rev().take(MAX_SEARCHED);
        youngest.filter_map(|number| Some((*number, self.spans.get(number)?)))
    }

    /// Adds an event to a span.
    pub fn add_event(&mut self, number: Number, event: span::Event) {
        if let Some(span) = self.spans.get_mut(&number) {
            self.bytes -= span.memory();
            span.events.push(event);
            self.bytes += span.memory();
        }
    }

    /// The oldest span.
    pub fn oldest(&self) -> Option<(Number, &Open)> {
        self.spans.first_key_value().map(|(number, span)| (*number, span))
    }

    /// Whether a limit is exceeded.
    pub fn overfull(&self) -> bool {
        self.spans.len() > MAX_OPEN || self.bytes > MAX_OPEN_BYTES
    }

    /// The number of spans, and their size in bytes.
    pub fn size(&self) -> (usize, usize) {
        (self.spans.len(), self.bytes)
    }
}
