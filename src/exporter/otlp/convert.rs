//! Parts of OpenTelemetry's spans.

use super::proto::trace::v1::{Span, Status, span, status::StatusCode};
use super::{
    attributes::{Attributes, MAX_NAME_BYTES},
    started::Open,
};
use crate::exporter::event::{Event, cut};

/// Metadata of an exception that goes into the exception event and the span's status.
pub const ERROR_KEYS: [&str; 3] = ["error_type", "error_message", "traceback"];

/// The type of an error without one:
/// <https://opentelemetry.io/docs/specs/semconv/registry/attributes/error/>.
const OTHER_ERROR: &str = "_OTHER";

/// Adds an exception event and returns the span's status:
/// <https://opentelemetry.io/docs/specs/otel/trace/exceptions/>.
pub fn describe_error(event: &Event, end_ns: u64, span: &mut Open) -> Status {
    let said = |key| event.event.metadata.get(key).map(String::as_str).filter(|text| !text.is_empty());
    span.attributes.text("error.type", said("error_type").unwrap_or(OTHER_ERROR));
    let mut exception = Attributes::default();
    let names = ["exception.type", "exception.message", "exception.stacktrace"];
    for (name, key) in names.into_iter().zip(ERROR_KEYS) {
        if let Some(text) = said(key) {
            exception.text(name, text);
        }
    }
    let message = exception.get("exception.message").unwrap_or_default().to_owned();
    // Added regardless of the limit: this is the event that users look for.
    span.events.list.push(span_event("exception", end_ns, exception));
    Status { message, code: StatusCode::Error.into() }
}

/// An event of a span.
pub fn span_event(name: &str, time_unix_nano: u64, attributes: Attributes) -> span::Event {
    span::Event {
        time_unix_nano,
        name: cut(name, MAX_NAME_BYTES).to_owned(),
        attributes: attributes.list,
        dropped_attributes_count: attributes.dropped,
    }
}

/// A span with its end, which is not before its start, and without parent, flags and kind.
pub fn finish(open: Open, end_ns: u64) -> Span {
    Span {
        trace_id: open.context.trace_id.to_vec(),
        span_id: open.context.span_id.to_vec(),
        trace_state: open.trace_state.as_deref().unwrap_or_default().to_owned(),
        name: open.operation.into(),
        start_time_unix_nano: open.start_ns,
        end_time_unix_nano: end_ns.max(open.start_ns),
        attributes: open.attributes.list,
        dropped_attributes_count: open.attributes.dropped,
        events: open.events.list,
        dropped_events_count: open.events.dropped,
        ..Span::default()
    }
}

/// An event's timestamp. The protocol has none before 1970.
pub fn time_ns(event: &Event) -> u64 {
    u64::try_from(event.event.timestamp_ns).unwrap_or_default()
}

/// How long an operation took, in nanoseconds, if the event has a valid duration.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is in range, or becomes the nearest"
)]
pub fn duration_ns(event: &Event) -> Option<u64> {
    let duration = (event.duration_seconds()? * 1e9).round();
    (duration.is_finite() && duration >= 0.0).then_some(duration as u64)
}
