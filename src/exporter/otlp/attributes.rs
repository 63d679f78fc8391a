//! Metadata and measurements of events as OpenTelemetry's attributes: metadata as strings, measurements with
//! their types.
//!
//! An event can have 4 MiB, and servers refuse larger requests, so the number and size of attributes are
//! bounded. The number of dropped attributes is exported where the protocol has a field for it.

use super::proto::common::v1::{AnyValue, KeyValue, any_value::Value};
use crate::{
    event::proto::bridge::telemetry_value,
    exporter::event::{Event, cut},
};

/// The most attributes of a span or a span's event: the specification's default,
/// <https://opentelemetry.io/docs/specs/otel/common/#attribute-limits>.
pub const MAX_ATTRIBUTES: usize = 128;

/// The longest value, in bytes: enough for a traceback. Longer values are truncated.
pub const MAX_VALUE_BYTES: usize = 16 * 1024;

/// The longest name, in bytes. An attribute with a longer name is dropped; other names are truncated.
pub const MAX_NAME_BYTES: usize = 256;

/// The largest size of all attributes of a span or a span's event, in bytes.
pub const MAX_BYTES: usize = 128 * 1024;

/// The size of an attribute without its text, in bytes: more than its encoding adds.
const OVERHEAD_BYTES: usize = 16;

/// The correlation id as the worker wrote it.
pub const CORRELATION_ID: &str = "snakepit.correlation_id";

/// Attributes with unique names.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Attributes {
    /// In the order in which they were set.
    pub list: Vec<KeyValue>,
    /// How many were dropped.
    pub dropped: u32,
    /// The approximate encoded size.
    bytes: usize,
}

impl Attributes {
    /// Sets an attribute to a string.
    pub fn text(&mut self, key: &str, text: &str) {
        self.set(key, Value::StringValue(cut(text, MAX_VALUE_BYTES).to_owned()));
    }

    /// Sets an attribute.
    pub fn set(&mut self, key: &str, value: Value) {
        let size = key.len() + value_size(&value) + OVERHEAD_BYTES;
        let may_be_added = self.list.len() < MAX_ATTRIBUTES;
        let existing = self.list.iter_mut().find(|attribute| attribute.key == key);
        let replaced = existing.as_deref().map_or(0, encoded_size);
        let fits =
            self.bytes - replaced + size <= MAX_BYTES && !key.is_empty() && key.len() <= MAX_NAME_BYTES;
        let value = Some(AnyValue { value: Some(value) });
        match existing {
            Some(attribute) if fits => attribute.value = value,
            None if fits && may_be_added => {
                self.list.push(KeyValue { key: key.to_owned(), value, ..KeyValue::default() });
            }
            _ => {
                self.dropped += 1;
                return;
            }
        }
        self.bytes = self.bytes - replaced + size;
    }

    /// The value of an attribute that is a string.
    pub fn get(&self, key: &str) -> Option<&str> {
        let attribute = self.list.iter().find(|attribute| attribute.key == key)?;
        match attribute.value.as_ref()?.value.as_ref()? {
            Value::StringValue(text) => Some(text),
            _ => None,
        }
    }

    /// The approximate size in memory, in bytes.
    pub fn memory(&self) -> usize {
        self.bytes + self.list.capacity() * size_of::<KeyValue>()
    }

    /// Adds an event's metadata, without what is exported elsewhere (by key and value), and its correlation
    /// id.
    pub fn add_metadata(&mut self, event: &Event, exported_elsewhere: impl Fn(&str, &str) -> bool) {
        if !event.event.correlation_id.is_empty() {
            self.text(CORRELATION_ID, &event.event.correlation_id);
        }
        let metadata = event.event.metadata.iter();
        for (key, value) in metadata.filter(|(key, value)| !exported_elsewhere(key, value)) {
            self.text(key, value);
        }
    }

    /// Adds an event's measurements. Metadata with the same key takes precedence.
    pub fn add_measurements(&mut self, event: &Event) {
        for (key, value) in &event.event.measurements {
            if event.event.metadata.contains_key(key) {
                self.dropped += 1;
                continue;
            }
            match &value.value {
                Some(telemetry_value::Value::IntValue(int)) => self.set(key, Value::IntValue(*int)),
                Some(telemetry_value::Value::FloatValue(float)) => {
                    self.set(key, Value::DoubleValue(*float));
                }
                Some(telemetry_value::Value::StringValue(text)) => self.text(key, text),
                None => {}
            }
        }
    }
}

fn encoded_size(attribute: &KeyValue) -> usize {
    let value = attribute.value.as_ref().and_then(|value| value.value.as_ref());
    attribute.key.len() + value.map_or(0, value_size) + OVERHEAD_BYTES
}

fn value_size(value: &Value) -> usize {
    match value {
        Value::StringValue(text) => text.len(),
        _ => 8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_unique_and_has_its_latest_value() {
        let mut attributes = Attributes::default();
        attributes.text("a", "old");
        attributes.set("b", Value::IntValue(1));
        attributes.text("a", "new");
        assert_eq!((attributes.list.len(), attributes.get("a"), attributes.get("b")), (2, Some("new"), None));
        assert_eq!(attributes.dropped, 0);
    }

    #[test]
    fn number_and_size_are_bounded_and_dropped_attributes_are_counted() {
        let mut many = Attributes::default();
        (0..200).for_each(|number| many.text(&number.to_string(), ""));
        assert_eq!((many.list.len(), many.dropped), (MAX_ATTRIBUTES, 72));

        let mut large = Attributes::default();
        (0..20).for_each(|number| large.text(&number.to_string(), &"x".repeat(1_000_000)));
        assert_eq!(large.get("0").map(str::len), Some(MAX_VALUE_BYTES));
        assert!(large.bytes <= MAX_BYTES && large.dropped > 0, "{} bytes", large.bytes);
        large.text("0", "short");
        assert_eq!(large.get("0"), Some("short"));

        let mut unnamed = Attributes::default();
        unnamed.text("", "x");
        unnamed.text(&"x".repeat(MAX_NAME_BYTES + 1), "x");
        assert_eq!((unnamed.list.len(), unnamed.dropped), (0, 2));
    }
}
