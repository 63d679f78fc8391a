//! Decoded events, with the dotted name and what it means.

use super::number::Number;
use crate::event::{frame, proto::bridge::TelemetryEvent};
use bytes::Bytes;
use prost::Message as _;

/// The phase of an operation: the last part of an event's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// `.start`: the operation starts.
    Start,
    /// `.stop`: the operation has succeeded.
    Stop,
    /// `.exception`: the operation has failed.
    Exception,
    /// Any other name: an event without an operation.
    Point,
}

/// An event.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    name: String,
    phase: Phase,
    /// The message.
    pub event: TelemetryEvent,
}

impl Phase {
    /// The phase of an event, by the number of parts of its name and the last part.
    pub fn of(parts: usize, last: &str) -> Self {
        match last {
            // A name that is only a phase has no operation.
            _ if parts < 2 => Self::Point,
            "start" => Self::Start,
            "stop" => Self::Stop,
            "exception" => Self::Exception,
            _ => Self::Point,
        }
    }

    /// The operation of an event with this dotted name: the name without `.start`, `.stop` or `.exception`.
    pub fn operation(self, name: &str) -> &str {
        match self {
            Self::Point => name,
            _ => name.rsplit_once('.').map_or(name, |(operation, _)| operation),
        }
    }
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
        Number::measured(self.event.measurements.get(key)?.value.as_ref()?).map(Number::as_f64)
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
    use crate::event::proto::bridge::{TelemetryValue, telemetry_value::Value};

    fn event(name: &str, measurements: &[(&str, Value)]) -> Event {
        let measurements = measurements.iter().cloned();
        let measurements =
            measurements.map(|(key, value)| (key.into(), TelemetryValue { value: Some(value) }));
        let event_parts = name.split('.').map(str::to_owned).collect();
        TelemetryEvent { event_parts, measurements: measurements.collect(), ..TelemetryEvent::default() }
            .into()
    }

    #[test]
    fn the_last_part_of_the_name_is_the_phase() {
        for (name, phase, operation) in [
            ("tool.execution.start", Phase::Start, "tool.execution"),
            ("tool.execution.stop", Phase::Stop, "tool.execution"),
            ("call.exception", Phase::Exception, "call"),
            ("tool.result_size", Phase::Point, "tool.result_size"),
            ("stop", Phase::Point, "stop"),
            (".stop", Phase::Stop, ""),
        ] {
            let event = event(name, &[]);
            assert_eq!((event.name(), event.phase(), event.operation()), (name, phase, operation));
        }
    }

    #[test]
    fn durations_are_seconds() {
        let duration = |measurements: &[(&str, Value)]| event("a.stop", measurements).duration_seconds();
        assert_eq!(duration(&[("duration", Value::IntValue(1_500_000_000))]), Some(1.5));
        assert_eq!(duration(&[("duration_ms", Value::FloatValue(2.5))]), Some(0.0025));
        assert_eq!(
            duration(&[("duration", Value::StringValue("5".into())), ("duration_ms", Value::IntValue(1000))]),
            Some(1.0)
        );
        assert_eq!(duration(&[]), None);
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!((cut("aé", 3), cut("aé", 2), cut("é", 1), cut("abc", 0)), ("aé", "a", "", ""));
    }
}
