//! Spans that are open for long, and those that are given up.

use super::*;
use crate::exporter::otlp::started::Correlation;

fn small(open: usize) -> Spans {
    let limits = Limits { open, open_bytes: usize::MAX, given_up_bytes: usize::MAX };
    Spans::with_limits(options(false), limits)
}

fn is_incomplete(span: &Span) -> bool {
    attribute(span, INCOMPLETE) == Some(&Value::BoolValue(true))
}

#[test]
fn a_span_that_is_overdue_is_counted_once_and_stays_open() {
    let mut spans = Spans::new(options(false));
    let mut queue = Queue::new(10, false);
    let now = Instant::now();
    let at = |seconds| now + Duration::from_secs(seconds);
    spans.take(&View::from(&event("outer.start", 100, "c")), now, &mut queue);
    spans.take(&View::from(&event("inner.start", 200, "c")), at(30), &mut queue);
    for (seconds, overdue) in [(59, 0), (60, 1), (61, 0), (90, 1), (3600, 0)] {
        spans.find_overdue(at(seconds));
        assert_eq!(spans.take_counts(), Counts { overdue, ..Counts::default() }, "{seconds} s");
    }
    assert!(queue.is_empty(), "nothing is sent before the end");
    spans.take(&View::from(&event("inner.stop", 400, "c")), at(3600), &mut queue);
    spans.take(&View::from(&event("outer.stop", 500, "c")), at(3600), &mut queue);
    let spans = queue.all();
    assert_eq!((spans.len(), times(named(&spans, "outer"))), (2, (100, 500)));
    assert_eq!((parent(&spans, "inner"), spans.iter().any(is_incomplete)), (Some("outer"), false));
}

#[test]
fn the_log_names_an_overdue_operation() {
    let mut spans = Spans::new(options(false));
    let mut queue = Queue::new(10, false);
    let now = Instant::now();
    spans.take(&View::from(&event("train.epoch.start", 100, "c")), now, &mut queue);
    log::capture::take();
    spans.find_overdue(now + Duration::from_secs(60));
    // Other tests may have used up the limit of the call site.
    let lines = log::capture::take();
    let expected = "telemetry-sidecar: otlp: train.epoch runs for longer than 1m (--otlp-span-timeout)";
    assert!(lines.iter().all(|line| line.starts_with(expected)), "{lines:?}");
}

#[test]
fn what_is_open_at_the_end_is_incomplete() {
    let mut spans = Spans::new(options(false));
    let mut queue = Queue::new(10, false);
    let now = Instant::now();
    spans.take(&View::from(&event("outer.start", 100, "c")), now, &mut queue);
    spans.close(now + Duration::from_secs(60), &mut queue);
    assert_eq!((queue.len(), spans.take_counts().incomplete), (1, 1));
    let spans = queue.all();
    assert_eq!((times(&spans[0]), spans[0].status.clone()), ((100, 60_000_000_100), None));
    assert!(is_incomplete(&spans[0]));
}

#[test]
fn a_span_that_was_given_up_is_completed_with_the_same_ids() {
    let mut spans = small(2);
    let mut queue = Queue::new(10, false);
    let now = Instant::now();
    let call =
        |phase, at| event(&format!("call.{phase}"), at, "c").saying("traceparent", REMOTE).saying("n", "1");
    let mut take = |event: TelemetryEvent| spans.take(&View::from(&event), now, &mut queue).unwrap();
    let started = take(call("start", 100));
    take(event("within.start", 200, "c"));
    take(event("other.start", 300, "d"));
    // Now it is given up; children that end and start later keep it.
    take(event("within.stop", 400, "c"));
    take(event("later.stop", 500, "c").took(50));
    // It is matched by its metadata, and this is not its end.
    take(call("stop", 550).saying("n", "2"));
    assert_eq!(take(call("stop", 600)), started);
    assert_eq!(spans.take_counts(), Counts { incomplete: 1, ..Counts::default() });
    let all = queue.all();
    let [incomplete, within, later, _, complete] = &all[..] else { panic!("{all:#?}") };
    assert!(is_incomplete(incomplete) && !is_incomplete(complete));
    assert_eq!((times(incomplete).0, times(complete)), (100, (100, 600)));
    for span in [incomplete, complete] {
        assert_eq!((span.name.as_str(), span.span_id.as_slice()), ("call", &started.span_id[..]));
        assert_eq!((span.trace_id.as_slice(), span.flags, span.kind), (&started.trace_id[..], 0x301, 2));
        assert_eq!(span.parent_span_id, 0xb7ad_6b71_6920_3331_u64.to_be_bytes());
    }
    for child in [within, later] {
        assert_eq!((&child.parent_span_id, &child.trace_id), (&complete.span_id, &complete.trace_id));
    }
    assert_eq!(spans.open.size().0, 1, "what is completed is forgotten");
}

#[test]
fn the_oldest_of_too_many_is_given_up() {
    let mut spans = Spans::new(options(false));
    let mut queue = Queue::new(1000, false);
    let now = Instant::now();
    for number in 0..10_100 {
        spans.take(&View::from(&event("a.start", number, &format!("number {number}"))), now, &mut queue);
    }
    assert_eq!((queue.len(), spans.take_counts().incomplete), (100, 100));
    assert_eq!(text(&queue.all()[0], "snakepit.correlation_id"), Some("number 0"));
    // Large ones sooner.
    let large = "x".repeat(10_000);
    for number in 0..2000 {
        let start = event("a.start", number, &format!("number {number}")).saying("text", &large);
        spans.take(&View::from(&start), now, &mut queue);
    }
    let open = spans.open.open_from(0).count();
    let (_, bytes, _) = spans.open.size();
    assert!(open < 1000 && bytes <= 8 * 1024 * 1024, "{open} open, {bytes} bytes");
}

#[test]
fn what_remains_of_spans_that_were_given_up_is_bounded() {
    let mut spans = small(10);
    spans.open = OpenSpans::new(Limits { given_up_bytes: 100_000, open: 10, open_bytes: usize::MAX });
    let mut queue = Queue::new(10, false);
    let now = Instant::now();
    for number in 0..2000 {
        spans.take(&View::from(&event("a.start", number, "c")), now, &mut queue);
    }
    let (remaining, _, given_up_bytes) = spans.open.size();
    assert!((20..1000).contains(&remaining) && given_up_bytes <= 100_000, "{remaining}, {given_up_bytes}");
    // What is forgotten stays the parent of what it was around.
    let mut spans = small(1);
    spans.open = OpenSpans::new(Limits { given_up_bytes: 1000, open: 1, open_bytes: usize::MAX });
    let mut queue = Queue::new(1000, false);
    let outer = spans.take(&View::from(&event("outer.start", 1, "c")), now, &mut queue).unwrap();
    spans.take(&View::from(&event("inner.start", 2, "c")), now, &mut queue);
    spans.open.give_up(1);
    spans.take(&View::from(&event("inner.stop", 3, "c")), now, &mut queue);
    for number in 0..10 {
        spans.take(&View::from(&event("other.start", 4, &number.to_string())), now, &mut queue);
    }
    assert!(!spans.open.of(Correlation::new("c")).any(|(_, span)| &*span.operation == "outer"));
    let all = queue.all();
    assert_eq!(named(&all, "inner").parent_span_id, outer.span_id);
}

#[test]
fn an_end_finds_a_start_with_the_same_metadata_among_very_many() {
    for (correlation, has_metadata) in [("", true), ("c", true), ("c", false)] {
        let task = |phase, at, n: i64| {
            let event = event(&format!("task.{phase}"), at, correlation);
            if has_metadata { event.saying("task", &n.to_string()) } else { event }
        };
        let starts = (0..1500).map(|n| task("start", n, n));
        let ends = (0..1500).map(|n| task("stop", 5000 + n, n).took(5000));
        let mut spans = Spans::new(options(true));
        let mut queue = Queue::new(10_000, false);
        for event in starts.chain(ends) {
            spans.take(&View::from(&event), Instant::now(), &mut queue);
        }
        spans.close(Instant::now(), &mut queue);
        let spans = queue.all();
        let expected = (0..1500).map(|start| (start, start + 5000));
        assert!(spans.iter().map(times).eq(expected), "{correlation:?} {has_metadata}");
        assert!(!spans.iter().any(is_incomplete));
    }
}
