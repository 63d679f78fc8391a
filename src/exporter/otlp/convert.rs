//! Parts of OpenTelemetry's spans.

use super::{
    attributes::{Attributes, MAX_VALUE_BYTES, Owner},
    started::Events,
};
use crate::{event::view::View, exporter::event::cut};

/// Metadata of an exception that goes into the exception event and the span's status.
pub const ERROR_KEYS: [&str; 3] = ["error_type", "error_message", "traceback"];

/// The type of an error without one:
/// <https://opentelemetry.io/docs/specs/semconv/registry/attributes/error/>.
const OTHER_ERROR: &str = "_OTHER";

/// Adds an exception event and returns the message of the span's status:
/// <https://opentelemetry.io/docs/specs/otel/trace/exceptions/>.
pub fn describe_error<'a>(
    event: &View<'a>,
    end_ns: u64,
    attributes: &mut Attributes,
    events: &mut Events,
) -> &'a str {
    let said = |key| event.metadatum(key).filter(|text| !text.is_empty());
    attributes.text("error.type", said("error_type").unwrap_or(OTHER_ERROR));
    let mut exception = Attributes::new(Owner::Event);
    let names = ["exception.type", "exception.message", "exception.stacktrace"];
    for (name, key) in names.into_iter().zip(ERROR_KEYS) {
        if let Some(text) = said(key) {
            exception.text(name, text);
        }
    }
    // Added regardless of the limit: this is the event that users look for.
    events.push_last("exception", end_ns, &exception);
    cut(said("error_message").unwrap_or_default(), MAX_VALUE_BYTES)
}

/// An event's timestamp. The protocol has none before 1970.
pub fn time_ns(event: &View<'_>) -> u64 {
    u64::try_from(event.timestamp_ns()).unwrap_or_default()
}

/// How long an operation took, in nanoseconds, if the event has a valid duration.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is in range, or becomes the nearest"
)]
pub fn duration_ns(event: &View<'_>) -> Option<u64> {
    let duration = (event.duration_seconds()? * 1e9).round();
    (duration.is_finite() && duration >= 0.0).then_some(duration as u64)
}
