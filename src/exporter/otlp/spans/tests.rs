//! What spans come of which events.

use super::*;
use crate::event::proto::bridge::{TelemetryEvent, TelemetryValue, telemetry_value};
use crate::exporter::otlp::proto::{
    common::v1::any_value::Value,
    trace::v1::{Span, Status, status::StatusCode},
};
use crate::exporter::trace_ids::{self, TraceId};

mod ended;
mod given;
mod line;
mod long;
mod nesting;
mod run;

pub(super) const REMOTE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// An event at a time in ns, of a correlation id.
pub(super) fn event(name: &str, at: i64, id: &str) -> TelemetryEvent {
    TelemetryEvent {
        event_parts: name.split('.').map(str::to_owned).collect(),
        timestamp_ns: at,
        correlation_id: id.into(),
        ..TelemetryEvent::default()
    }
}

trait With: Sized {
    fn took(self, duration: i64) -> Self;
    fn saying(self, key: &str, value: &str) -> Self;
}

impl With for TelemetryEvent {
    fn took(mut self, duration: i64) -> Self {
        let value = Some(telemetry_value::Value::IntValue(duration));
        self.measurements.insert("duration".into(), TelemetryValue { value });
        self
    }

    fn saying(mut self, key: &str, value: &str) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }
}

/// The options: a timeout of a minute.
pub(super) fn options(flat: bool) -> Options {
    Options { flat, timeout: Duration::from_secs(60), instance: "instance".into(), run: None }
}

/// The trace id of a correlation id.
fn trace_id(id: &str) -> TraceId {
    trace_ids::trace_id(id, "instance")
}

/// The spans of events, then of the end.
fn spans_of(flat: bool, events: impl IntoIterator<Item = TelemetryEvent>) -> Vec<Span> {
    let mut spans = Spans::new(options(flat));
    let mut queue = Queue::new(1000, false);
    for event in events {
        spans.take(&View::from(&event), Instant::now(), &mut queue);
    }
    spans.close(Instant::now(), &mut queue);
    queue.all()
}

fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let mut all = spans.iter().filter(|span| span.name == name);
    let span = all.next().unwrap_or_else(|| panic!("no {name} in {spans:#?}"));
    assert!(all.next().is_none(), "{name} more than once: {spans:#?}");
    span
}

/// The name of a span's parent.
fn parent<'a>(spans: &'a [Span], name: &str) -> Option<&'a str> {
    let id = &named(spans, name).parent_span_id;
    let parent = spans.iter().find(|span| !id.is_empty() && span.span_id == *id);
    assert_eq!(parent.is_none(), id.is_empty(), "a parent that is not there: {spans:#?}");
    parent.map(|parent| parent.name.as_str())
}

fn times(span: &Span) -> (u64, u64) {
    (span.start_time_unix_nano, span.end_time_unix_nano)
}

fn attribute<'a>(span: &'a Span, key: &str) -> Option<&'a Value> {
    let attribute = span.attributes.iter().find(|attribute| attribute.key == key)?;
    attribute.value.as_ref()?.value.as_ref()
}

fn text<'a>(span: &'a Span, key: &str) -> Option<&'a str> {
    match attribute(span, key) {
        Some(Value::StringValue(text)) => Some(text),
        _ => None,
    }
}

#[test]
fn a_start_and_its_stop_are_a_span() {
    let start = event("tool.run.start", 100, "c").saying("tool", "x").saying("first", "1");
    let stop = event("tool.run.stop", 150, "c").saying("tool", "x").saying("result", "ok").took(50);
    let spans = spans_of(false, [start, stop]);
    let [span] = &spans[..] else { panic!("{spans:#?}") };
    assert_eq!((span.name.as_str(), times(span), span.status.clone()), ("tool.run", (100, 150), None));
    assert_eq!(span.trace_id, trace_id("c"));
    assert_eq!((&span.parent_span_id[..], span.flags, span.kind), (&[][..], 0x101, 1));
    for (key, value) in [("tool", "x"), ("first", "1"), ("result", "ok"), ("snakepit.correlation_id", "c")] {
        assert_eq!(text(span, key), Some(value), "{key}");
    }
    assert_eq!(attribute(span, "duration"), Some(&Value::IntValue(50)));
    assert_eq!(attribute(span, INCOMPLETE), None);
}

#[test]
fn an_exception_is_an_error_with_an_event() {
    let start = event("call.start", 100, "c").saying("tool", "x");
    let end = event("call.exception", 150, "c")
        .saying("tool", "x")
        .saying("error_type", "ValueError")
        .saying("error_message", "bad")
        .saying("traceback", "Traceback …")
        .saying("error_category", "input");
    let spans = spans_of(false, [start, end]);
    let [span] = &spans[..] else { panic!("{spans:#?}") };
    assert_eq!(span.status, Some(Status { message: "bad".into(), code: StatusCode::Error.into() }));
    assert_eq!(text(span, "error.type"), Some("ValueError"));
    assert_eq!((text(span, "error_category"), text(span, "error_message")), (Some("input"), None));
    let [exception] = &span.events[..] else { panic!("{span:#?}") };
    assert_eq!((exception.name.as_str(), exception.time_unix_nano), ("exception", 150));
    let said: Vec<_> = exception.attributes.iter().map(|attribute| attribute.key.as_str()).collect();
    assert_eq!(said, ["exception.type", "exception.message", "exception.stacktrace"]);
    // It is there however much else has happened.
    let busy = (0..500).map(|at| event("sampled", at, "c").saying("text", &"x".repeat(10_000)));
    let ends = [event("call.exception", 1000, "c")];
    let spans = spans_of(false, [event("call.start", 0, "c")].into_iter().chain(busy).chain(ends));
    assert_eq!(spans[0].events.last().map(|event| event.name.as_str()), Some("exception"));
    assert_eq!(spans[0].events.len() + spans[0].dropped_events_count as usize, 501);
    // One that says nothing is an error still.
    let spans = spans_of(false, [event("call.exception", 150, "c")]);
    assert_eq!(text(&spans[0], "error.type"), Some("_OTHER"));
    assert_eq!(spans[0].events.len(), 1);
}

#[test]
fn an_end_belongs_to_the_start_nearest_to_its_time_less_its_duration() {
    let starts = [100, 200, 300].map(|at| event("a.start", at, "c"));
    let ends = [(1000, 795), (1010, 915), (1020, 700)];
    let ends = ends.map(|(at, duration)| event("a.stop", at, "c").took(duration));
    let mut found: Vec<_> = spans_of(false, starts.into_iter().chain(ends)).iter().map(times).collect();
    found.sort_unstable();
    assert_eq!(found, [(100, 1015), (200, 995), (300, 1000)]);
}

#[test]
fn without_a_duration_it_is_the_latest_start() {
    let events = [event("a.start", 1, "c"), event("a.start", 2, "c"), event("a.stop", 9, "c")];
    let spans = spans_of(true, events);
    let complete: Vec<_> = spans.iter().filter(|span| attribute(span, INCOMPLETE).is_none()).collect();
    assert_eq!(times(complete[0]), (2, 9));
}

#[test]
fn metadata_tells_apart_what_runs_at_the_same_time() {
    let start = |at, tool| event("a.start", at, "c").saying("tool", tool);
    let stop = |at, tool| event("a.stop", at, "c").saying("tool", tool);
    let spans = spans_of(true, [start(1, "x"), start(2, "y"), stop(10, "x"), stop(11, "y")]);
    let found: Vec<_> = spans.iter().map(|span| (text(span, "tool").unwrap(), times(span))).collect();
    assert_eq!(found, [("x", (1, 10)), ("y", (2, 11))]);
    // An end that contradicts is another operation's; one that says less or more is not.
    assert_eq!(spans_of(true, [start(1, "x"), stop(10, "y")]).len(), 2);
    assert_eq!(spans_of(true, [start(1, "x"), event("a.stop", 10, "c")]).len(), 1);
    assert_eq!(spans_of(true, [event("a.start", 1, "c"), stop(10, "x")]).len(), 1);
    // What the error is, is not there at the start.
    let failing = event("a.exception", 10, "c").saying("tool", "x").saying("error_type", "E");
    let two = [start(1, "x"), event("a.start", 9, "c").saying("tool", "z"), failing];
    assert_eq!(times(&spans_of(true, two)[0]), (1, 10));
}

#[test]
fn other_operations_and_correlation_ids_are_others() {
    assert_eq!(spans_of(false, [event("a.start", 1, "c"), event("b.stop", 2, "c")]).len(), 2);
    assert_eq!(spans_of(false, [event("a.start", 1, "c"), event("a.stop", 2, "d")]).len(), 2);
    // Without correlation id: a span, alone in its trace.
    let events =
        [event("a.start", 1, ""), event("b.start", 2, ""), event("b.stop", 3, ""), event("a.stop", 4, "")];
    let spans = spans_of(false, events);
    assert_eq!((spans.len(), parent(&spans, "b")), (2, None));
    assert_ne!(named(&spans, "a").trace_id, named(&spans, "b").trace_id);
}

#[test]
fn an_end_without_a_start_is_a_span_of_its_duration() {
    let spans = spans_of(false, [event("a.stop", 150, "c").took(50)]);
    assert_eq!(times(&spans[0]), (100, 150));
    assert_eq!(times(&spans_of(false, [event("a.stop", 150, "c")])[0]), (150, 150));
    assert_eq!(times(&spans_of(false, [event("a.stop", 150, "c").took(500)])[0]), (0, 150));
    assert_eq!(times(&spans_of(false, [event("a.stop", 150, "c").took(-5)])[0]), (150, 150));
}

#[test]
fn all_that_is_open_at_the_end_keeps_its_parents() {
    let events = ["a.start", "b.start", "c.start"].map(|name| (name, "x"));
    let events = events.into_iter().zip(1..).map(|((name, id), at)| event(name, at, id));
    let spans = spans_of(false, events);
    assert_eq!((parent(&spans, "a"), parent(&spans, "b"), parent(&spans, "c")), (None, Some("a"), Some("b")));
    assert!(spans.iter().all(|span| span.end_time_unix_nano >= 3));
}

#[test]
fn the_parent_is_the_innermost_span_open_at_both_ends() {
    let events = [
        event("request.start", 1, "c"),
        event("other.start", 2, "d"),
        event("call.start", 3, "c"),
        // They overlap, so none is in the other.
        event("left.start", 4, "c"),
        event("right.start", 5, "c"),
        event("left.stop", 6, "c"),
        event("right.stop", 7, "c"),
        event("call.stop", 8, "c"),
        event("late.start", 9, "c"),
        event("late.stop", 10, "c"),
        event("request.stop", 11, "c"),
        event("other.stop", 12, "d"),
    ];
    let spans = spans_of(false, events.clone());
    let expected = [
        ("request", None),
        ("other", None),
        ("call", Some("request")),
        ("left", Some("call")),
        ("right", Some("call")),
        ("late", Some("request")),
    ];
    for (name, around) in expected {
        assert_eq!(parent(&spans, name), around, "{name}");
    }
    let flat = spans_of(true, events);
    assert!(flat.iter().all(|span| span.parent_span_id.is_empty()), "{flat:#?}");
    assert_eq!(named(&flat, "left").trace_id, named(&flat, "request").trace_id);
}

#[test]
fn spans_without_starts_are_nested_by_their_times() {
    let events = [
        event("outer.start", 0, "c"),
        event("leaf.stop", 50, "c").took(10),
        event("else.stop", 60, "d").took(55),
        event("leaf2.stop", 70, "c").took(10),
        event("middle.stop", 80, "c").took(50),
        event("before.stop", 81, "c").took(78),
        event("outer.stop", 90, "c").took(90),
    ];
    let spans = spans_of(false, events);
    let expected = [
        ("leaf", Some("middle")),
        ("leaf2", Some("middle")),
        ("middle", Some("before")),
        ("before", Some("outer")),
        ("outer", None),
        ("else", None),
    ];
    for (name, around) in expected {
        assert_eq!(parent(&spans, name), around, "{name}");
    }
}

#[test]
fn a_traceparent_gives_trace_and_parent() {
    let events = [
        event("call.start", 1, "c").saying("traceparent", REMOTE),
        event("inner.start", 2, "c"),
        event("inner.stop", 3, "c"),
        event("call.stop", 4, "c").saying("traceparent", REMOTE),
        event("alone.stop", 5, "c"),
    ];
    for flat in [false, true] {
        let spans = spans_of(flat, events.clone());
        let call = named(&spans, "call");
        assert_eq!(call.parent_span_id, 0xb7ad_6b71_6920_3331_u64.to_be_bytes());
        assert_eq!((call.flags, text(call, "traceparent")), (0x301, None));
        let inner = named(&spans, "inner");
        assert_eq!(inner.trace_id == call.trace_id, !flat, "a child is in its parent's trace");
        assert_eq!(inner.parent_span_id == call.span_id, !flat);
        assert_eq!(named(&spans, "alone").trace_id, trace_id("c"));
    }
}

#[test]
fn a_traceparent_may_be_the_correlation_id() {
    let events = [
        event("call.start", 1, REMOTE),
        event("inner.stop", 2, REMOTE),
        event("call.stop", 4, REMOTE),
        event("leaf.stop", 9, REMOTE).took(1),
        event("root.stop", 10, REMOTE).took(5),
    ];
    let spans = spans_of(false, events);
    let remote = 0xb7ad_6b71_6920_3331_u64.to_be_bytes();
    assert_eq!(
        (&named(&spans, "call").parent_span_id[..], named(&spans, "call").flags),
        (&remote[..], 0x301)
    );
    assert_eq!(named(&spans, "inner").parent_span_id, named(&spans, "call").span_id);
    assert_eq!(
        (&named(&spans, "root").parent_span_id[..], named(&spans, "root").flags),
        (&remote[..], 0x301)
    );
    let leaf = named(&spans, "leaf");
    assert_eq!((&leaf.parent_span_id, leaf.flags), (&named(&spans, "root").span_id, 0x101));
}

#[test]
fn what_happens_by_itself_is_an_event_of_the_innermost_span() {
    let events = [
        event("outer.start", 1, "c"),
        event("inner.start", 2, "c"),
        event("memory.sampled", 3, "c").saying("kind", "rss"),
        event("memory.sampled", 3, "d"),
        event("memory.sampled", 3, ""),
        event("inner.stop", 4, "c"),
        event("result", 5, "c"),
        event("outer.stop", 6, "c"),
        event("late", 7, "c"),
    ];
    let spans = spans_of(false, events);
    let happened = |name| {
        let events = named(&spans, name).events.iter();
        events.map(|event| (event.name.clone(), event.time_unix_nano)).collect::<Vec<_>>()
    };
    assert_eq!(spans.len(), 2);
    assert_eq!(happened("inner"), [("memory.sampled".into(), 3)]);
    assert_eq!(happened("outer"), [("result".into(), 5)]);
}

#[test]
fn a_span_lasts_as_long_as_was_measured() {
    let lasts = |start: i64, stop: i64, duration: Option<i64>| {
        let stop = event("a.stop", stop, "c");
        let stop = if let Some(duration) = duration { stop.took(duration) } else { stop };
        times(&spans_of(false, [event("a.start", start, "c"), stop])[0])
    };
    // Both lines were read at once, so they have the same time.
    assert_eq!(lasts(1000, 1000, Some(300)), (1000, 1300));
    // The clock was set forward and back, and the pipe was read late.
    assert_eq!(lasts(1000, 500_000, Some(300)), (1000, 1300));
    assert_eq!(lasts(1000, 500, Some(300)), (1000, 1300));
    assert_eq!(lasts(1000, 1700, Some(300)), (1000, 1300));
    // Without a valid duration only the timestamps are known.
    assert_eq!(lasts(1000, 1700, None), (1000, 1700));
    assert_eq!(lasts(1000, 1700, Some(-300)), (1000, 1700));
    assert_eq!(lasts(1000, 500, None), (1000, 1000));
    // An exception happens at the end.
    let failing = [event("a.start", 1000, "c"), event("a.exception", 500_000, "c").took(300)];
    assert_eq!(spans_of(false, failing)[0].events[0].time_unix_nano, 1300);
}
