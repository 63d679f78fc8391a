//! What events' metadata says about a span besides its attributes.

use super::{convert::ERROR_KEYS, proto::trace::v1::span::SpanKind, started::Open};
use crate::{
    event::view::View,
    exporter::trace_context::{TraceContext, is_none},
};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// The key of the span's kind.
const KIND: &str = "span.kind";

/// How many keys are compared to find the start of an end.
const MAX_COMPARED: usize = 128;

/// The span's context and kind.
#[derive(Debug, Clone, Copy, Default)]
pub struct Given<'a> {
    /// The ids.
    pub context: TraceContext<'a>,
    /// The kind.
    pub kind: Option<Kind>,
    /// The key of a value that is not valid.
    pub invalid: Option<&'static str>,
}

impl<'a> Given<'a> {
    /// Reads an event's metadata.
    pub fn of(event: &View<'a>) -> Self {
        let context = TraceContext::of(event);
        let text = event.metadatum(KIND).filter(|text| !is_none(text));
        let kind = text.and_then(kind).map(Kind::Given);
        let invalid = context.invalid.or((text.is_some() && kind.is_none()).then_some(KIND));
        Self { context, kind, invalid }
    }

    /// Whether metadata of the event is in the span's ids, parent, state or kind, or says nothing, so that it
    /// is no attribute.
    pub fn is_in(&self, span: &Open, key: &str, value: &str) -> bool {
        let context = &self.context;
        let parent = span.parent.filter(|_| !span.nests).map(|parent| parent.span_id);
        match key {
            "correlation_id" | "tracestate" => true,
            "traceparent" => {
                let is_same = |trace_id| trace_id == span.context.trace_id;
                context.traceparent.is_some_and(|caller| is_same(caller.parent.trace_id)) || is_none(value)
            }
            "trace_id" => context.trace_id == Some(span.context.trace_id) || is_none(value),
            "span_id" => context.span_id == Some(span.context.span_id) || is_none(value),
            "parent_span_id" => context.parent_span_id.is_some_and(|id| Some(id) == parent) || is_none(value),
            KIND => self.kind.is_some() || is_none(value),
            _ => false,
        }
    }
}

/// A span's kind.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// The worker gave it.
    Given(SpanKind),
    /// The caller is the parent.
    Server,
    /// All others.
    Internal,
}

impl From<Kind> for SpanKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Given(kind) => kind,
            Kind::Server => Self::Server,
            Kind::Internal => Self::Internal,
        }
    }
}

fn kind(text: &str) -> Option<SpanKind> {
    let kinds = [
        ("internal", SpanKind::Internal),
        ("server", SpanKind::Server),
        ("client", SpanKind::Client),
        ("producer", SpanKind::Producer),
        ("consumer", SpanKind::Consumer),
    ];
    kinds.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, kind)| kind)
}

/// Hashes of a key and of its value.
pub type Fingerprint = (u64, u64);

/// Whether metadata belongs to the operation itself. What describes an error or the caller may differ between
/// an operation's start and its end.
fn is_compared(key: &str) -> bool {
    let differs = matches!(key, "traceparent" | "tracestate" | "correlation_id" | KIND);
    !differs && !key.starts_with("error_") && !ERROR_KEYS.contains(&key)
}

/// The metadata that tells operations of one name and correlation id apart, by key.
pub fn fingerprints(event: &View<'_>) -> Vec<Fingerprint> {
    let metadata = event.metadata().iter().filter(|(key, _)| is_compared(key));
    let hashes = metadata.map(|(key, value)| (xxh3_64(key.as_bytes()), xxh3_64(value.as_bytes())));
    let mut hashes: Vec<_> = hashes.collect();
    hashes.sort_unstable();
    hashes.truncate(MAX_COMPARED);
    hashes
}

/// A hash of what an operation does: its name, and the metadata without digits, such as the name of a tool.
/// Values with digits (numbers, ids, times) only tell apart operations that do the same.
pub fn identity(event: &View<'_>) -> u64 {
    let is_name = |key: &str, value: &str| {
        let is_id = matches!(key, "trace_id" | "span_id" | "parent_span_id");
        is_compared(key) && !is_id && !value.bytes().any(|byte| byte.is_ascii_digit())
    };
    let names = event.metadata().iter().filter(|(key, value)| is_name(key, value));
    let hashes = names.map(|(key, value)| xxh3_64_with_seed(value.as_bytes(), xxh3_64(key.as_bytes())));
    // They come in any order.
    hashes.fold(xxh3_64(event.operation().as_bytes()), u64::wrapping_add)
}

/// Whether a start has the same metadata as an end; `None` if they conflict.
pub fn agrees(start: &[Fingerprint], end: &[Fingerprint]) -> Option<bool> {
    let mut shared = 0;
    for (key, value) in end {
        let at = start.binary_search_by_key(key, |(key, _)| *key).ok();
        if let Some((_, other)) = at.and_then(|at| start.get(at)) {
            if other != value {
                return None;
            }
            shared += 1;
        }
    }
    Some(shared == start.len() && shared == end.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::proto::bridge::TelemetryEvent;

    #[test]
    fn operations_do_the_same_if_they_differ_in_numbers_and_ids_only() {
        let identity = |name: &str, metadata: &[(&str, &str)]| {
            let metadata = metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
            let event_parts = name.split('.').map(str::to_owned).collect();
            let event =
                TelemetryEvent { event_parts, metadata: metadata.collect(), ..TelemetryEvent::default() };
            identity(&View::from(&event))
        };
        let load = identity("a.start", &[("tool", "load"), ("model", "m")]);
        assert_eq!(identity("a.stop", &[("model", "m"), ("tool", "load"), ("n", "1")]), load);
        let ids = [("span_id", "null"), ("traceparent", "x"), ("error_type", "E"), ("task", "Task-7")];
        assert_eq!(identity("a.exception", &[&ids[..], &[("tool", "load"), ("model", "m")]].concat()), load);
        for (name, metadata) in [
            ("b.start", &[("tool", "load"), ("model", "m")][..]),
            ("a.start", &[("tool", "save"), ("model", "m")]),
            ("a.start", &[("tool", "m"), ("model", "load")]),
            ("a.start", &[("tool", "load")]),
        ] {
            assert_ne!(identity(name, metadata), load, "{name} {metadata:?}");
        }
    }

    #[test]
    fn kinds_are_read_in_any_case() {
        assert_eq!(kind("server"), Some(SpanKind::Server));
        assert_eq!(kind("Client"), Some(SpanKind::Client));
        assert_eq!(kind("INTERNAL"), Some(SpanKind::Internal));
        assert_eq!(
            (kind("PRODUCER"), kind("consumer")),
            (Some(SpanKind::Producer), Some(SpanKind::Consumer))
        );
        assert_eq!((kind("SPAN_KIND_SERVER"), kind("2")), (None, None));
    }

    #[test]
    fn shared_keys_must_have_equal_values() {
        let start = [(1, 10), (2, 20)];
        assert_eq!(agrees(&start, &start), Some(true));
        assert_eq!(agrees(&start, &[(1, 10)]), Some(false));
        assert_eq!(agrees(&start, &[(1, 10), (2, 20), (3, 30)]), Some(false));
        assert_eq!(agrees(&start, &[(3, 30)]), Some(false));
        assert_eq!(agrees(&start, &[(1, 10), (2, 21)]), None);
        assert_eq!(agrees(&[], &[]), Some(true));
    }
}
