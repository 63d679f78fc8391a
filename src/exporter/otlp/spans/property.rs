//! Whatever events come, the spans are sound.

use super::{
    tests::{REMOTE, event},
    *,
};
use crate::event::proto::bridge::{TelemetryEvent, TelemetryValue, telemetry_value};
use proptest::{collection::vec, prelude::*, test_runner::Config};
use std::collections::{HashMap, HashSet};

/// Events of few names, ids and times, so that they meet.
fn events() -> impl Strategy<Value = Vec<TelemetryEvent>> {
    let name = (0..3usize, prop_oneof![Just("start"), Just("stop"), Just("exception"), Just("happened")])
        .prop_map(|(operation, phase)| format!("{}.{phase}", ["a", "b", "c"][operation]));
    let id = prop_oneof![Just(""), Just("x"), Just("y"), Just(REMOTE)];
    let at = prop_oneof![9 => 0..100i64, 1 => any::<i64>()];
    let duration = prop_oneof![
        2 => Just(None),
        6 => (0..50i64).prop_map(|ns| Some(telemetry_value::Value::IntValue(ns))),
        1 => any::<i64>().prop_map(|ns| Some(telemetry_value::Value::IntValue(ns))),
        1 => any::<f64>().prop_map(|ns| Some(telemetry_value::Value::FloatValue(ns))),
    ];
    let metadata = vec((prop_oneof![Just("k"), Just("l"), Just("error_type")], "[xy]"), 0..2);
    let traceparent = prop::bool::weighted(0.1);
    vec((name, id, at, duration, metadata, traceparent), 0..80).prop_map(|all| {
        let made = all.into_iter().map(|(name, id, at, duration, metadata, traceparent)| {
            let mut event = event(&name, at, id);
            if let Some(duration) = duration {
                event.measurements.insert("duration".into(), TelemetryValue { value: Some(duration) });
            }
            event.metadata.extend(metadata.into_iter().map(|(key, value)| (key.to_owned(), value)));
            if traceparent {
                event.metadata.insert("traceparent".into(), REMOTE.into());
            }
            event
        });
        made.collect()
    })
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, ..Config::default() })]

    #[test]
    fn any_events_make_sound_spans(events in events(), flat: bool, expire: bool) {
        let ends = events.iter().filter(|event| {
            matches!(event.event_parts[1].as_str(), "stop" | "exception")
        }).count();
        let starts = events.iter().filter(|event| event.event_parts[1] == "start").count();
        let mut spans = Spans::new(flat, Duration::ZERO);
        let mut queue = Queue::new(1000, false);
        for (index, event) in events.into_iter().enumerate() {
            let context = spans.take(&event.clone().into(), Instant::now(), &mut queue);
            prop_assert!(event.event_parts[1] == "happened" || context.is_some());
            if expire && index % 20 == 19 {
                spans.expire(Instant::now(), &mut queue);
            }
        }
        spans.close(Instant::now(), &mut queue);
        prop_assert_eq!(spans.open.size(), (0, 0), "what is closed is forgotten");
        let incomplete = spans.take_incomplete();
        let spans = queue.take(usize::MAX, usize::MAX);
        // Every end is a span, and so is every start that none of them took.
        prop_assert_eq!(spans.len() as u64, ends as u64 + incomplete);
        prop_assert!(incomplete <= starts as u64);

        let by_id: HashMap<_, _> = spans.iter().map(|span| (span.span_id.clone(), span)).collect();
        prop_assert_eq!(by_id.len(), spans.len(), "ids are unique");
        for span in &spans {
            prop_assert!(span.start_time_unix_nano <= span.end_time_unix_nano);
            prop_assert!(span.trace_id.len() == 16 && span.trace_id.iter().any(|byte| *byte != 0));
            let keys: HashSet<_> = span.attributes.iter().map(|attribute| &attribute.key).collect();
            prop_assert_eq!(keys.len(), span.attributes.len(), "attributes are unique");
            let mut ancestor = span;
            let mut steps = 0;
            while let Some(parent) = by_id.get(&ancestor.parent_span_id) {
                prop_assert_eq!(&parent.trace_id, &span.trace_id, "a trace is whole");
                prop_assert!(!flat);
                ancestor = parent;
                steps += 1;
                prop_assert!(steps <= spans.len(), "parents go round in a circle");
            }
            let remote = ancestor.flags & 0x200 != 0;
            prop_assert_eq!(ancestor.parent_span_id.is_empty(), !remote, "who is not here is remote");
        }
    }
}
