//! Ids, kinds and sampling decisions that the worker gives.

use super::*;
use crate::exporter::otlp::proto::trace::v1::span::SpanKind;

pub(super) const UNSAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
const TRACE: &str = "11111111111111111111111111111111";

pub(super) fn kind(spans: &[Span], name: &str) -> SpanKind {
    named(spans, name).kind.try_into().unwrap()
}

fn id(digits: u64) -> Vec<u8> {
    digits.to_be_bytes().into()
}

#[test]
fn an_unsampled_trace_is_not_exported_and_has_no_exemplars() {
    let below = |caller: fn(TelemetryEvent) -> TelemetryEvent, id: &str| {
        let events = [
            caller(event("call.start", 1, id)),
            event("inner.start", 2, id),
            event("sampled", 3, id),
            event("leaf.stop", 4, id).took(1),
            event("inner.stop", 5, id),
            caller(event("call.stop", 6, id)),
            event("other.start", 7, "other"),
            event("other.stop", 8, "other"),
        ];
        let mut spans = Spans::new(options(false));
        let mut queue = Queue::new(10, false);
        let now = Instant::now();
        let contexts = events.map(|event| spans.take(&View::from(&event), now, &mut queue).is_some());
        assert_eq!(contexts, [false, false, false, false, false, false, true, true]);
        // One that never ends is not exported either.
        spans.take(&View::from(&caller(event("open.start", 9, id))), now, &mut queue);
        spans.close(now, &mut queue);
        let counts = Counts { unsampled: 4, ..Counts::default() };
        assert_eq!(spans.take_counts(), counts);
        let names: Vec<_> = queue.all().into_iter().map(|span| span.name).collect();
        assert_eq!(names, ["other"]);
    };
    below(|event| event.saying("traceparent", UNSAMPLED), "c");
    below(|event| event, UNSAMPLED);
}

#[test]
fn the_tracestate_is_in_the_span_and_those_below_it() {
    let events = [
        event("call.start", 1, "c").saying("traceparent", REMOTE).saying("tracestate", "a=1,b=2"),
        event("inner.start", 2, "c"),
        event("inner.stop", 3, "c"),
        event("call.stop", 4, "c").saying("traceparent", REMOTE).saying("tracestate", "a=1,b=2"),
        event("wrong.stop", 5, "c").saying("traceparent", REMOTE).saying("tracestate", "a"),
        event("alone.stop", 6, "c").saying("tracestate", "a=1"),
    ];
    let spans = spans_of(false, events);
    for (name, state) in [("call", "a=1,b=2"), ("inner", "a=1,b=2"), ("wrong", ""), ("alone", "")] {
        let span = named(&spans, name);
        assert_eq!((span.trace_state.as_str(), text(span, "tracestate")), (state, None), "{name}");
    }
}

#[test]
fn ids_in_the_metadata_are_those_of_the_spans() {
    let call = |phase, at| event(&format!("call.{phase}"), at, "c").saying("span_id", "00000000000000AA");
    let tool = |phase, at, n: u64| {
        let event = event(&format!("tool.{phase}"), at, "c");
        event.saying("span_id", &format!("{n:016x}")).saying("parent_span_id", "00000000000000aa")
    };
    let events = [
        call("start", 1),
        tool("start", 2, 1),
        tool("start", 3, 2),
        tool("start", 4, 3),
        tool("stop", 5, 3),
        tool("stop", 6, 1),
        tool("stop", 7, 2),
        call("stop", 8),
    ];
    for flat in [false, true] {
        let spans = spans_of(flat, events.clone());
        assert_eq!(named(&spans, "call").span_id, id(0xaa));
        let mut tools: Vec<_> = spans.iter().filter(|span| span.name == "tool").collect();
        tools.sort_by_key(|span| span.span_id.clone());
        let found = tools.iter().map(|span| (times(span), span.span_id.clone(), span.parent_span_id.clone()));
        let expected = [((2, 6), 1), ((3, 7), 2), ((4, 5), 3)].map(|(times, n)| (times, id(n), id(0xaa)));
        assert!(found.eq(expected), "{tools:#?}");
        for span in &spans {
            assert_eq!((span.trace_id.as_slice(), span.flags), (&trace_id("c")[..], 0x101));
            let keys = ["span_id", "parent_span_id", "trace_id"];
            assert_eq!(keys.map(|key| text(span, key)), [None; 3]);
        }
    }
}

#[test]
fn a_span_id_without_a_parent_leaves_the_parent_to_the_nesting() {
    let events = [
        event("call.start", 1, "c").saying("span_id", "00000000000000aa"),
        event("tool.start", 2, "c").saying("span_id", "00000000000000bb").saying("parent_span_id", "null"),
        event("inner.stop", 3, "c"),
        event("tool.stop", 4, "c"),
        event("call.stop", 5, "c"),
    ];
    let spans = spans_of(false, events);
    assert_eq!((parent(&spans, "tool"), parent(&spans, "inner")), (Some("call"), Some("tool")));
    assert_eq!(
        (named(&spans, "tool").span_id.clone(), named(&spans, "call").span_id.clone()),
        (id(0xbb), id(0xaa))
    );
    assert_eq!(text(named(&spans, "tool"), "parent_span_id"), None);
}

#[test]
fn a_trace_id_relates_spans_of_different_correlation_ids() {
    let with = |event: TelemetryEvent| event.saying("trace_id", TRACE);
    let events = [
        with(event("call.start", 1, "c")).saying("span_id", "00000000000000aa"),
        // In another trace.
        event("other.start", 2, "d").saying("parent_span_id", "00000000000000aa"),
        with(event("tool.start", 3, "d")).saying("parent_span_id", "00000000000000aa"),
        with(event("call.stop", 4, "d")).saying("span_id", "00000000000000aa"),
        with(event("tool.stop", 5, "d")),
        event("other.stop", 6, "d"),
    ];
    let spans = spans_of(false, events);
    assert_eq!(spans.len(), 3);
    let (call, tool, other) = (named(&spans, "call"), named(&spans, "tool"), named(&spans, "other"));
    assert_eq!((times(call), call.trace_id.as_slice()), ((1, 4), &[0x11; 16][..]));
    assert_eq!((tool.trace_id.clone(), tool.flags), (call.trace_id.clone(), 0x101));
    // Nothing is known of a parent in this trace, so whether it is remote is not either.
    assert_eq!((other.trace_id.as_slice(), other.flags), (&trace_id("d")[..], 1));
    assert_eq!((&other.parent_span_id, &tool.parent_span_id), (&id(0xaa), &id(0xaa)));
}

#[test]
fn an_end_without_a_start_has_the_ids_of_its_metadata() {
    let events = [
        event("tool.stop", 8, "c")
            .took(5)
            .saying("span_id", "00000000000000bb")
            .saying("parent_span_id", "00000000000000aa"),
        event("call.stop", 9, "c").took(9).saying("span_id", "00000000000000aa"),
    ];
    let spans = spans_of(false, events);
    assert_eq!((named(&spans, "tool").span_id.clone(), parent(&spans, "tool")), (id(0xbb), Some("call")));
}

#[test]
fn an_end_may_add_the_parent_but_does_not_change_the_ids() {
    let events = [
        event("call.start", 1, "c").saying("span_id", "00000000000000aa"),
        event("between.start", 2, "c"),
        event("tool.start", 3, "c"),
        event("tool.stop", 4, "c")
            .saying("span_id", "00000000000000bb")
            .saying("parent_span_id", "00000000000000aa"),
        event("between.stop", 5, "c"),
        event("call.stop", 6, "c"),
    ];
    let spans = spans_of(false, events);
    let tool = named(&spans, "tool");
    assert_eq!((times(tool), parent(&spans, "tool")), ((3, 4), Some("call")));
    // Nor does a trace id.
    let ids = |event: TelemetryEvent| event.saying("span_id", "00000000000000cc");
    let [span] = &spans_of(
        false,
        [ids(event("a.start", 1, "c")), ids(event("a.stop", 2, "c")).saying("trace_id", TRACE)],
    )[..] else {
        panic!()
    };
    assert_eq!((span.trace_id.as_slice(), text(span, "trace_id")), (&trace_id("c")[..], Some(TRACE)));
    // It is not lost.
    assert_eq!((tool.span_id == id(0xbb), text(tool, "span_id")), (false, Some("00000000000000bb")));
}

#[test]
fn an_event_belongs_to_the_open_span_that_it_names() {
    let start = |name: &str, at, id| event(&format!("{name}.start"), at, "c").saying("span_id", id);
    let mut spans = Spans::new(options(false));
    let mut queue = Queue::new(10, false);
    let mut take = |event: TelemetryEvent| spans.take(&View::from(&event), Instant::now(), &mut queue);
    let call = take(start("call", 1, "00000000000000aa"));
    take(start("tool", 2, "00000000000000bb"));
    let named_call = event("in.call", 3, "c").saying("span_id", "00000000000000aa").saying("k", "v");
    assert_eq!(take(named_call), call);
    assert_eq!(take(event("below.call", 4, "c").saying("parent_span_id", "00000000000000aa")), call);
    // Not open, so it is only known where an exemplar has to point.
    let ended = take(event("after", 5, "c").saying("span_id", "00000000000000cc"));
    assert_eq!(ended, Some(Context { trace_id: trace_id("c"), span_id: 0xcc_u64.to_be_bytes() }));
    let elsewhere = event("unsampled", 5, "").saying("traceparent", UNSAMPLED);
    assert_eq!(take(elsewhere.saying("span_id", "00000000000000cc")), None);
    spans.close(Instant::now(), &mut queue);
    let spans = queue.all();
    let names: Vec<_> = named(&spans, "call").events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!((names, named(&spans, "tool").events.len()), (vec!["in.call", "below.call"], 0));
    let attributes = &named(&spans, "call").events[0].attributes;
    let keys: Vec<_> = attributes.iter().map(|attribute| attribute.key.as_str()).collect();
    assert_eq!(keys, ["snakepit.correlation_id", "k"]);
}

#[test]
fn invalid_values_stay_attributes_and_are_counted() {
    let mut spans = Spans::new(options(false));
    let mut queue = Queue::new(10, false);
    let invalid =
        [("span_id", "7"), ("parent_span_id", "0000000000000000"), ("trace_id", "x"), ("span.kind", "big")];
    let stop = invalid.iter().fold(event("a.stop", 1, "c"), |event, (key, value)| event.saying(key, value));
    spans.take(&View::from(&stop), Instant::now(), &mut queue);
    spans.take(&View::from(&event("a.stop", 1, "c")), Instant::now(), &mut queue);
    assert_eq!(spans.take_counts(), Counts { invalid: 1, ..Counts::default() });
    let spans = queue.all();
    for (key, value) in invalid {
        assert_eq!(text(&spans[0], key), Some(value));
    }
    assert_eq!((spans[0].parent_span_id.len(), spans[0].kind), (0, SpanKind::Internal.into()));
}

#[test]
fn the_metadata_says_the_kind_and_a_callers_child_is_a_server() {
    let remote = |event: TelemetryEvent| event.saying("traceparent", REMOTE);
    let events = [
        remote(event("served.start", 1, "c")),
        event("inner.start", 2, "c"),
        event("fetch.start", 3, "c").saying("span.kind", "CLIENT"),
        event("fetch.stop", 4, "c"),
        event("late.start", 5, "c"),
        event("late.stop", 6, "c").saying("span.kind", "Producer"),
        event("inner.stop", 7, "c"),
        remote(event("served.stop", 8, "c")),
        remote(event("taken.stop", 9, "c")).saying("span.kind", "consumer"),
        // The outermost spans of a correlation id that is a traceparent have its parent.
        event("first.start", 10, REMOTE),
        event("second.stop", 11, REMOTE),
        event("first.stop", 12, REMOTE),
        event("child.stop", 15, REMOTE).took(1),
        event("around.stop", 16, REMOTE).took(3),
    ];
    let spans = spans_of(false, events);
    let expected = [
        ("served", SpanKind::Server),
        ("inner", SpanKind::Internal),
        ("fetch", SpanKind::Client),
        ("late", SpanKind::Producer),
        ("taken", SpanKind::Consumer),
        ("first", SpanKind::Server),
        ("second", SpanKind::Internal),
        ("child", SpanKind::Internal),
        ("around", SpanKind::Server),
    ];
    for (name, expected) in expected {
        assert_eq!(kind(&spans, name), expected, "{name}");
        assert_eq!(text(named(&spans, name), "span.kind"), None, "{name}");
    }
}

#[test]
fn a_worker_may_print_the_traceparent_of_the_span_itself() {
    let own =
        |event: TelemetryEvent| event.saying("traceparent", REMOTE).saying("span_id", "b7ad6b7169203331");
    let spans = spans_of(false, [own(event("a.start", 1, "c")), own(event("a.stop", 2, "c"))]);
    assert_eq!((spans[0].parent_span_id.len(), spans[0].kind), (0, SpanKind::Internal.into()));
    assert_eq!(spans[0].span_id, id(0xb7ad_6b71_6920_3331));
}

#[test]
fn a_child_named_by_its_parents_id_is_as_sampled_as_the_parent() {
    let events = [
        event("call.start", 1, "c").saying("traceparent", UNSAMPLED).saying("span_id", "00000000000000aa"),
        event("tool.stop", 2, "c").saying("traceparent", REMOTE).saying("parent_span_id", "00000000000000aa"),
        event("call.stop", 3, "c").saying("span_id", "00000000000000aa"),
    ];
    assert_eq!(spans_of(false, events), []);
}
