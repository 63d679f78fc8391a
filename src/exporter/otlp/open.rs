//! Spans that have begun and not ended, by age and by correlation id.
//!
//! Memory is bounded: so many spans, so many bytes. No trace is remembered that has no open span.

use super::attributes::Attributes;
use super::proto::trace::v1::span;
use crate::exporter::trace_ids::{Context, SpanId};
use prost::Message as _;
use std::{
    collections::{BTreeMap, HashMap},
    time::Instant,
};
use xxhash_rust::xxh3::xxh3_128;

/// How many spans may be open: more than a worker does at a time, so those beyond were forgotten by it.
pub const MAX_OPEN: usize = 10_000;

/// How much open spans may be, in bytes.
pub const MAX_OPEN_BYTES: usize = 8 * 1024 * 1024;

/// How many events a span may have, besides the exception that ends it: the specification's default,
/// <https://opentelemetry.io/docs/specs/otel/trace/sdk/#span-limits>.
const MAX_EVENTS: usize = 128;

/// How much all events of a span may be, in bytes.
const MAX_EVENTS_BYTES: usize = 256 * 1024;

/// How many open spans of one correlation id are looked at. Only a worker that does not end its spans has more of them,
/// and it must not make every other event slow.
const MAX_LOOKED_AT: usize = 1000;

/// A span's number: those that began later have higher ones.
pub type Number = u64;

/// A correlation id in short, or none. A hash of 128 bits stands for it, however long it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Correlation(Option<u128>);

impl Correlation {
    /// Of an id; an empty one is none.
    pub fn new(id: &str) -> Self {
        Self((!id.is_empty()).then(|| xxh3_128(id.as_bytes())))
    }

    /// Whether there is no id, so that nothing is known to belong together.
    pub fn is_none(self) -> bool {
        self.0.is_none()
    }
}

/// A parent that is not open here.
#[derive(Debug, Clone, Copy)]
pub enum Parent {
    /// The caller's span, which the worker has named.
    Remote(SpanId),
    /// One whose end was not seen.
    GivenUp(SpanId),
}

/// An open span.
#[derive(Debug)]
pub struct Open {
    /// What it is of.
    pub operation: Box<str>,
    /// Whose it is.
    pub correlation: Correlation,
    /// Its own ids.
    pub context: Context,
    /// Its parent, unless it has an open one when it ends.
    pub parent: Option<Parent>,
    /// Trace flags.
    pub flags: u8,
    /// Whether the span around it may be its parent.
    pub nests: bool,
    /// When it began, by the worker's clock: nanoseconds since the Unix epoch.
    pub start_ns: u64,
    /// When the sidecar saw it begin.
    pub seen: Instant,
    /// What its start said.
    pub attributes: Attributes,
    /// How many of the attributes are metadata: the first ones.
    pub metadata: usize,
    /// What happened in it.
    pub events: Events,
}

impl Open {
    fn memory(&self) -> usize {
        size_of::<Self>() + self.operation.len() + self.attributes.memory() + self.events.bytes
    }
}

/// What happened in a span.
#[derive(Debug, Default)]
pub struct Events {
    /// In the order in which it came.
    pub list: Vec<span::Event>,
    /// How many were left out.
    pub dropped: u32,
    bytes: usize,
}

impl Events {
    /// Adds one if there is room.
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

    /// Takes a span out whose end was not seen. As far as is known it is still around those that began in it.
    pub fn give_up(&mut self, number: Number) -> Option<Open> {
        let span = self.remove(number)?;
        let numbers = self.by_correlation.get(&span.correlation).map(Vec::as_slice).unwrap_or_default();
        let inner = numbers.iter().rev().take_while(|other| **other > number).take(MAX_LOOKED_AT);
        for number in inner {
            if let Some(inner) = self.spans.get_mut(number)
                && inner.nests
                && inner.context.trace_id == span.context.trace_id
                && inner.start_ns >= span.start_ns
            {
                inner.parent = Some(Parent::GivenUp(span.context.span_id));
            }
        }
        Some(span)
    }

    /// Takes a span out.
    pub fn remove(&mut self, number: Number) -> Option<Open> {
        let span = self.spans.remove(&number)?;
        self.bytes -= span.memory();
        if let Some(numbers) = self.by_correlation.get_mut(&span.correlation) {
            // Most often it is the last one.
            if let Some(at) = numbers.iter().rposition(|other| *other == number) {
                numbers.remove(at);
            }
            if numbers.is_empty() {
                self.by_correlation.remove(&span.correlation);
            }
        }
        // Maps do not shrink by themselves, and there may have been very many at a time.
        if self.by_correlation.capacity() > 64 + 8 * self.by_correlation.len() {
            self.by_correlation.shrink_to(2 * self.by_correlation.len());
        }
        Some(span)
    }

    /// The open spans of a correlation id, the youngest first.
    pub fn of(&self, correlation: Correlation) -> impl Iterator<Item = (Number, &Open)> {
        let numbers = self.by_correlation.get(&correlation).map(Vec::as_slice).unwrap_or_default();
        let youngest = numbers.iter().rev().take(MAX_LOOKED_AT);
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

    /// Whether there are more than there may be.
    pub fn overfull(&self) -> bool {
        self.spans.len() > MAX_OPEN || self.bytes > MAX_OPEN_BYTES
    }

    /// How many there are, and how much in bytes.
    pub fn size(&self) -> (usize, usize) {
        (self.spans.len(), self.bytes)
    }
}
