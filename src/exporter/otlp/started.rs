//! What is known of a span that has started.

use super::{
    attributes::{Attributes, MAX_NAME_BYTES},
    group::Overlaps,
    metadata::{Fingerprint, Kind},
    wire,
};
use crate::exporter::{
    event::cut,
    trace_ids::{Context, SpanId},
};
use prost::encoding::encoded_len_varint;
use std::{sync::Arc, time::Instant};
use xxhash_rust::xxh3::xxh3_128;

/// The most events of a span, not counting the exception that ends it: the specification's default,
/// <https://opentelemetry.io/docs/specs/otel/trace/sdk/#span-limits>.
const MAX_EVENTS: usize = 128;

/// The largest size of all events of a span, in bytes.
const MAX_EVENTS_BYTES: usize = 256 * 1024;

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
pub struct Parent {
    /// Its id.
    pub span_id: SpanId,
    /// Whether another process has it, if that is known.
    pub is_remote: Option<bool>,
}

/// An open span.
#[derive(Debug)]
pub struct Open {
    /// The operation.
    pub operation: Box<str>,
    /// What the operation does: see [`identity`](super::metadata::identity).
    pub identity: u64,
    /// The correlation id.
    pub correlation: Correlation,
    /// The ids of the trace and the span.
    pub context: Context,
    /// Whether the worker gave the span's id.
    pub has_given_id: bool,
    /// The parent, unless the enclosing span is.
    pub parent: Option<Parent>,
    /// Whether the enclosing span is its parent. Otherwise the worker or the options say what is.
    pub nests: bool,
    /// The enclosing span, as far as is known.
    pub around: Option<Number>,
    /// Whether a span that enclosed it has ended: another one may be the innermost now.
    pub outlived_one: bool,
    /// How many spans name it as their parent, or were sent and are within it.
    pub children: u32,
    /// Operations that ended in the meantime and had started before.
    pub overlaps: Overlaps,
    /// The trace flags.
    pub flags: u8,
    /// The state of the caller's tracing system.
    pub trace_state: Option<Arc<str>>,
    /// The kind.
    pub kind: Kind,
    /// The start by the worker's clock, in nanoseconds since the Unix epoch.
    pub start_ns: u64,
    /// When the sidecar read the start event.
    pub seen: Instant,
    /// The metadata of the start event, to find the end.
    pub metadata: Box<[Fingerprint]>,
    /// The attributes of the start event.
    pub attributes: Attributes,
    /// The span's events.
    pub events: Events,
}

impl Open {
    /// The approximate size in memory, in bytes.
    pub fn memory(&self) -> usize {
        size_of::<Self>()
            + self.operation.len()
            + self.trace_state.as_deref().map_or(0, str::len)
            + size_of_val(&*self.metadata)
            + self.attributes.memory()
            + self.events.encoded.capacity()
    }
}

/// The field of events in a span.
const EVENTS: u8 = 11;

/// The fields of an event; attributes have theirs already.
const TIME: u8 = 1;
const NAME: u8 = 2;
const DROPPED_ATTRIBUTES: u8 = 4;

/// The events of a span, encoded as its fields, in the order in which they were read.
#[derive(Debug, Default)]
pub struct Events {
    encoded: Vec<u8>,
    count: usize,
    /// How many were dropped.
    pub dropped: u32,
}

impl Events {
    /// Adds an event if there is room.
    pub fn push(&mut self, name: &str, time_ns: u64, attributes: &Attributes) {
        let before = self.encoded.len();
        self.push_last(name, time_ns, attributes);
        if self.count > MAX_EVENTS || self.encoded.len() > MAX_EVENTS_BYTES {
            self.encoded.truncate(before);
            self.count -= 1;
            self.dropped += 1;
        }
    }

    /// Adds an event regardless of the limits.
    pub fn push_last(&mut self, name: &str, time_ns: u64, attributes: &Attributes) {
        let name = cut(name, MAX_NAME_BYTES);
        let time_bytes = if time_ns == 0 { 0 } else { 1 + size_of_val(&time_ns) };
        let name_bytes = if name.is_empty() { 0 } else { wire::field_bytes(name.len()) };
        let dropped = attributes.dropped();
        let dropped_bytes = if dropped == 0 { 0 } else { 1 + encoded_len_varint(dropped.into()) };
        let buffer = &mut self.encoded;
        let attributes = attributes.encoded();
        wire::length(buffer, EVENTS, time_bytes + name_bytes + attributes.len() + dropped_bytes);
        wire::time(buffer, TIME, time_ns);
        wire::text(buffer, NAME, name);
        buffer.extend_from_slice(attributes);
        wire::count(buffer, DROPPED_ATTRIBUTES, dropped);
        self.count += 1;
    }

    /// All of them, as fields of a span.
    pub fn encoded(&self) -> &[u8] {
        &self.encoded
    }
}
