//! Spans below the span of the run.

use super::*;
use crate::worker::{End, Exit, Usage, state::WorkerState};

const SPAN: &str = "00000000000000aa";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// A run, and the spans of events, of the end and of the run.
fn spans_below(
    traceparent: &str,
    flat: bool,
    events: impl FnOnce(&RunSpan) -> Vec<TelemetryEvent>,
) -> (Arc<RunSpan>, Vec<Span>, Counts) {
    let variable = |name: &str| (name == "TRACEPARENT").then(|| traceparent.into());
    let run = Arc::new(RunSpan::new(Some("run".into()), &variable));
    let mut spans = Spans::new(Options { run: Some(Arc::clone(&run)), ..options(flat) });
    // One that is full does not keep the run span out.
    let events = events(&run);
    let mut queue = Queue::new(events.len().max(1), false);
    for event in events {
        spans.take(&View::from(&event), Instant::now(), &mut queue);
    }
    spans.close(Instant::now(), &mut queue);
    let worker = WorkerState::new("worker".as_ref());
    worker.starting();
    worker.started(42);
    worker.ended(End::new(Exit::Code(0), Usage::default()));
    spans.end_run(&worker, &mut queue);
    let counts = spans.take_counts();
    (run, queue.all(), counts)
}

#[test]
fn spans_without_a_parent_are_below_it_and_nested_ones_below_theirs() {
    for flat in [false, true] {
        let (run, spans, _) = spans_below("", flat, |_| {
            vec![
                event("outer.start", 10, "r"),
                event("inner.start", 20, "r"),
                event("inner.stop", 30, "r"),
                event("outer.stop", 40, "r"),
                event("alone.stop", 50, "").took(5),
                event("unended.start", 60, "0af7651916cd43dd8448eb211c80319c"),
            ]
        });
        assert_eq!((spans.len(), &*spans[0].name), (5, "run"), "it comes first");
        assert!(spans.iter().all(|span| span.trace_id == run.context.trace_id), "{spans:#?}");
        for name in ["outer", "alone", "unended"] {
            assert_eq!(parent(&spans, name), Some("run"), "{name}");
            assert_eq!((named(&spans, name).flags, named(&spans, name).kind), (0x101, 1), "{name}");
        }
        assert_eq!(parent(&spans, "inner"), Some(if flat { "run" } else { "outer" }));
        assert_eq!(parent(&spans, "run"), None);
    }
}

#[test]
fn spans_with_a_context_of_their_own_stay_in_it() {
    let (run, spans, _) = spans_below("", false, |_| {
        vec![
            event("called.stop", 10, "r").took(5).saying("traceparent", REMOTE),
            event("correlated.stop", 20, REMOTE).took(5),
            event("traced.stop", 30, "r").took(5).saying("trace_id", &"ab".repeat(16)),
            event("late.start", 40, "s"),
            event("late.stop", 50, "s").saying("traceparent", REMOTE),
        ]
    });
    for name in ["called", "correlated"] {
        let span = named(&spans, name);
        assert_eq!(hex(&span.trace_id), REMOTE[3..35]);
        assert_eq!((hex(&span.parent_span_id).as_str(), span.kind), (&REMOTE[36..52], 2), "{name}");
    }
    let traced = named(&spans, "traced");
    assert_eq!((hex(&traced.trace_id), traced.parent_span_id.len()), ("ab".repeat(16), 0));
    // It is in the run's trace since its start.
    assert_eq!(named(&spans, "late").trace_id, run.context.trace_id);
    assert_eq!(parent(&spans, "late"), Some("run"));
}

#[test]
fn a_worker_may_name_the_run_span_itself() {
    let (run, spans, counts) = spans_below("", false, |run| {
        let (span_id, trace_id) = (hex(&run.context.span_id), hex(&run.context.trace_id));
        let traceparent = format!("00-{trace_id}-{span_id}-01");
        vec![
            event("called.stop", 10, "r").took(5).saying("traceparent", &traceparent),
            event("child.stop", 20, "r").took(5).saying("parent_span_id", &span_id),
            event("both.start", 30, "r").saying("parent_span_id", &span_id).saying("span_id", SPAN),
            event("grandchild.stop", 40, "r").took(5).saying("parent_span_id", SPAN),
            event("both.stop", 50, "r").saying("span_id", SPAN),
            event("late.start", 60, "s"),
            event("late.stop", 70, "s").saying("traceparent", &traceparent),
            event("epoch.reached", 80, "").saying("span_id", &span_id).saying("epoch", "3"),
            event("saved", 90, "").saying("traceparent", &traceparent),
            event("elsewhere", 95, "").saying("span_id", &span_id).saying("trace_id", &"ab".repeat(16)),
            event("unnamed", 99, ""),
        ]
    });
    for name in ["called", "child", "both", "late"] {
        assert_eq!(parent(&spans, name), Some("run"), "{name}");
        let span = named(&spans, name);
        assert_eq!(
            (span.flags, span.kind, &span.trace_id[..]),
            (0x101, 1, &run.context.trace_id[..]),
            "{name}"
        );
    }
    assert_eq!(parent(&spans, "grandchild"), Some("both"));
    let events: Vec<_> = named(&spans, "run").events.iter().collect();
    assert_eq!(
        events.iter().map(|event| event.name.as_str()).collect::<Vec<_>>(),
        ["epoch.reached", "saved"]
    );
    assert_eq!((events[0].attributes.len(), events[1].attributes.len()), (1, 0));
    assert_eq!(counts.invalid, 0);
}

#[test]
fn below_an_unsampled_parent_only_sampled_traces_of_others_are_sent() {
    let unsampled = format!("{}00", &REMOTE[..53]);
    let other = "00-11111111111111111111111111111111-2222222222222222-01";
    let (run, spans, counts) = spans_below(&unsampled, false, |run| {
        let span_id = hex(&run.context.span_id);
        vec![
            event("a.start", 10, "r"),
            event("a.stop", 20, "r"),
            event("b.stop", 20, "r").took(5).saying("parent_span_id", &span_id),
            event("c.start", 30, "r"),
            event("other.stop", 40, "r").took(5).saying("traceparent", other),
        ]
    });
    assert_eq!(spans.iter().map(|span| span.name.as_str()).collect::<Vec<_>>(), ["other"]);
    assert_eq!((counts.unsampled, run.flags), (4, 0));
}

#[test]
fn the_state_of_the_parent_is_that_of_all_spans_of_the_run() {
    let variables = [("TRACEPARENT", REMOTE), ("TRACESTATE", "vendor=x")];
    let variable = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into());
    let run = Some(Arc::new(RunSpan::new(None, &variable)));
    let mut spans = Spans::new(Options { run, ..options(false) });
    let mut queue = Queue::new(1000, false);
    for event in [
        event("a.start", 10, "r"),
        event("b.stop", 20, "r").took(5),
        event("a.stop", 30, "r"),
        // It names the trace and says nothing about the state.
        event("c.stop", 40, "s").took(5).saying("traceparent", REMOTE),
    ] {
        spans.take(&View::from(&event), Instant::now(), &mut queue);
    }
    let spans = queue.all();
    let states: Vec<_> =
        ["a", "b", "c"].iter().map(|name| named(&spans, name).trace_state.as_str()).collect();
    assert_eq!(states, ["vendor=x", "vendor=x", ""]);
}
