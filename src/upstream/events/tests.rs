use super::*;
use crate::event::batch::{Event, MAX_MESSAGE_BYTES};
use crate::{
    event::{
        json,
        proto::bridge::{TelemetryValue, telemetry_value::Value},
        view::View,
    },
    input::decode::Decoder,
};
use proptest::{collection::btree_map, collection::vec, option, prelude::*};

const NOW_NS: i64 = 1_700_000_000_000_000_000;

fn message(event: &TelemetryEvent) -> Bytes {
    event.encode_to_vec().into()
}

fn named(parts: &[&str]) -> TelemetryEvent {
    TelemetryEvent {
        event_parts: parts.iter().map(ToString::to_string).collect(),
        ..TelemetryEvent::default()
    }
}

/// Everything that consumers get of the only event of a batch: name, correlation id, timestamp and whether it
/// was given, and the message.
fn only_event(batch: &Batch) -> (String, String, i64, bool, TelemetryEvent) {
    assert_eq!(batch.len(), 1);
    let Event { name, correlation_id, timestamp_ns, timestamp_given } = batch.event(0).unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let message = TelemetryEvent::decode(batch.message(0).unwrap()).unwrap();
    (text(name), text(correlation_id), timestamp_ns, timestamp_given, message)
}

fn added(event: &TelemetryEvent, metadata: &[(&str, &str)]) -> Batch {
    let mut events = Events::new(pairs(metadata));
    events.add(Ok(message(event)), NOW_NS);
    assert_eq!(*events.stats(), UpstreamStats { messages: 1, events: 1, ..UpstreamStats::default() });
    events.take()
}

fn pairs(metadata: &[(&str, &str)]) -> Vec<(String, String)> {
    metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn parts_are_split_again_at_every_dot() {
    for parts in [&["a.b", "c"][..], &["a", "b", "c"], &["a.b.c"]] {
        let (name, .., message) = only_event(&added(&named(parts), &[]));
        assert_eq!((name.as_str(), message.event_parts), ("a.b.c", named(&["a", "b", "c"]).event_parts));
    }
}

#[test]
fn an_event_without_a_timestamp_has_the_time_of_reading() {
    let (_, _, timestamp_ns, given, message) = only_event(&added(&named(&["a"]), &[]));
    assert_eq!((timestamp_ns, given, message.timestamp_ns), (NOW_NS, false, NOW_NS));
    let event = TelemetryEvent { timestamp_ns: -5, ..named(&["a"]) };
    let (_, _, timestamp_ns, given, message) = only_event(&added(&event, &[]));
    assert_eq!((timestamp_ns, given, message.timestamp_ns), (-5, true, -5));
}

#[test]
fn metadata_gives_the_correlation_id_and_gets_the_keys_that_it_lacks() {
    let defaults = [("pool", "first"), ("pool", "last"), ("zone", "z"), ("correlation_id", "default")];
    let mut event = named(&["a"]);
    event.metadata = pairs(&[("correlation_id", "c"), ("zone", "own")]).into_iter().collect();
    let (_, id, _, _, message) = only_event(&added(&event, &defaults));
    assert_eq!((id.as_str(), message.correlation_id.as_str()), ("c", "c"));
    let expected = pairs(&[("correlation_id", "c"), ("pool", "last"), ("zone", "own")]);
    assert_eq!(message.metadata, expected.into_iter().collect());
    // A field that is set wins, and a default is no correlation id.
    event.correlation_id = "field".into();
    assert_eq!(only_event(&added(&event, &defaults)).1, "field");
    assert_eq!(only_event(&added(&named(&["a"]), &defaults)).1, "");
}

#[test]
fn messages_that_are_no_events_are_counted_and_add_nothing() {
    let mut events = Events::new(pairs(&[("default", "0123456789")]));
    let no_name = [named(&[]), named(&[""])].map(|event| Ok(message(&event)));
    let malformed = [Ok(Bytes::from_static(b"\xff")), Err(Skipped::Compressed)].into_iter().chain(no_name);
    let name = named(&["n"]);
    let filler = |bytes: usize| TelemetryEvent { correlation_id: "c".repeat(bytes), ..name.clone() };
    let bytes_of = |event: &TelemetryEvent| {
        let (.., message) = only_event(&added(event, &[("default", "0123456789")]));
        message.encoded_len()
    };
    // The longest that fits, with the timestamp and the default that are added.
    let overhead = bytes_of(&filler(3_000_000)) - 3_000_000;
    let longest = filler(MAX_MESSAGE_BYTES - overhead);
    assert_eq!(bytes_of(&longest), MAX_MESSAGE_BYTES);
    let oversized = [Err(Skipped::TooLong), Ok(message(&filler(MAX_MESSAGE_BYTES - overhead + 1)))];
    for message in malformed.chain(oversized) {
        events.add(message, NOW_NS);
    }
    assert!(events.take().is_empty());
    events.add(Ok(message(&longest)), NOW_NS);
    assert_eq!(events.take().message(0).unwrap().len(), MAX_MESSAGE_BYTES);
    assert_eq!(*events.stats(), UpstreamStats { messages: 7, events: 1, malformed: 4, oversized: 2 });
    assert!(events.stats().balances());
}

fn value() -> impl Strategy<Value = TelemetryValue> {
    let value = prop_oneof![
        any::<i64>().prop_map(Value::IntValue),
        // JSON has no other floats, and 1.0 and 1 are different in it as they are in protobuf.
        any::<f64>().prop_filter("finite", |float| float.is_finite()).prop_map(Value::FloatValue),
        any::<String>().prop_map(Value::StringValue),
    ];
    option::of(value).prop_map(|value| TelemetryValue { value })
}

fn event() -> impl Strategy<Value = TelemetryEvent> {
    let timestamp_ns = prop_oneof![Just(0), any::<i64>()];
    let metadata = btree_map(prop_oneof!["correlation_id", "[a-c]", any::<String>()], any::<String>(), 0..4);
    let fields = (
        vec(any::<String>(), 0..4),
        btree_map(any::<String>(), value(), 0..4),
        metadata,
        timestamp_ns,
        prop_oneof![Just(String::new()), any::<String>()],
    );
    fields.prop_map(|(event_parts, measurements, metadata, timestamp_ns, correlation_id)| TelemetryEvent {
        event_parts,
        measurements,
        metadata,
        timestamp_ns,
        correlation_id,
    })
}

proptest! {
    #[test]
    fn an_event_is_the_same_as_a_message_and_as_a_line(
        event in event(),
        defaults in vec(("[a-c]", "[a-z]{0,3}"), 0..4),
    ) {
        let mut line = Vec::new();
        let given = (event.timestamp_ns != 0).then_some(event.timestamp_ns);
        json::write(&mut line, &View::from(&event), given);
        let mut decoded = BatchBuilder::default();
        let is_event = Decoder::new(&SNAKEPIT, defaults.clone()).decode(&line, NOW_NS, &mut decoded).is_ok();

        let mut events = Events::new(defaults);
        events.add(Ok(message(&event)), NOW_NS);
        prop_assert_eq!(events.stats().events == 1, is_event);
        if is_event {
            prop_assert_eq!(only_event(&events.take()), only_event(&decoded.take()));
        }
    }

    #[test]
    fn any_bytes_are_counted(bytes in vec(any::<u8>(), 0..200)) {
        let mut events = Events::new(Vec::new());
        events.add(Ok(bytes.into()), NOW_NS);
        prop_assert!(events.stats().balances());
        prop_assert_eq!(events.take().len() as u64, events.stats().events);
    }
}
