//! Children of spans that have ended, and contexts that only an end has.

use super::{
    given::{UNSAMPLED, kind},
    *,
};
use crate::exporter::otlp::proto::trace::v1::span::SpanKind;

#[test]
fn a_child_of_a_span_that_has_ended_is_in_its_trace() {
    let start = |name: &str, at, correlation, id| {
        event(&format!("{name}.start"), at, correlation).saying("span_id", id)
    };
    let ends = |name: &str, at, correlation| event(&format!("{name}.stop"), at, correlation);
    let (call, tool) = ("00000000000000aa", "00000000000000bb");
    for correlation in ["", "c"] {
        let events = [
            start("call", 1, correlation, call).saying("traceparent", REMOTE).saying("tracestate", "a=1"),
            ends("call", 2, correlation),
            // The same id elsewhere.
            start("elsewhere", 3, "d", call),
            ends("elsewhere", 4, "d"),
            start("tool", 5, correlation, tool).saying("parent_span_id", call),
            ends("tool", 6, correlation).saying("span_id", tool),
            // An end without a start is remembered as well.
            ends("leaf", 7, correlation).saying("span_id", "00000000000000cc").saying("parent_span_id", tool),
            ends("last", 8, correlation).saying("parent_span_id", "00000000000000cc"),
        ];
        let spans = spans_of(false, events);
        let trace = &named(&spans, "call").trace_id;
        for (name, above) in [("tool", "call"), ("leaf", "tool"), ("last", "leaf")] {
            let span = named(&spans, name);
            assert_eq!(span.parent_span_id, named(&spans, above).span_id, "{correlation:?}: {name}");
            assert_eq!((&span.trace_id, span.flags), (trace, 0x101), "{correlation:?}: {name}");
            let state = (span.trace_state.as_str(), kind(&spans, name));
            assert_eq!(state, ("a=1", SpanKind::Internal), "{correlation:?}: {name}");
        }
        assert_ne!(&named(&spans, "elsewhere").trace_id, trace);
    }
}

#[test]
fn a_child_of_an_unsampled_span_that_has_ended_is_not_exported() {
    let call = "00000000000000aa";
    let mut spans = Spans::new(options(false));
    let mut queue = Queue::new(10, false);
    let mut take = |event: TelemetryEvent| spans.take(&View::from(&event), Instant::now(), &mut queue);
    take(event("call.start", 1, "c").saying("traceparent", UNSAMPLED).saying("span_id", call));
    take(event("call.stop", 2, "c").saying("span_id", call));
    let events = [
        event("background.start", 3, "c").saying("parent_span_id", call),
        event("background.stop", 4, "c").saying("parent_span_id", call),
        event("in.call", 5, "c").saying("span_id", call),
    ];
    assert_eq!(events.map(take), [None; 3]);
    assert_eq!(spans.take_counts(), Counts { unsampled: 2, ..Counts::default() });
    assert!(queue.is_empty());
}

#[test]
fn the_latest_2000_ended_spans_are_remembered() {
    let mut spans = Spans::new(options(false));
    let mut queue = Queue::new(10_000, false);
    let mut take = |event: TelemetryEvent| spans.take(&View::from(&event), Instant::now(), &mut queue);
    let traces: Vec<_> = (1..=2001u64)
        .map(|n| take(event("a.stop", 1, "").saying("span_id", &format!("{n:016x}"))).unwrap().trace_id)
        .collect();
    let mut trace_below = |n: u64| {
        let below = event("b.start", 2, "").saying("parent_span_id", &format!("{n:016x}"));
        take(below).unwrap().trace_id
    };
    assert_eq!([trace_below(2), trace_below(2001)], [traces[1], traces[2000]]);
    assert_ne!(trace_below(1), traces[0]);
}

#[test]
fn a_traceparent_that_only_the_end_has_decides_about_sampling() {
    let mut spans = Spans::new(options(false));
    let mut queue = Queue::new(10, false);
    let mut take =
        |event: TelemetryEvent| spans.take(&View::from(&event), Instant::now(), &mut queue).is_some();
    let unsampled = |event: TelemetryEvent| event.saying("traceparent", UNSAMPLED);
    assert!(take(event("a.start", 1, "c")));
    assert!(!take(unsampled(event("a.stop", 2, "c"))));
    // The start's parent counts.
    assert!(take(event("b.start", 3, "c").saying("parent_span_id", "00000000000000aa")));
    assert!(take(unsampled(event("b.stop", 4, "c"))));
    assert!(take(event("c.start", 5, "c").saying("traceparent", REMOTE)));
    assert!(take(unsampled(event("c.stop", 6, "c"))));
    // What is within a span may be unsampled like it, or was sent and keeps it as its parent.
    for (inner, is_sampled) in
        [(unsampled(event("in.stop", 8, "d")), false), (event("in.stop", 8, "d"), true)]
    {
        take(event("d.start", 7, "d"));
        take(event("in.start", 7, "d"));
        assert_eq!([take(inner), take(unsampled(event("d.stop", 9, "d")))], [is_sampled; 2]);
    }
    assert_eq!(spans.take_counts(), Counts { unsampled: 3, ..Counts::default() });
    let spans = queue.all();
    let names: Vec<_> = spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!((names, parent(&spans[2..], "in")), (vec!["b", "c", "in", "d"], Some("d")));
    assert_eq!(text(&spans[0], "traceparent"), Some(UNSAMPLED));
}

#[test]
fn a_traceparent_that_only_the_end_has_is_the_parent_in_its_trace_or_an_attribute() {
    let remote = |event: TelemetryEvent| event.saying("traceparent", REMOTE);
    let trace = &REMOTE[3..35];
    let events = [
        event("served.start", 1, trace),
        event("inner.start", 2, trace),
        remote(event("inner.stop", 3, trace)),
        remote(event("served.stop", 4, trace)),
        event("elsewhere.start", 5, "c"),
        remote(event("elsewhere.stop", 6, "c")),
    ];
    let spans = spans_of(false, events);
    let known = |name| {
        let span = named(&spans, name);
        (span.parent_span_id.clone(), span.flags, kind(&spans, name), text(span, "traceparent"))
    };
    let callers = 0xb7ad_6b71_6920_3331_u64.to_be_bytes().to_vec();
    let served = named(&spans, "served").span_id.clone();
    assert_eq!(known("served"), (callers, 0x301, SpanKind::Server, None));
    assert_eq!(known("inner"), (served, 0x101, SpanKind::Internal, None));
    assert_eq!(known("elsewhere"), (vec![], 0x101, SpanKind::Internal, Some(REMOTE)));
}
