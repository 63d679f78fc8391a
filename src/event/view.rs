//! An encoded event, read where it is: what exporters and reports work with.
//!
//! Texts are borrowed from the message, and buffers are used again for the next event: reading a hundred
//! events takes as many allocations as reading one. Each consumer reads the shared bytes for itself, because
//! that costs less than passing decoded events between threads.

mod entry;
mod phase;

pub use self::{entry::Value, phase::Phase};

use self::entry::{measurement, metadatum, text};
use super::{
    ended::{self, EXIT_CODE, EXITED, SIGNAL},
    frame,
    proto::bridge::{TelemetryEvent, TelemetryValue, telemetry_value},
    wire::{Field, Fields, Malformed},
};

const EVENT_PARTS: u32 = 1;
const MEASUREMENTS: u32 = 2;
const METADATA: u32 = 3;
const TIMESTAMP_NS: u32 = 4;
const CORRELATION_ID: u32 = 5;

/// The most entries among which a key is searched one by one.
const MAX_ONE_BY_ONE: usize = 16;

/// An event.
#[derive(Debug, Clone, PartialEq)]
pub struct View<'a> {
    name: String,
    name_parts: usize,
    operation_bytes: usize,
    phase: Phase,
    measurements: Vec<(&'a str, Value<'a>)>,
    metadata: Vec<(&'a str, &'a str)>,
    timestamp_ns: i64,
    correlation_id: &'a str,
}

impl Default for View<'_> {
    fn default() -> Self {
        Self {
            name: String::new(),
            name_parts: 0,
            operation_bytes: 0,
            phase: Phase::Point,
            measurements: Vec::new(),
            metadata: Vec::new(),
            timestamp_ns: 0,
            correlation_id: "",
        }
    }
}

impl<'a> View<'a> {
    /// Reads a `TelemetryEvent`; `None` if it is not valid.
    pub fn of(message: &'a [u8]) -> Option<Self> {
        let mut view = Self::default();
        view.read(message, &mut &[][..]).ok().map(|()| view)
    }

    /// The dotted name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The phase of the operation.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether the operation has failed: an exception, or the end of a worker that has failed.
    pub fn has_failed(&self) -> bool {
        match self.phase {
            Phase::Exception => true,
            Phase::Point if self.name == EXITED => {
                self.int(EXIT_CODE).is_some_and(ended::is_failed_code)
                    || self.int(SIGNAL).is_some_and(ended::is_failed_signal)
            }
            _ => false,
        }
    }

    /// The operation: the dotted name without `.start`, `.stop` or `.exception`.
    pub fn operation(&self) -> &str {
        self.name.get(..self.operation_bytes).unwrap_or_default()
    }

    /// Nanoseconds since the Unix epoch; 0 if the event has no time.
    pub fn timestamp_ns(&self) -> i64 {
        self.timestamp_ns
    }

    /// The correlation id; empty if there is none.
    pub fn correlation_id(&self) -> &'a str {
        self.correlation_id
    }

    /// The measurements, each key once, in the order of the keys.
    pub fn measurements(&self) -> &[(&'a str, Value<'a>)] {
        &self.measurements
    }

    /// The metadata, each key once, in the order of the keys.
    pub fn metadata(&self) -> &[(&'a str, &'a str)] {
        &self.metadata
    }

    /// A measurement.
    pub fn measurement(&self, key: &str) -> Option<Value<'a>> {
        find(&self.measurements, key)
    }

    /// A value of the metadata.
    pub fn metadatum(&self, key: &str) -> Option<&'a str> {
        find(&self.metadata, key)
    }

    /// A measurement that is an integer.
    pub fn int(&self, key: &str) -> Option<i64> {
        match self.measurement(key)? {
            Value::Int(int) => Some(int),
            _ => None,
        }
    }

    /// A measurement that is a number.
    pub fn number(&self, key: &str) -> Option<f64> {
        self.measurement(key)?.as_f64()
    }

    /// How long the operation took, in seconds: the measurement `duration` in nanoseconds, as Snakepit's
    /// workers write it, or else `duration_ms` in milliseconds.
    pub fn duration_seconds(&self) -> Option<f64> {
        self.duration().map(|(_, seconds)| seconds)
    }

    /// The key of the measurement that is the duration.
    pub fn duration_key(&self) -> Option<&'static str> {
        self.duration().map(|(key, _)| key)
    }

    fn duration(&self) -> Option<(&'static str, f64)> {
        let nanoseconds = self.number("duration").map(|value| ("duration", value / 1e9));
        nanoseconds.or_else(|| Some(("duration_ms", self.number("duration_ms")? / 1e3)))
    }

    /// Reads another event instead. After an error the content is not of any event.
    ///
    /// `known` are the fields that the event before began with, if they are its whole name. Most events have
    /// the name of the one before: then one comparison reads it.
    fn read(&mut self, message: &'a [u8], known: &mut &'a [u8]) -> Result<(), Malformed> {
        let mut fields = match message.strip_prefix(*known) {
            Some(others) if !known.is_empty() => Fields::of(others),
            _ => {
                *known = &[];
                self.name.clear();
                self.name_parts = 0;
                Fields::of(message)
            }
        };
        self.measurements.clear();
        self.metadata.clear();
        (self.timestamp_ns, self.correlation_id) = (0, "");
        let mut last_part = None;
        loop {
            // Most fields are short entries.
            if let Some(entry) = fields.short(METADATA) {
                self.metadata.push(metadatum(entry)?);
                continue;
            }
            if let Some(entry) = fields.short(MEASUREMENTS) {
                self.measurements.push(measurement(entry)?);
                continue;
            }
            let at = message.len() - fields.left();
            let Some(field) = fields.read()? else { break };
            match field {
                (EVENT_PARTS, Field::Bytes(bytes)) => {
                    let part = text(bytes)?;
                    self.add_part(part);
                    last_part = Some(part);
                    let is_next = known.len() == at;
                    let end = message.len() - fields.left();
                    *known = message.get(..end).filter(|_| is_next).unwrap_or_default();
                }
                (MEASUREMENTS, Field::Bytes(bytes)) => self.measurements.push(measurement(bytes)?),
                (METADATA, Field::Bytes(bytes)) => self.metadata.push(metadatum(bytes)?),
                (TIMESTAMP_NS, Field::Varint(value)) => self.timestamp_ns = value.cast_signed(),
                (CORRELATION_ID, Field::Bytes(bytes)) => self.correlation_id = text(bytes)?,
                (EVENT_PARTS..=CORRELATION_ID, _) => return Err(Malformed),
                _ => {}
            }
        }
        if last_part.is_some() || self.name_parts == 0 {
            self.set_phase(last_part.unwrap_or_default());
        }
        sort(&mut self.measurements);
        sort(&mut self.metadata);
        Ok(())
    }

    fn add_part(&mut self, part: &str) {
        if self.name_parts > 0 {
            self.name.push('.');
        }
        self.name.push_str(part);
        self.name_parts += 1;
    }

    /// Sets what depends on the last part of the name.
    fn set_phase(&mut self, last: &str) {
        self.phase = Phase::of(self.name_parts, last);
        self.operation_bytes = self.phase.operation(&self.name).len();
    }
}

/// A view of a message that prost has decoded.
impl<'a> From<&'a TelemetryEvent> for View<'a> {
    fn from(event: &'a TelemetryEvent) -> Self {
        let TelemetryEvent { event_parts, measurements, metadata, timestamp_ns, correlation_id } = event;
        let value = |value: &'a TelemetryValue| match &value.value {
            None => Value::Null,
            Some(telemetry_value::Value::IntValue(int)) => Value::Int(*int),
            Some(telemetry_value::Value::FloatValue(float)) => Value::Float(*float),
            Some(telemetry_value::Value::StringValue(text)) => Value::Text(text),
        };
        let mut view = Self {
            name: event_parts.join("."),
            name_parts: event_parts.len(),
            measurements: measurements.iter().map(|(key, entry)| (key.as_str(), value(entry))).collect(),
            metadata: metadata.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect(),
            timestamp_ns: *timestamp_ns,
            correlation_id,
            ..Self::default()
        };
        view.set_phase(event_parts.last().map_or("", String::as_str));
        view
    }
}

/// The events in gRPC frames, one after the other in the same [`View`].
#[derive(Debug, Default)]
pub struct Views<'a> {
    frames: &'a [u8],
    view: View<'a>,
    /// The first fields of the event before: its name.
    name: &'a [u8],
    count: u64,
}

impl<'a> Views<'a> {
    /// The events in these frames.
    pub fn of(frames: &'a [u8]) -> Self {
        Self { frames, ..Self::default() }
    }

    /// The next event. The first message that is not valid is the end. The sidecar has encoded all of them,
    /// so all are valid.
    pub fn read(&mut self) -> Option<&View<'a>> {
        let (message, rest) = frame::split(self.frames)?;
        self.view.read(message, &mut self.name).ok()?;
        self.frames = rest;
        self.count += 1;
        Some(&self.view)
    }

    /// How many events were read.
    pub fn count(&self) -> u64 {
        self.count
    }
}

/// The value of a key. An event can have very many; few are found faster one by one.
fn find<T: Copy>(entries: &[(&str, T)], key: &str) -> Option<T> {
    if entries.len() > MAX_ONE_BY_ONE {
        let at = entries.binary_search_by_key(&key, |(known, _)| *known).ok()?;
        return entries.get(at).map(|(_, value)| *value);
    }
    entries.iter().find(|(known, _)| *known == key).map(|(_, value)| *value)
}

/// Sorts entries by their keys. Of equal keys the last one counts.
fn sort<T: Copy>(entries: &mut Vec<(&str, T)>) {
    // A worker prints the same few keys again and again, but in any order.
    if !entries.is_sorted_by(|(one, _), (next, _)| one < next) {
        entries.sort_by_key(|(key, _)| *key);
        entries.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                *kept = *next;
            }
            same
        });
    }
}

#[cfg(test)]
mod tests;
