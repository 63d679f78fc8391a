//! What is encoded, against the generated messages.

use super::*;
use crate::exporter::otlp::proto::{
    common::v1::{AnyValue, KeyValue, any_value},
    logs::v1::LogRecord,
    trace::v1::{Span, span},
};
use proptest::{collection::vec, prelude::*, test_runner::Config};
use prost::Message as _;

impl Attributes {
    /// What a receiver decodes.
    pub(in crate::exporter::otlp) fn decoded(&self) -> Vec<KeyValue> {
        let encoded = self.encoded();
        match self.owner {
            Owner::Span => Span::decode(encoded).unwrap().attributes,
            Owner::Event => span::Event::decode(encoded).unwrap().attributes,
            Owner::Record => LogRecord::decode(encoded).unwrap().attributes,
        }
    }

    /// The value of an attribute that is a string.
    fn get(&self, key: &str) -> Option<String> {
        let found = self.decoded().into_iter().find(|attribute| attribute.key == key)?;
        match found.value?.value? {
            any_value::Value::StringValue(text) => Some(text),
            _ => None,
        }
    }
}

/// A value and the message that it is expected to be.
fn any_value() -> impl Strategy<Value = any_value::Value> {
    prop_oneof![
        "[a-c]{0,3}".prop_map(any_value::Value::StringValue),
        (0..300usize).prop_map(|bytes| any_value::Value::StringValue("é".repeat(bytes))),
        Just(any_value::Value::StringValue("x".repeat(MAX_VALUE_BYTES))),
        any::<i64>().prop_map(any_value::Value::IntValue),
        (-1000.0..1000.0).prop_map(any_value::Value::DoubleValue),
        any::<bool>().prop_map(any_value::Value::BoolValue),
    ]
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, cases: 48, ..Config::default() })]

    #[test]
    fn what_is_set_is_what_a_receiver_decodes(
        set in vec((prop_oneof!["[a-f]{0,2}", "[a-c]{100,130}", "[a-c]{250,260}"], any_value()), 0..200),
        owner in prop_oneof![Just(Owner::Span), Just(Owner::Event), Just(Owner::Record)],
    ) {
        let mut attributes = Attributes::new(owner);
        let mut expected: Vec<KeyValue> = Vec::new();
        let mut dropped = 0;
        for (key, value) in set {
            let size = |attribute: &KeyValue| {
                let text = attribute.value.as_ref().and_then(|value| match value.value.as_ref()? {
                    any_value::Value::StringValue(text) => Some(text.len()),
                    _ => None,
                });
                attribute.key.len() + text.unwrap_or(8) + OVERHEAD_BYTES
            };
            attributes.set(&key, match &value {
                any_value::Value::StringValue(text) => Value::Text(text),
                any_value::Value::IntValue(int) => Value::Int(*int),
                any_value::Value::DoubleValue(float) => Value::Float(*float),
                any_value::Value::BoolValue(bool) => Value::Bool(*bool),
                other => panic!("{other:?}"),
            });
            let value = Some(AnyValue { value: Some(value) });
            let new = KeyValue { key, value, ..KeyValue::default() };
            let at = expected.iter().position(|attribute| attribute.key == new.key);
            let others = expected.iter().filter(|attribute| attribute.key != new.key);
            let fits = others.map(size).sum::<usize>() + size(&new) <= MAX_BYTES;
            let has_name = (1..=MAX_NAME_BYTES).contains(&new.key.len());
            match at {
                Some(at) if fits => expected[at] = new,
                None if fits && has_name && expected.len() < MAX_ATTRIBUTES => expected.push(new),
                _ => dropped += 1,
            }
        }
        prop_assert_eq!(attributes.dropped(), dropped);
        prop_assert_eq!(&attributes.decoded(), &expected);
        let mut copy = Attributes::new(Owner::Span);
        copy.text("old", "x");
        copy.copy(&attributes);
        prop_assert_eq!(&copy, &attributes);
    }
}

#[test]
fn a_name_is_unique_and_has_its_latest_value() {
    let mut attributes = Attributes::new(Owner::Span);
    attributes.text("a", "old");
    attributes.set("b", Value::Int(1));
    attributes.text("a", "new");
    let count = attributes.decoded().len();
    assert_eq!((count, attributes.get("a").as_deref(), attributes.get("b")), (2, Some("new"), None));
    assert_eq!(attributes.dropped, 0);
}

#[test]
fn number_and_size_are_bounded_and_dropped_attributes_are_counted() {
    let mut many = Attributes::new(Owner::Span);
    (0..200).for_each(|number| many.text(&number.to_string(), ""));
    assert_eq!((many.decoded().len(), many.dropped), (MAX_ATTRIBUTES, 72));

    let mut large = Attributes::new(Owner::Span);
    (0..20).for_each(|number| large.text(&number.to_string(), &"x".repeat(1_000_000)));
    assert_eq!(large.get("0").map(|text| text.len()), Some(MAX_VALUE_BYTES));
    assert!(large.bytes <= MAX_BYTES && large.dropped > 0, "{} bytes", large.bytes);
    large.text("0", "short");
    assert_eq!(large.get("0").as_deref(), Some("short"));

    let mut unnamed = Attributes::new(Owner::Span);
    unnamed.text("", "x");
    unnamed.text(&"x".repeat(MAX_NAME_BYTES + 1), "x");
    assert_eq!((unnamed.decoded().len(), unnamed.dropped), (0, 2));
}
