//! Trace ids, span ids and correlation ids that a line states.
//!
//! | | |
//! | --- | --- |
//! | `traceparent` | W3C's, as the value of a key of that name |
//! | `trace_id`, `traceId`, `trace.id`, `otelTraceID`, `dd.trace_id` | 32 hexadecimal digits |
//! | `span_id`, `spanId`, `span.id`, `otelSpanID`, `dd.span_id` | 16 hexadecimal digits |
//! | `trace_flags`, `trace_sampled`, `otelTraceSampled` | 2 hexadecimal digits, or `True` or `False` |
//! | `correlation_id`, `correlationId` | any word |
//! | `[…,TRACE_ID,SPAN_ID]`, `[TRACE_ID-SPAN_ID]` | as Spring Boot has them |
//!
//! Ids that are not valid for W3C (decimal ones, all zeros) do not count.

use super::LineContext;
use crate::exporter::trace_ids::{SAMPLED, SpanId, TraceId, Traceparent, id};
use memchr::{memchr_iter, memchr2_iter};

/// The longest correlation id that is used, in bytes.
const MAX_CORRELATION_ID_BYTES: usize = 256;

/// The most bytes of a line that are searched for keys.
const MAX_SEARCHED_BYTES: usize = 4096;

/// The longest key, in bytes.
const MAX_KEY_BYTES: usize = 24;

/// The length of `TRACE_ID-SPAN_ID`.
const PAIR_BYTES: usize = 49;

/// The ids found in a line. The first valid one of each counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ids {
    parent: Option<Traceparent>,
    trace_id: Option<TraceId>,
    span_id: Option<SpanId>,
    flags: Option<u8>,
    pub(super) correlation_id: Option<String>,
}

impl Ids {
    /// Finds keys with values in a text, as `key=value`, `key: value` and `"key": "value"`.
    pub(super) fn find(text: &str) -> Self {
        let mut ids = Self::default();
        let bytes = text.as_bytes();
        let searched = bytes.get(..MAX_SEARCHED_BYTES).unwrap_or(bytes);
        for at in memchr2_iter(b'=', b':', searched) {
            let before = bytes.get(..at).unwrap_or_default();
            // All keys end with one of these letters. A quote may follow.
            if let Some(b'd' | b'D' | b't' | b's' | b'"' | b'\'' | b' ') = before.last() {
                ids.add(key_at_end(before), value_at_start(bytes.get(at + 1..).unwrap_or_default()));
            }
        }
        for end in memchr_iter(b']', searched) {
            ids.add_pair(bytes.get(..end).unwrap_or_default());
        }
        ids
    }

    /// Adds the value of a key; whether it is one of the ids above, with a valid value.
    pub(super) fn add(&mut self, key: &str, value: &str) -> bool {
        let mut buffer = [0; MAX_KEY_BYTES];
        let mut length = 0;
        for byte in key.bytes().filter(|byte| !matches!(byte, b'_' | b'-' | b'.')) {
            let Some(place) = buffer.get_mut(length) else { return false };
            *place = byte.to_ascii_lowercase();
            length += 1;
        }
        match buffer.get(..length).unwrap_or_default() {
            b"traceparent" => set(&mut self.parent, Traceparent::parse(value)),
            b"traceid" | b"oteltraceid" | b"ddtraceid" => set(&mut self.trace_id, id(value)),
            b"spanid" | b"otelspanid" | b"ddspanid" => set(&mut self.span_id, id(value)),
            b"traceflags" | b"oteltraceflags" => set(&mut self.flags, flags(value)),
            b"tracesampled" | b"oteltracesampled" => set(&mut self.flags, sampled(value)),
            b"correlationid" => set(&mut self.correlation_id, correlation_id(value)),
            _ => false,
        }
    }

    /// The span that the ids name.
    pub(super) fn context(&self) -> Option<LineContext> {
        let parent = self.parent.map(|traceparent| traceparent.parent);
        let (trace_id, span_id) = match self.trace_id {
            Some(trace_id) => (trace_id, self.span_id),
            None => (parent?.trace_id, self.span_id.or(parent.map(|parent| parent.span_id))),
        };
        let flags = self.flags.or(self.parent.map(|parent| parent.flags)).unwrap_or_default();
        Some(LineContext { trace_id, span_id, flags })
    }

    /// `TRACE_ID-SPAN_ID` or `TRACE_ID,SPAN_ID` at the end of a text, as a word of its own.
    fn add_pair(&mut self, text: &[u8]) {
        let Some((before, pair)) =
            text.len().checked_sub(PAIR_BYTES).and_then(|at| text.split_at_checked(at))
        else {
            return;
        };
        let is_word = before.last().is_some_and(|byte| matches!(byte, b'[' | b',' | b' '));
        let Some((trace_id, [b'-' | b',', span_id @ ..])) = pair.split_at_checked(32) else { return };
        let text = |digits| std::str::from_utf8(digits).unwrap_or_default();
        if is_word && let (Some(trace_id), Some(span_id)) = (id(text(trace_id)), id(text(span_id))) {
            self.trace_id.get_or_insert(trace_id);
            self.span_id.get_or_insert(span_id);
        }
    }
}

/// Sets a field that is not set; whether the value is valid.
fn set<T>(field: &mut Option<T>, value: Option<T>) -> bool {
    let is_valid = value.is_some();
    if field.is_none() {
        *field = value;
    }
    is_valid
}

fn flags(value: &str) -> Option<u8> {
    if value.len() == 2 { u8::from_str_radix(value, 16).ok() } else { None }
}

fn sampled(value: &str) -> Option<u8> {
    match value {
        "True" | "true" | "1" => Some(SAMPLED),
        "False" | "false" | "0" => Some(0),
        _ => None,
    }
}

fn correlation_id(value: &str) -> Option<String> {
    let is_none = matches!(value, "" | "-" | "null" | "None" | "nil" | "undefined");
    (!is_none && value.len() <= MAX_CORRELATION_ID_BYTES).then(|| value.to_owned())
}

/// The key at the end of a text, without quotes and spaces; empty if there is none.
fn key_at_end(text: &[u8]) -> &str {
    let start = text.len().saturating_sub(MAX_KEY_BYTES + 3);
    let text = text.get(start..).unwrap_or_default().trim_ascii_end();
    let text = text.strip_suffix(b"\"").or_else(|| text.strip_suffix(b"'")).unwrap_or(text);
    let is_key = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let start = text.iter().rposition(|byte| !is_key(byte)).map_or(0, |at| at + 1);
    std::str::from_utf8(text.get(start..).unwrap_or_default()).unwrap_or_default()
}

/// The value at the start of a text, without quotes.
fn value_at_start(text: &[u8]) -> &str {
    // With a byte more than a valid one has.
    let text = text.get(..MAX_CORRELATION_ID_BYTES + 4).unwrap_or(text);
    let start = text.iter().position(|byte| !matches!(byte, b' ' | b'"' | b'\'')).unwrap_or(text.len());
    let value = text.get(start..).unwrap_or_default();
    let is_end = |byte: &u8| byte.is_ascii_whitespace() || b"\"',;])}|".contains(byte);
    let end = value.iter().position(is_end).unwrap_or(value.len());
    std::str::from_utf8(value.get(..end).unwrap_or_default()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    #[test]
    fn ids_are_found_in_the_notations_of_libraries() {
        let (trace_id, span_id) = (id(TRACE).unwrap(), id(SPAN));
        for (text, span_id, flags) in [
            (format!("x traceparent=00-{TRACE}-{SPAN}-01 y"), span_id, 1),
            (format!("x traceparent: 00-{TRACE}-{SPAN}-00"), span_id, 0),
            (format!("INFO [a.py:1] [trace_id={TRACE} span_id={SPAN} trace_sampled=True] - x"), span_id, 1),
            (format!("x trace_id={TRACE}"), None, 0),
            (format!(r#"{{"trace_id": "{TRACE}", "span_id": "{SPAN}", "trace_flags": "01"}}"#), span_id, 1),
            (format!("{{'traceId': '{TRACE}', 'spanId': '{SPAN}'}}"), span_id, 0),
            (format!("trace.id={TRACE}, span.id={SPAN}; x"), span_id, 0),
            (format!("[dd.service=x dd.trace_id={TRACE} dd.span_id=12345]"), None, 0),
            (format!("INFO [app,{TRACE},{SPAN}] x"), span_id, 0),
            (format!("INFO [{TRACE}-{SPAN}] x"), span_id, 0),
            (
                format!("otelTraceID={} otelSpanID={SPAN} otelTraceSampled=True", TRACE.to_uppercase()),
                span_id,
                1,
            ),
        ] {
            assert_eq!(Ids::find(&text).context(), Some(LineContext { trace_id, span_id, flags }), "{text}");
        }
    }

    #[test]
    fn invalid_ids_are_not_used() {
        let zeros = "0".repeat(32);
        for text in [
            format!("trace_id={zeros} span_id={SPAN}"),
            format!("trace_id={TRACE}0"),
            format!("trace_id={}", &TRACE[1..]),
            format!("my_trace_id={TRACE}"),
            "dd.trace_id=1234567890123456789".to_owned(),
            format!("span_id={SPAN}"),
            format!("traceparent=00-{zeros}-{SPAN}-01"),
            format!("trace_id {TRACE}"),
            format!("{TRACE}-{SPAN}]"),
            format!("[{zeros}-{SPAN}]"),
            "é=trace_id=é]".to_owned(),
        ] {
            assert_eq!(Ids::find(&text).context(), None, "{text}");
        }
    }

    #[test]
    fn correlation_ids_are_words() {
        let find = |text: &str| Ids::find(text).correlation_id;
        assert_eq!(find("x correlation_id=req-7 y").as_deref(), Some("req-7"));
        assert_eq!(find(r#"{"correlationId":"a b"}"#).as_deref(), Some("a"));
        assert_eq!(find("[correlation-id: 12]").as_deref(), Some("12"));
        for text in ["correlation_id=", "correlation_id=None", "no correlation id: 7"] {
            assert_eq!(find(text), None, "{text}");
        }
        assert_eq!(find(&format!("correlation_id={}", "x".repeat(257))), None);
    }
}
