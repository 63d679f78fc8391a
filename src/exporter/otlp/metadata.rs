//! What events' metadata says about a span besides its attributes.

use super::{convert::ERROR_KEYS, open::Open, proto::trace::v1::span::SpanKind};
use crate::exporter::{
    event::Event,
    trace_context::{TraceContext, is_none},
};
use xxhash_rust::xxh3::xxh3_64;

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
    pub fn of(event: &'a Event) -> Self {
        let context = TraceContext::of(event);
        let text = event.event.metadata.get(KIND).filter(|text| !is_none(text));
        let kind = text.and_then(|text| kind(text)).map(Kind::Given);
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
            "traceparent" => context.traceparent.is_some() || is_none(value),
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

/// The metadata that tells operations of one name and correlation id apart, by key. What describes an error
/// or the caller may differ between an operation's start and its end.
pub fn fingerprints(event: &Event) -> Vec<Fingerprint> {
    let is_compared = |key: &str| {
        let differs = matches!(key, "traceparent" | "tracestate" | "correlation_id" | KIND);
        !differs && !key.starts_with("error_") && !ERROR_KEYS.contains(&key)
    };
    let metadata = event.event.metadata.iter().filter(|(key, _)| is_compared(key));
    let hashes = metadata.map(|(key, value)| (xxh3_64(key.as_bytes()), xxh3_64(value.as_bytes())));
    let mut hashes: Vec<_> = hashes.collect();
    hashes.sort_unstable();
    hashes.truncate(MAX_COMPARED);
    hashes
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
