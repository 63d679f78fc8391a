//! Decoded events, with the dotted name and what it means.

pub use crate::event::view::Phase;

use crate::event::{frame, proto::bridge::TelemetryEvent, view::View};
use bytes::Bytes;
use prost::Message as _;

/// An event.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    name: String,
    phase: Phase,
    /// The message.
    pub event: TelemetryEvent,
}

impl From<TelemetryEvent> for Event {
    fn from(event: TelemetryEvent) -> Self {
        let parts = &event.event_parts;
        let phase = Phase::of(parts.len(), parts.last().map_or("", String::as_str));
        Self { name: event.event_parts.join("."), phase, event }
    }
}

impl Event {
    /// The dotted name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The phase of the operation.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The operation: the dotted name without `.start`, `.stop` or `.exception`.
    pub fn operation(&self) -> &str {
        self.phase.operation(&self.name)
    }

    /// How long the operation took, in seconds: the measurement `duration` in nanoseconds, as Snakepit's
    /// workers write it, or else `duration_ms` in milliseconds.
    pub fn duration_seconds(&self) -> Option<f64> {
        let nanoseconds = self.number("duration").map(|value| value / 1e9);
        nanoseconds.or_else(|| Some(self.number("duration_ms")? / 1e3))
    }

    /// A measurement that is a number.
    pub fn number(&self, key: &str) -> Option<f64> {
        self.view().number(key)
    }

    /// The same as a view.
    pub fn view(&self) -> View<'_> {
        View::from(&self.event)
    }
}

/// The longest prefix of a text with at most `max_bytes` that does not split a character.
pub fn cut(text: &str, max_bytes: usize) -> &str {
    if text.len() <= max_bytes {
        return text;
    }
    (0..=max_bytes).rev().find_map(|end| text.get(..end)).unwrap_or_default()
}

/// The events in gRPC frames of the hub. The sidecar has encoded them, so all of them decode.
pub fn decode(frames: Bytes) -> impl Iterator<Item = TelemetryEvent> {
    frame::messages(frames).map_while(|message| TelemetryEvent::decode(message).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!((cut("aé", 3), cut("aé", 2), cut("é", 1), cut("abc", 0)), ("aé", "a", "", ""));
    }
}
