use super::*;
use crate::event::frame::Prefix;
use proptest::{collection::btree_map, prelude::*, sample::Index};
use prost::Message as _;

const TEXT: &str = ".{0,4}";

fn value() -> impl Strategy<Value = TelemetryValue> {
    use telemetry_value::Value;
    prop_oneof![
        Just(None),
        any::<i64>().prop_map(|int| Some(Value::IntValue(int))),
        any::<f64>().prop_map(|float| Some(Value::FloatValue(float))),
        TEXT.prop_map(|text| Some(Value::StringValue(text))),
    ]
    .prop_map(|value| TelemetryValue { value })
}

/// Few entries, or more than are sorted in place.
fn entries() -> std::ops::Range<usize> {
    0..24
}

fn event() -> impl Strategy<Value = TelemetryEvent> {
    let part =
        prop_oneof!["[ab]?", TEXT, Just("start".into()), Just("stop".into()), Just("exception".into())];
    let key = || prop_oneof!["[a-d]{0,2}", "duration(_ms)?", TEXT];
    let parts = prop::collection::vec(part, 0..4);
    let metadata = btree_map(key(), TEXT, entries());
    let fields = (parts, btree_map(key(), value(), entries()), metadata, any::<i64>(), TEXT);
    fields.prop_map(|(event_parts, measurements, metadata, timestamp_ns, correlation_id)| TelemetryEvent {
        event_parts,
        measurements,
        metadata,
        timestamp_ns,
        correlation_id,
    })
}

/// What a view shows, as text, because NaN is not equal to itself; and what prost makes of the same message.
fn both(message: &[u8]) -> (Option<String>, Option<String>) {
    let decoded = TelemetryEvent::decode(message).ok();
    let text = |view: &View<'_>| format!("{view:?}");
    (View::of(message).as_ref().map(text), decoded.as_ref().map(|event| text(&event.into())))
}

/// A field to skip: of an unknown number, or a group.
fn unknown() -> impl Strategy<Value = Vec<u8>> {
    let key = |number: u8, wire_type: u8| number << 3 | wire_type;
    prop_oneof![
        any::<u64>().prop_map(move |value| {
            let mut field = vec![key(9, 0)];
            prost::encoding::encode_varint(value, &mut field);
            field
        }),
        Just([&[key(9, 1)][..], &[7; 8]].concat()),
        Just(vec![key(9, 2), 2, 0xff, 0xff]),
        Just([&[key(9, 5)][..], &[7; 4]].concat()),
        Just(vec![key(9, 3), key(8, 3), key(1, 0), 5, key(8, 4), key(9, 4)]),
    ]
}

/// A field of bytes. Numbers are below 16.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    prost::encoding::encode_varint(content.len() as u64, &mut field);
    [field, content.to_vec()].concat()
}

proptest! {
    #[test]
    fn a_message_is_read_as_prost_reads_it(event in event()) {
        let (read, expected) = both(&event.encode_to_vec());
        prop_assert!(read.is_some());
        prop_assert_eq!(read, expected);
    }

    /// Fields in any order and more than once, with others between them.
    #[test]
    fn messages_are_merged(events in prop::collection::vec((event(), unknown()), 1..4)) {
        let parts = events.iter().flat_map(|(event, unknown)| [event.encode_to_vec(), unknown.clone()]);
        let message = parts.collect::<Vec<_>>().concat();
        let (read, expected) = both(&message);
        prop_assert!(read.is_some());
        prop_assert_eq!(read, expected);
    }

    /// Entries of maps with keys and values in any order, more than once or not at all.
    #[test]
    fn entries_are_merged(
        fields in prop::collection::vec((any::<bool>(), "[ab]?", value(), unknown(), 0..5_u8), 0..8),
        splits in prop::collection::vec(any::<bool>(), 8),
    ) {
        for map in [MEASUREMENTS, METADATA] {
            let (mut message, mut entry) = (Vec::new(), Vec::new());
            let map = u8::try_from(map).unwrap();
            for ((is_key, text, value, unknown, kind), split) in fields.iter().zip(&splits) {
                entry.extend(match kind {
                    0 => unknown.clone(),
                    _ if *is_key => field(1, text.as_bytes()),
                    _ if u32::from(map) == METADATA => field(2, text.as_bytes()),
                    1 => field(2, unknown),
                    _ => field(2, &value.encode_to_vec()),
                });
                if *split {
                    message.extend(field(map, &std::mem::take(&mut entry)));
                }
            }
            message.extend(field(map, &entry));
            let (read, expected) = both(&message);
            prop_assert!(read.is_some());
            prop_assert_eq!(read, expected);
        }
    }

    /// Of maps prost reads a few more, because it does not look at their wire type.
    #[test]
    fn what_is_read_of_damaged_messages_is_what_prost_reads(
        event in event(),
        damage in prop::collection::vec((any::<Index>(), any::<u8>()), 1..4),
    ) {
        let mut message = event.encode_to_vec();
        for (at, byte) in damage {
            if !message.is_empty() {
                let at = at.index(message.len());
                message[at] = byte;
            }
        }
        let (read, expected) = both(&message);
        prop_assert!(read.is_none() || read == expected, "{read:?} {expected:?}");
    }

    #[test]
    fn what_is_read_of_any_bytes_is_what_prost_reads(
        message in prop::collection::vec(prop_oneof![0..48_u8, any::<u8>()], 0..40),
    ) {
        let (read, expected) = both(&message);
        prop_assert!(read.is_none() || read == expected, "{read:?} {expected:?}");
    }

    /// A view that is used again shows nothing of the event before, whether or not both have the same name.
    #[test]
    fn the_events_of_frames_are_read_one_after_the_other(
        events in prop::collection::vec((event(), any::<bool>(), unknown(), prop::option::of(event())), 0..8),
    ) {
        let (mut frames, mut messages, mut name) = (Vec::new(), Vec::new(), Vec::new());
        for (mut event, has_same_name, unknown, merged) in events {
            if has_same_name {
                event.event_parts = name;
            }
            name = event.event_parts.clone();
            let merged = merged.map(|event| [unknown, event.encode_to_vec()].concat()).unwrap_or_default();
            let message = [event.encode_to_vec(), merged].concat();
            let prefix = Prefix { compressed: false, length: u32::try_from(message.len()).unwrap() };
            frames.extend([&prefix.to_bytes()[..], &message].concat());
            messages.push(message);
        }
        let mut views = Views::of(&frames);
        for message in &messages {
            let event = TelemetryEvent::decode(message.as_slice()).unwrap();
            prop_assert_eq!(format!("{:?}", views.read().unwrap()), format!("{:?}", View::from(&event)));
        }
        prop_assert!(views.read().is_none());
        prop_assert_eq!(views.count(), messages.len() as u64);
    }
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
        let event_parts = name.split('.').map(str::to_owned).collect();
        let event = TelemetryEvent { event_parts, ..TelemetryEvent::default() };
        let view = View::from(&event);
        assert_eq!((view.name(), view.phase(), view.operation()), (name, phase, operation));
    }
}

#[test]
fn durations_are_seconds() {
    let duration = |measurements: &[(&'static str, Value<'static>)]| {
        View { measurements: measurements.to_vec(), ..View::default() }.duration_seconds()
    };
    assert_eq!(duration(&[("duration", Value::Int(1_500_000_000))]), Some(1.5));
    assert_eq!(duration(&[("duration_ms", Value::Float(2.5))]), Some(0.0025));
    assert_eq!(duration(&[("duration", Value::Text("5")), ("duration_ms", Value::Int(1000))]), Some(1.0));
    assert_eq!(duration(&[]), None);
}

#[test]
fn a_message_that_ends_early_is_the_end() {
    let mut views = Views::of(&[0, 0, 0, 0, 2, 0x0a, 0, 0, 0, 0, 0, 1, 0x0a, 0, 0, 0, 0, 0]);
    assert_eq!(views.read().map(View::name), Some(""));
    assert!(views.read().is_none() && views.read().is_none());
    assert_eq!(views.count(), 1);
}

#[test]
fn keys_are_found_among_few_and_many() {
    for count in [0, 1, MAX_ONE_BY_ONE, MAX_ONE_BY_ONE + 1, 1000] {
        let metadata = (0..count).rev().map(|number| (format!("k{number}"), number.to_string())).collect();
        let event = TelemetryEvent { metadata, ..TelemetryEvent::default() };
        let message = event.encode_to_vec();
        let view = View::of(&message).unwrap();
        for number in 0..count {
            assert_eq!(view.metadatum(&format!("k{number}")), Some(&*number.to_string()));
        }
        assert_eq!((view.metadatum("k"), view.metadatum("k1x")), (None, None));
    }
}

#[test]
fn a_worker_has_failed_unless_it_exited_with_0_or_was_stopped() {
    use telemetry_value::Value;
    let ended = |name: &str, key: &str, value| {
        let event_parts = name.split('.').map(str::to_owned).collect();
        let measurements = [(key.to_owned(), TelemetryValue { value: Some(value) })].into();
        View::from(&TelemetryEvent { event_parts, measurements, ..TelemetryEvent::default() }).has_failed()
    };
    for (key, number, has_failed) in [
        ("exit_code", 0, false),
        ("exit_code", 1, true),
        ("exit_code", 143, false),
        ("signal", 9, true),
        ("signal", 15, false),
        ("other", 1, false),
    ] {
        assert_eq!(ended("worker.exited", key, Value::IntValue(number)), has_failed, "{key} {number}");
    }
    assert!(!ended("worker.exited", "exit_code", Value::StringValue("1".into())));
    assert!(!ended("worker.exited.stop", "exit_code", Value::IntValue(1)));
    assert!(ended("worker.exited.exception", "exit_code", Value::IntValue(0)));
}
