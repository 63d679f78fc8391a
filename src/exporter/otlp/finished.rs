//! Finished spans, encoded.

use super::{
    attributes::Attributes,
    proto::trace::v1::{span::SpanKind, status::StatusCode},
    started::Events,
    waiting::Head,
    wire,
};
use crate::exporter::trace_ids::{Context, SpanId};

/// The fields of `Span`; attributes and events have theirs already.
const TRACE_ID: u8 = 1;
const SPAN_ID: u8 = 2;
const TRACE_STATE: u8 = 3;
const PARENT_SPAN_ID: u8 = 4;
const NAME: u8 = 5;
const KIND: u8 = 6;
const START: u8 = 7;
const END: u8 = 8;
const DROPPED_ATTRIBUTES: u8 = 10;
const DROPPED_EVENTS: u8 = 12;
const STATUS: u8 = 15;
const FLAGS: u8 = 16;

/// The fields of `Status`.
const MESSAGE: u8 = 2;
const CODE: u8 = 3;

/// What the body has at most besides texts, attributes and events: tags, lengths and counts.
const OVERHEAD_BYTES: usize = 48;

/// A finished span without its [`Body`]: the fields that may still change, and what a change depends on.
#[derive(Debug, Clone, Copy)]
pub struct Finished {
    /// The ids of the trace and the span.
    pub context: Context,
    /// The parent.
    pub parent: Option<SpanId>,
    /// The flags of the protocol.
    pub flags: u32,
    /// The kind.
    pub kind: SpanKind,
    /// The start, in nanoseconds since the Unix epoch.
    pub start_ns: u64,
    /// The end, not before the start.
    pub end_ns: u64,
    /// Whether an enclosing span may still become its parent.
    pub adoptable: bool,
    /// Whether the worker gave the kind.
    pub has_given_kind: bool,
    /// What the operation does: see [`identity`](super::metadata::identity).
    pub identity: u64,
}

impl Head for Finished {
    fn count(&self) -> u64 {
        1
    }

    fn write(&self, buffer: &mut Vec<u8>) {
        wire::bytes(buffer, TRACE_ID, &self.context.trace_id);
        wire::bytes(buffer, SPAN_ID, &self.context.span_id);
        if let Some(parent) = &self.parent {
            wire::bytes(buffer, PARENT_SPAN_ID, parent);
        }
        wire::count(buffer, KIND, self.kind as u32);
        wire::time(buffer, START, self.start_ns);
        wire::time(buffer, END, self.end_ns);
        wire::flags(buffer, FLAGS, self.flags);
    }
}

/// The fields of a finished span that do not change.
#[derive(Debug, Clone, Copy)]
pub struct Body<'a> {
    /// The operation.
    pub name: &'a str,
    /// The state of the caller's tracing system.
    pub trace_state: Option<&'a str>,
    /// The attributes.
    pub attributes: &'a Attributes,
    /// The events.
    pub events: &'a Events,
    /// The message of the status of a span that has failed.
    pub error: Option<&'a str>,
}

impl Body<'_> {
    /// At least the number of bytes that [`write`](Self::write) appends.
    pub fn max_bytes(&self) -> usize {
        OVERHEAD_BYTES
            + self.name.len()
            + self.trace_state.map_or(0, str::len)
            + self.attributes.encoded().len()
            + self.events.encoded().len()
            + self.error.map_or(0, str::len)
    }

    /// Appends it.
    pub fn write(&self, buffer: &mut Vec<u8>) {
        wire::text(buffer, TRACE_STATE, self.trace_state.unwrap_or_default());
        wire::text(buffer, NAME, self.name);
        buffer.extend_from_slice(self.attributes.encoded());
        wire::count(buffer, DROPPED_ATTRIBUTES, self.attributes.dropped());
        buffer.extend_from_slice(self.events.encoded());
        wire::count(buffer, DROPPED_EVENTS, self.events.dropped);
        if let Some(message) = self.error {
            let message_bytes = if message.is_empty() { 0 } else { wire::field_bytes(message.len()) };
            wire::length(buffer, STATUS, message_bytes + 2);
            wire::text(buffer, MESSAGE, message);
            wire::count(buffer, CODE, StatusCode::Error as u32);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exporter::otlp::{
        attributes::Owner,
        proto::trace::v1::{Span, Status, span::Event},
    };
    use proptest::{collection::vec, option, prelude::*, test_runner::Config};
    use prost::Message as _;

    /// Attributes with these names.
    fn named(owner: Owner, names: &[String]) -> Attributes {
        let mut attributes = Attributes::new(owner);
        for name in names {
            attributes.text(name, "x");
        }
        attributes
    }

    proptest! {
        #![proptest_config(Config { failure_persistence: None, cases: 48, ..Config::default() })]

        #[test]
        fn a_receiver_decodes_what_the_span_has(
            (ids, parent) in (any::<([u8; 16], [u8; 8])>(), any::<Option<[u8; 8]>>()),
            (flags, kind) in (any::<u32>(), 0..6),
            (start_ns, end_ns) in (any::<u64>(), prop_oneof![Just(0), any::<u64>()]),
            (name, trace_state) in (".{0,200}", option::of("[a-z]{0,20}")),
            names in vec("[a-z]{0,3}", 0..200),
            events in vec((any::<u64>(), ".{0,9}", vec("[a-z]{0,3}", 0..3)), 0..140),
            error in option::of(".{0,300}"),
        ) {
            let kind = SpanKind::try_from(kind).unwrap();
            let context = Context { trace_id: ids.0, span_id: ids.1 };
            let head = Finished {
                context,
                parent,
                flags,
                kind,
                start_ns,
                end_ns,
                adoptable: true,
                has_given_kind: true,
                identity: 0,
            };
            let attributes = named(Owner::Span, &names);
            let mut sent = Events::default();
            let mut expected = Vec::new();
            for (at, name, names) in &events {
                let attributes = named(Owner::Event, names);
                sent.push(name, *at, &attributes);
                expected.push(Event {
                    time_unix_nano: *at,
                    name: crate::exporter::event::cut(name, 256).to_owned(),
                    attributes: attributes.decoded(),
                    dropped_attributes_count: attributes.dropped(),
                });
            }
            let dropped_events = expected.split_off(expected.len().min(128)).len();
            let body = Body {
                name: &name,
                trace_state: trace_state.as_deref(),
                attributes: &attributes,
                events: &sent,
                error: error.as_deref(),
            };
            let mut encoded = Vec::new();
            body.write(&mut encoded);
            prop_assert!(encoded.len() <= body.max_bytes());
            head.write(&mut encoded);
            let expected = Span {
                trace_id: ids.0.to_vec(),
                span_id: ids.1.to_vec(),
                trace_state: trace_state.clone().unwrap_or_default(),
                parent_span_id: parent.map(|id| id.to_vec()).unwrap_or_default(),
                flags,
                name: name.clone(),
                kind: kind.into(),
                start_time_unix_nano: start_ns,
                end_time_unix_nano: end_ns,
                attributes: attributes.decoded(),
                dropped_attributes_count: attributes.dropped(),
                dropped_events_count: u32::try_from(dropped_events).unwrap(),
                events: expected,
                status: error.clone().map(|message| Status { message, code: StatusCode::Error.into() }),
                ..Span::default()
            };
            prop_assert_eq!(Span::decode(&encoded[..]).unwrap(), expected);
        }
    }
}
