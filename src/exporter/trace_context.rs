//! The trace context in an event's metadata.
//!
//! | key | value |
//! | --- | --- |
//! | `traceparent` | the caller's span: <https://www.w3.org/TR/trace-context/#traceparent-header> |
//! | `tracestate` | the caller's, with a `traceparent` or a `trace_id`: at most 512 bytes and 32 members |
//! | `trace_id` | 32 hexadecimal digits |
//! | `span_id` | 16 hexadecimal digits: the span that the event starts, ends or happens in |
//! | `parent_span_id` | 16 hexadecimal digits: that span's parent |
//!
//! An id of zeros only is invalid. `null` and an empty text mean that there is none.

use super::trace_ids::{SpanId, TraceId, Traceparent, id};
use crate::event::view::View;

/// The longest `tracestate`, in bytes: <https://www.w3.org/TR/trace-context/#tracestate-limits>.
const MAX_STATE_BYTES: usize = 512;

/// The most members of a `tracestate`.
const MAX_STATE_MEMBERS: usize = 32;

/// What the metadata says about the event's span.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TraceContext<'a> {
    /// The caller's span.
    pub traceparent: Option<Traceparent>,
    /// The caller's state.
    pub tracestate: Option<&'a str>,
    /// The trace.
    pub trace_id: Option<TraceId>,
    /// The span.
    pub span_id: Option<SpanId>,
    /// The span's parent.
    pub parent_span_id: Option<SpanId>,
    /// The key of a value that is not valid.
    pub invalid: Option<&'static str>,
}

impl<'a> TraceContext<'a> {
    /// Reads an event's metadata.
    pub fn of(event: &View<'a>) -> Self {
        let mut context = Self::default();
        let mut stated = None;
        for (key, value) in event.metadata() {
            let (name, is_valid) = match *key {
                "traceparent" => ("traceparent", read(&mut context.traceparent, value, Traceparent::parse)),
                "tracestate" => ("tracestate", read(&mut stated, value, tracestate)),
                "trace_id" => ("trace_id", read(&mut context.trace_id, value, id)),
                "span_id" => ("span_id", read(&mut context.span_id, value, id)),
                "parent_span_id" => ("parent_span_id", read(&mut context.parent_span_id, value, id)),
                _ => continue,
            };
            if !is_valid {
                context.invalid = Some(name);
            }
        }
        if context.span_id.is_some() && context.span_id == context.parent_span_id {
            context.parent_span_id = None;
            context.invalid = Some("parent_span_id");
        }
        let has_trace = context.traceparent.is_some()
            || context.trace_id.is_some()
            || Traceparent::parse(event.correlation_id()).is_some();
        Self { tracestate: stated.filter(|_| has_trace), ..context }
    }
}

/// Whether metadata has no value.
pub fn is_none(value: &str) -> bool {
    matches!(value, "" | "null")
}

/// Reads a value; returns whether it is valid or none.
fn read<'a, T>(field: &mut Option<T>, value: &'a str, parse: impl Fn(&'a str) -> Option<T>) -> bool {
    *field = parse(value);
    field.is_some() || is_none(value)
}

/// A valid `tracestate`: <https://www.w3.org/TR/trace-context/#tracestate-header-field-values>.
pub fn tracestate(text: &str) -> Option<&str> {
    let text = text.trim_matches([' ', '\t']);
    if text.is_empty() || text.len() > MAX_STATE_BYTES {
        return None;
    }
    let members = text.split(',').map(|member| member.trim_matches([' ', '\t']));
    let mut keys = Vec::new();
    for member in members.filter(|member| !member.is_empty()) {
        let (key, value) = member.split_once('=')?;
        let is_valid = is_state_key(key) && is_state_value(value) && !keys.contains(&key);
        if !is_valid || keys.len() == MAX_STATE_MEMBERS {
            return None;
        }
        keys.push(key);
    }
    (!keys.is_empty()).then_some(text)
}

/// `vendor` or `tenant@vendor`.
fn is_state_key(key: &str) -> bool {
    let is_part = |part: &str, max_bytes: usize, may_start_with_digit: bool| {
        part.len() <= max_bytes
            && part
                .starts_with(|c: char| c.is_ascii_lowercase() || may_start_with_digit && c.is_ascii_digit())
            && part.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/'))
    };
    match key.split_once('@') {
        Some((tenant, vendor)) => is_part(tenant, 241, true) && is_part(vendor, 14, false),
        None => is_part(key, 256, true),
    }
}

fn is_state_value(value: &str) -> bool {
    (1..=256).contains(&value.len()) && value.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'=')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::proto::bridge::TelemetryEvent;

    const REMOTE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn event(metadata: &[(&str, &str)]) -> TelemetryEvent {
        let metadata = metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        TelemetryEvent { metadata: metadata.collect(), ..TelemetryEvent::default() }
    }

    #[test]
    fn ids_are_read_in_either_case() {
        let event = event(&[
            ("trace_id", "0AF7651916cd43dd8448eb211c80319c"),
            ("span_id", "00000000000000Aa"),
            ("parent_span_id", "b7ad6b7169203331"),
        ]);
        let context = TraceContext::of(&View::from(&event));
        assert_eq!(context.trace_id, Some(0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128.to_be_bytes()));
        assert_eq!(context.span_id, Some(0xaa_u64.to_be_bytes()));
        assert_eq!(context.parent_span_id, Some(0xb7ad_6b71_6920_3331_u64.to_be_bytes()));
        assert_eq!(context.invalid, None);
    }

    #[test]
    fn invalid_values_are_reported_and_not_used() {
        for (key, value) in [
            ("trace_id", "0af7651916cd43dd"),
            ("trace_id", "00000000000000000000000000000000"),
            ("span_id", "7"),
            ("span_id", "0000000000000000"),
            ("parent_span_id", "b7ad6b716920333g"),
            ("traceparent", "00-x-y-01"),
            ("tracestate", "no members"),
        ] {
            let event = event(&[(key, value)]);
            let expected = TraceContext { invalid: Some(key), ..TraceContext::default() };
            assert_eq!(TraceContext::of(&View::from(&event)), expected, "{key}: {value}");
        }
        let itself = event(&[("span_id", "00000000000000aa"), ("parent_span_id", "00000000000000AA")]);
        let context = TraceContext::of(&View::from(&itself));
        assert_eq!((context.parent_span_id, context.invalid), (None, Some("parent_span_id")));
        let none = event(&[("span_id", ""), ("parent_span_id", "null"), ("traceparent", "null")]);
        assert_eq!(TraceContext::of(&View::from(&none)), TraceContext::default());
    }

    #[test]
    fn a_tracestate_needs_a_trace_and_keeps_the_rules_of_w3c() {
        let state = |value: &str| {
            let event = event(&[("traceparent", REMOTE), ("tracestate", value)]);
            TraceContext::of(&View::from(&event)).tracestate.map(str::to_owned)
        };
        let many = |count: usize| (0..count).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",");
        let long = |bytes: usize| format!("a={},b={}", "x".repeat(256), "y".repeat(bytes - 261));
        for value in ["a=1", "rojo=00f067aa0ba902b7, congo=t61rcWkgMzE", "1a@b=x y", "a=1,,b=2", &many(32)] {
            assert_eq!(state(value).as_deref(), Some(value));
        }
        assert_eq!(state(" a=1 ").as_deref(), Some("a=1"));
        assert_eq!(state(&long(512)), Some(long(512)));
        for value in ["", "a", "a=", "A=1", "a=1,a=2", "a=é", "a=b=c", "@a=1", "a@1=1", &many(33), &long(513)]
        {
            assert_eq!(state(value), None, "{value}");
        }
        assert_eq!(TraceContext::of(&View::from(&event(&[("tracestate", "a=1")]))), TraceContext::default());
    }
}
