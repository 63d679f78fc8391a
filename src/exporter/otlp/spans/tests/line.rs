//! Which span an ordinary line belongs to.

use super::*;

/// The name of the span of a line with this correlation id, after these events.
fn span_of(events: &[(&str, &str)], correlation_id: Option<&str>) -> Option<String> {
    let mut spans = Spans::new(options(false));
    let mut queue = Queue::new(1000, false);
    for (at, (name, id)) in (1..).zip(events) {
        spans.take(&View::from(&event(name, at, id)), Instant::now(), &mut queue);
    }
    let context = spans.of_line(correlation_id)?;
    spans.close(Instant::now(), &mut queue);
    let all = queue.all();
    let found = all.iter().find(|span| Some(&span.span_id[..]) == context.span_id.as_ref().map(|id| &id[..]));
    let found = found.expect("a span that is sent");
    assert_eq!((&found.trace_id[..], found.flags & 0xff), (&context.trace_id[..], context.flags.into()));
    Some(found.name.clone())
}

#[test]
fn a_line_belongs_to_the_only_open_span() {
    assert_eq!(span_of(&[], None), None);
    assert_eq!(span_of(&[("a.start", "c")], None).as_deref(), Some("a"));
    assert_eq!(span_of(&[("a.start", "")], None).as_deref(), Some("a"));
    assert_eq!(span_of(&[("a.start", "c"), ("a.stop", "c")], None), None);
    assert_eq!(span_of(&[("a.start", "c"), ("b.start", "d"), ("a.stop", "c")], None).as_deref(), Some("b"));
}

#[test]
fn of_several_open_spans_it_is_the_innermost_if_all_have_one_correlation_id() {
    let nested = [("a.start", "c"), ("b.start", "c"), ("b.x.start", "c"), ("b.x.stop", "c")];
    assert_eq!(span_of(&nested, None).as_deref(), Some("b"));
    assert_eq!(span_of(&[("a.start", "c"), ("b.start", "d")], None), None);
    assert_eq!(span_of(&[("a.start", ""), ("b.start", "")], None), None);
}

#[test]
fn a_correlation_id_in_the_line_counts_more() {
    let events = [("a.start", "c"), ("b.start", "d"), ("b.x.start", "d"), ("a.y.start", "c")];
    assert_eq!(span_of(&events, Some("c")).as_deref(), Some("a.y"));
    assert_eq!(span_of(&events, Some("d")).as_deref(), Some("b.x"));
    assert_eq!(span_of(&events[..1], Some("other")), None);
}

#[test]
fn an_unsampled_span_is_named_with_its_flags() {
    let mut spans = Spans::new(options(false));
    let unsampled = event("a.start", 1, "c").saying("traceparent", &REMOTE.replace("-01", "-00"));
    spans.take(&View::from(&unsampled), Instant::now(), &mut Queue::new(10, false));
    assert_eq!(spans.of_line(None).map(|context| context.flags), Some(0));
}
