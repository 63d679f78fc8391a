//! Whatever events come, the spans are sound.

use super::{
    tests::{REMOTE, event, options},
    *,
};
use crate::exporter::otlp::proto::trace::v1::Span;
use crate::{
    event::proto::bridge::{TelemetryEvent, TelemetryValue, telemetry_value},
    exporter::trace_ids::Traceparent,
};
use proptest::{collection::vec, prelude::*, test_runner::Config};
use std::collections::{HashMap, HashSet};

const UNSAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

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
    let traceparent = prop_oneof![8 => Just(None), 1 => Just(Some(REMOTE)), 1 => Just(Some(UNSAMPLED))];
    vec((name, id, at, duration, metadata, traceparent), 0..80).prop_map(|all| {
        let made = all.into_iter().map(|(name, id, at, duration, metadata, traceparent)| {
            let mut event = event(&name, at, id);
            if let Some(duration) = duration {
                event.measurements.insert("duration".into(), TelemetryValue { value: Some(duration) });
            }
            event.metadata.extend(metadata.into_iter().map(|(key, value)| (key.to_owned(), value)));
            event.metadata.extend(traceparent.map(|text| ("traceparent".to_owned(), text.to_owned())));
            event
        });
        made.collect()
    })
}

/// Adds ids that the worker gives, which may contradict each other.
fn with_ids(events: Vec<TelemetryEvent>, ids: Vec<(u64, u64, u64)>) -> Vec<TelemetryEvent> {
    let with = |(mut event, (span, parent, trace)): (TelemetryEvent, _)| {
        // An id of zeros is invalid.
        let ids = [("span_id", format!("{span:016x}")), ("parent_span_id", format!("{parent:016x}"))];
        event.metadata.extend(ids.map(|(key, id)| (key.to_owned(), id)));
        event.metadata.insert("trace_id".into(), format!("{trace:032x}"));
        event
    };
    events.into_iter().zip(ids).map(with).collect()
}

/// Limits on open spans that few events exceed.
fn limits() -> impl Strategy<Value = Limits> {
    let open = prop_oneof![1..10usize, Just(1000)];
    let given_up_bytes = prop_oneof![0..3000usize, Just(usize::MAX)];
    let limits = |(open, given_up_bytes)| Limits { open, open_bytes: usize::MAX, given_up_bytes };
    (open, given_up_bytes).prop_map(limits)
}

/// A run whose ids are among those that the worker gives.
fn run_that_is_named() -> RunSpan {
    let mut run = RunSpan::new(None, &|_| None);
    let (trace_id, span_id) = (1_u128.to_be_bytes(), 1_u64.to_be_bytes());
    run.context = Context { trace_id, span_id };
    run
}

fn is_incomplete(span: &Span) -> bool {
    span.attributes.iter().any(|attribute| attribute.key == INCOMPLETE)
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, ..Config::default() })]

    #[test]
    fn any_events_make_sound_spans(events in events(), flat: bool, limits in limits()) {
        let ends = events.iter().filter(|event| {
            matches!(event.event_parts[1].as_str(), "stop" | "exception")
        }).count();
        let starts = events.iter().filter(|event| event.event_parts[1] == "start").count();
        let callers = events.iter().filter_map(|event| event.metadata.get("traceparent"));
        let is_sampled = !callers.into_iter().any(|caller| caller == UNSAMPLED);
        let mut spans = Spans::with_limits(options(flat), limits);
        let mut queue = Queue::new(1000, false);
        for event in events {
            let context = spans.take(&View::from(&event), Instant::now(), &mut queue);
            prop_assert!(event.event_parts[1] == "happened" || !is_sampled || context.is_some());
            spans.find_overdue(Instant::now());
        }
        spans.close(Instant::now(), &mut queue);
        prop_assert_eq!(spans.open.size(), (0, 0, 0), "what is closed is forgotten");
        let counts = spans.take_counts();
        let spans = queue.all();
        let (incomplete, complete): (Vec<_>, Vec<_>) = spans.iter().partition(|span| is_incomplete(span));
        // Every end is a span, and so is every start that none of them took in time.
        prop_assert_eq!(incomplete.len() as u64, counts.incomplete);
        prop_assert!(incomplete.len() <= starts && complete.len() <= ends);
        prop_assert!(complete.len() as u64 + counts.unsampled >= ends as u64);
        prop_assert!(counts.unsampled == 0 || !is_sampled);
        prop_assert!(counts.overdue <= starts as u64);

        let by_id = |spans: &[&Span]| -> HashMap<Vec<u8>, Span> {
            spans.iter().map(|span| (span.span_id.clone(), (*span).clone())).collect()
        };
        let (given_up, mut by_id) = (by_id(&incomplete), by_id(&complete));
        prop_assert_eq!((given_up.len(), by_id.len()), (incomplete.len(), complete.len()), "ids are unique");
        for (id, given_up) in given_up {
            let complete = by_id.entry(id).or_insert_with(|| given_up.clone());
            let known = |span: &Span| {
                let ids = (span.trace_id.clone(), span.parent_span_id.clone(), span.flags);
                (span.name.clone(), span.start_time_unix_nano, ids)
            };
            prop_assert_eq!(known(complete), known(&given_up), "an end completes what was given up");
        }
        for span in &spans {
            prop_assert!(span.start_time_unix_nano <= span.end_time_unix_nano);
            prop_assert!(span.trace_id.len() == 16 && span.trace_id.iter().any(|byte| *byte != 0));
            prop_assert!(span.flags & 1 == 1, "only sampled spans are sent");
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

    #[test]
    fn below_a_run_every_span_is_in_its_trace_or_the_callers(
        events in events(),
        flat: bool,
        limits in limits(),
    ) {
        let run = Arc::new(RunSpan::new(None, &|_| None));
        let options = Options { run: Some(Arc::clone(&run)), ..options(flat) };
        let mut spans = Spans::with_limits(options, limits);
        let mut queue = Queue::new(1000, false);
        for event in events {
            spans.take(&View::from(&event), Instant::now(), &mut queue);
        }
        spans.close(Instant::now(), &mut queue);
        let sent = queue.all();
        let by_id: HashMap<_, _> = sent.iter().map(|span| (&span.span_id[..], span)).collect();
        for span in &sent {
            let (mut ancestor, mut steps) = (span, 0);
            while let Some(parent) = by_id.get(&ancestor.parent_span_id[..]) {
                prop_assert_eq!(&parent.trace_id, &span.trace_id, "a trace is whole");
                ancestor = parent;
                steps += 1;
                prop_assert!(steps <= sent.len(), "parents go round in a circle");
            }
            if span.trace_id == run.context.trace_id {
                prop_assert_eq!(&ancestor.parent_span_id[..], &run.context.span_id[..]);
                prop_assert_eq!(ancestor.flags, 0x101, "the run is not remote");
            } else {
                let caller = Traceparent::parse(REMOTE).unwrap().parent;
                prop_assert_eq!(&span.trace_id[..], &caller.trace_id[..]);
                prop_assert_eq!(&ancestor.parent_span_id[..], &caller.span_id[..]);
            }
        }
    }

    #[test]
    fn contradictory_ids_do_no_harm(
        events in events(),
        ids in vec((0..4u64, 0..4u64, 0..3u64), 80),
        flat: bool,
        has_run: bool,
        limits in limits(),
    ) {
        let run = has_run.then(|| Arc::new(run_that_is_named()));
        let mut spans = Spans::with_limits(Options { run, ..options(flat) }, limits);
        let mut queue = Queue::new(1000, false);
        let ends = events.iter().filter(|event| {
            matches!(event.event_parts[1].as_str(), "stop" | "exception")
        }).count();
        for event in with_ids(events, ids) {
            spans.take(&View::from(&event), Instant::now(), &mut queue);
        }
        spans.close(Instant::now(), &mut queue);
        prop_assert_eq!(spans.open.size(), (0, 0, 0), "what is closed is forgotten");
        let counts = spans.take_counts();
        let spans = queue.all();
        let complete = spans.iter().filter(|span| !is_incomplete(span)).count() as u64;
        prop_assert_eq!(spans.len() as u64, complete + counts.incomplete);
        prop_assert!(complete <= ends as u64 && complete + counts.unsampled >= ends as u64);
        for span in &spans {
            prop_assert!(span.start_time_unix_nano <= span.end_time_unix_nano);
            prop_assert!(span.flags & 1 == 1, "only sampled spans are sent");
            prop_assert_ne!(&span.parent_span_id, &span.span_id, "no span is its own parent");
        }
    }
}
