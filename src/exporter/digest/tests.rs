use super::{
    table::{Order, digest},
    *,
};
use crate::{
    event::proto::bridge::{TelemetryEvent, TelemetryValue, telemetry_value::Value},
    terminal::screen::{Charset, Screen},
};
use proptest::prelude::*;
use prost::Message as _;

fn event(name: &str, measurements: &[(&str, Value)]) -> TelemetryEvent {
    let measurements = measurements.iter().cloned();
    let measurements = measurements.map(|(key, value)| (key.into(), TelemetryValue { value: Some(value) }));
    let event_parts = name.split('.').map(str::to_owned).collect();
    TelemetryEvent { event_parts, measurements: measurements.collect(), ..TelemetryEvent::default() }
}

/// Digests of these events, decoded and encoded.
fn both(limits: Limits, events: &[TelemetryEvent]) -> (Digest, Digest) {
    let (mut decoded, mut encoded) = (Digest::new(limits), Digest::new(limits));
    for event in events {
        decoded.add(&View::from(event));
        assert!(add_message(&mut encoded, &event.encode_to_vec()));
    }
    (decoded, encoded)
}

fn add_message(digest: &mut Digest, message: &[u8]) -> bool {
    let Some(view) = View::of(message) else { return false };
    digest.add(&view);
    true
}

fn of(events: &[TelemetryEvent]) -> Digest {
    both(Limits::default(), events).0
}

/// Everything but buffers. NaN is not equal to itself, so this is text.
fn content(digest: &Digest) -> String {
    let Digest { operations, other, durations, other_values, events, .. } = digest;
    format!("{operations:?} {other:?} {durations:?} {other_values} {events}")
}

fn value() -> impl Strategy<Value = Option<Value>> {
    prop_oneof![
        Just(None),
        any::<i64>().prop_map(|int| Some(Value::IntValue(int))),
        any::<f64>().prop_map(|float| Some(Value::FloatValue(float))),
        ".*".prop_map(|text| Some(Value::StringValue(text))),
    ]
}

fn any_event() -> impl Strategy<Value = TelemetryEvent> {
    let part =
        prop_oneof!["[ab]", "é{60,80}", Just("start".into()), Just("stop".into()), Just("exception".into())];
    let key = prop_oneof!["[a-d]?", "duration(_ms)?", "system_time", ".{0,3}"];
    let measurements =
        prop::collection::btree_map(key, value().prop_map(|value| TelemetryValue { value }), 0..6);
    let metadata = prop::collection::btree_map(".*", ".*", 0..3);
    let parts = prop::collection::vec(part, 0..4);
    (parts, measurements, metadata, any::<i64>(), ".*").prop_map(
        |(event_parts, measurements, metadata, timestamp_ns, correlation_id)| TelemetryEvent {
            event_parts,
            measurements,
            metadata,
            timestamp_ns,
            correlation_id,
        },
    )
}

proptest! {
    #[test]
    fn encoded_events_have_the_same_digest_as_decoded_ones(
        events in prop::collection::vec(any_event(), 0..20),
        operations in 0..6_usize,
        measurements in 0..8_usize,
    ) {
        let (decoded, encoded) = both(Limits { operations, measurements }, &events);
        prop_assert_eq!(content(&decoded), content(&encoded));
        prop_assert!(decoded.operations().len() <= operations);
        prop_assert!(decoded.measurements().count() <= measurements);
        let counted = decoded.operations().iter().chain(decoded.other());
        let counted: u64 = counted.map(|operation| operation.count() + operation.starts).sum();
        prop_assert_eq!(counted, events.len() as u64);
    }

    /// Fields in any order and more than once: the entries of two events in one message.
    #[test]
    fn a_message_is_read_as_prost_reads_it(one in any_event(), other in any_event()) {
        let message = [one.encode_to_vec(), other.encode_to_vec()].concat();
        let (mut decoded, mut encoded) = (Digest::new(Limits::default()), Digest::new(Limits::default()));
        decoded.add(&View::from(&TelemetryEvent::decode(&message[..]).unwrap()));
        prop_assert!(add_message(&mut encoded, &message));
        prop_assert_eq!(content(&decoded), content(&encoded));
    }

    #[test]
    fn what_prost_reads_of_damaged_messages_is_read(event in any_event(), at: prop::sample::Index, byte: u8) {
        let mut message = event.encode_to_vec();
        if !message.is_empty() {
            let at = at.index(message.len());
            message[at] = byte;
        }
        let mut encoded = Digest::new(Limits::default());
        if add_message(&mut encoded, &message) && let Ok(event) = TelemetryEvent::decode(&message[..]) {
            let mut decoded = Digest::new(Limits::default());
            decoded.add(&View::from(&event));
            prop_assert_eq!(content(&decoded), content(&encoded));
        }
    }
}

#[test]
fn operations_have_counts_errors_and_durations() {
    let ms = |value| ("duration_ms", Value::IntValue(value));
    let digest = of(&[
        event("call.start", &[("system_time", Value::IntValue(5))]),
        event("call.stop", &[ms(10), ("rows", Value::IntValue(3))]),
        event("call.start", &[]),
        event("call.exception", &[ms(30)]),
        event("call.start", &[]),
        event("tick", &[("duration", Value::FloatValue(2e9)), ms(7)]),
    ]);
    let [call, tick] = digest.operations() else { panic!("{digest:?}") };
    assert_eq!((call.name.as_str(), call.count(), call.errors, call.in_flight()), ("call", 2, 1, 1));
    assert!((call.durations.sum() - 0.04).abs() < 1e-9);
    assert_eq!(call.durations.range(), Some((0.01, 0.03)));
    assert_eq!((tick.count(), tick.durations.sum()), (1, 2.0));
    let measurements = digest.measurements();
    let names: Vec<_> =
        measurements.map(|(operation, value)| (&*operation.name, &*value.key, value.last)).collect();
    assert_eq!(names, [("call", "rows", 3.0), ("tick", "duration_ms", 7.0)]);
}

#[test]
fn measurements_have_first_last_and_range() {
    let loss = |value| event("step", &[("loss", Value::FloatValue(value))]);
    let digest = of(&[loss(2.5), loss(f64::NAN), loss(3.0), loss(0.5)]);
    let (_, loss) = digest.measurements().next().unwrap();
    assert_eq!((loss.count, loss.first, loss.last, loss.min, loss.max), (4, 2.5, 0.5, 0.5, 3.0));
}

fn training() -> Digest {
    let mut events = Vec::new();
    for step in 0..200_u8 {
        let loss = 2.3 / (1.0 + f64::from(step) / 20.0);
        let ms = 10.0 + f64::from(step % 10);
        events.push(event(
            "training.step.stop",
            &[("duration_ms", Value::FloatValue(ms)), ("loss", Value::FloatValue(loss))],
        ));
    }
    events.push(event("checkpoint.save.exception", &[("duration_ms", Value::IntValue(1500))]));
    events.push(event("x\u{1b}[31m\ny", &[]));
    events.push(event("a rather long name 写", &[]));
    of(&events)
}

#[test]
fn tables_fit_the_screen() {
    let digest_of = |width, charset| {
        let screen = Screen { width, colour: false, charset };
        screen.text(&digest(&training(), Order::Time, |_| None, &screen))
    };
    let expected = concat!(
        "OPERATION              COUNT  ERRORS      P50    P95    P99  TOTAL\n",
        "training.step            200          13.9 ms  19 ms  19 ms  2.9 s\n",
        "checkpoint.save            1       1    1.5 s  1.5 s  1.5 s  1.5 s\n",
        "a rather long name 写      1\n",
        "x\\u{1b}[31m\\ny             1\n",
        "\n",
        "MEASUREMENT         COUNT  FIRST  LAST   MIN  MAX  COURSE\n",
        "training.step.loss    200    2.3  0.21  0.21  2.3  █▅▄▃▃▂▂▂▂▂▁▁▁▁▁▁\n",
    );
    assert_eq!(digest_of(Some(80), Charset::Unicode), expected);
    let expected = concat!(
        "OPERATION           COUNT  ERRORS    P95\n",
        "training.step         200          19 ms\n",
        "checkpoint.save         1       1  1.5 s\n",
        "a rather long nam~      1\n",
        "x\\u{1b}[31m\\ny          1\n",
        "\n",
        "MEASUREMENT        FIRST  LAST  COURSE\n",
        "~aining.step.loss    2.3  0.21  ^-..____\n",
    );
    assert_eq!(digest_of(Some(40), Charset::Ascii), expected);
}

#[test]
fn what_is_beyond_the_limits_is_one_row() {
    let value = |key| (key, Value::IntValue(1));
    let events =
        [event("a", &[value("x"), value("y")]), event("b", &[value("x")]), event("b.exception", &[])];
    let (digested, _) = both(Limits { operations: 1, measurements: 1 }, &events);
    let text = Screen::FILE.text(&digest(&digested, Order::Time, |_| None, &Screen::FILE));
    let expected = concat!(
        "OPERATION  COUNT  ERRORS\n",
        "a              1\n",
        "(other)        2       1\n",
        "\n",
        "MEASUREMENT  COUNT  FIRST  LAST  MIN  MAX  COURSE\n",
        "a.x              1      1     1    1    1  ▅\n",
        "(other)          2\n",
    );
    assert_eq!(text, expected);
}

#[test]
fn rates_are_shown_if_they_are_known() {
    let lines = digest(&training(), Order::Count, |_| Some(20.0), &Screen::FILE);
    let text = Screen::FILE.text(&lines);
    assert!(text.contains("RATE") && text.contains("20/s"), "{text}");
}
