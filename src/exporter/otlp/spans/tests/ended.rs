//! Children of spans that have ended.

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
    let mut take = |event: TelemetryEvent| spans.take(&event.into(), Instant::now(), &mut queue);
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
    let mut take = |event: TelemetryEvent| spans.take(&event.into(), Instant::now(), &mut queue);
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
