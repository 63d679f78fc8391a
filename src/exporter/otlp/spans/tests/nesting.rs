//! Operations that run at the same time.

use super::*;

/// The spans of starts (`+name`) and ends (`-name`) of one correlation id. Names that differ only in digits
/// are of one operation.
fn spans_of_steps(steps: &str) -> Vec<Span> {
    let events = steps.split(' ').zip(1..).map(|(step, at)| {
        let (phase, name) = step.split_at(1);
        let operation = name.trim_end_matches(|c: char| c.is_ascii_digit());
        let phase = if phase == "+" { "start" } else { "stop" };
        event(&format!("{operation}.{phase}"), at, "c").saying("name", name)
    });
    spans_of(false, events)
}

/// Pairs of a span and its parent.
#[track_caller]
fn expect_parents(steps: &str, expected: &str) {
    let spans = spans_of_steps(steps);
    let mut found: Vec<_> = spans
        .iter()
        .map(|span| {
            let parent = spans.iter().find(|other| other.span_id == span.parent_span_id);
            let parent = parent.map_or("none", |parent| text(parent, "name").unwrap());
            format!("{}<{parent}", text(span, "name").unwrap())
        })
        .collect();
    found.sort();
    assert_eq!(found.join(" "), expected, "{steps}");
}

#[test]
fn operations_within_others_are_nested() {
    expect_parents("+call +tool +inner -inner -tool -call", "call<none inner<tool tool<call");
    expect_parents(
        "+call +tool1 -tool1 +tool2 +inner -inner -tool2 -call",
        "call<none inner<tool2 tool1<call tool2<call",
    );
}

#[test]
fn spans_of_the_same_operation_are_siblings() {
    // The first of three lasts longest, as tasks of asyncio do.
    let all = "call<none tool1<call tool2<call tool3<call";
    expect_parents("+call +tool1 +tool2 +tool3 -tool3 -tool2 -tool1 -call", all);
    expect_parents("+call +tool1 +tool2 +tool3 -tool1 -tool2 -tool3 -call", all);
    expect_parents("+call +tool1 +tool2 -tool1 +tool3 -tool3 -tool2 -call", all);
    expect_parents("+tool1 +tool2 -tool2 -tool1", "tool1<none tool2<none");
    // Tools of different names are different operations.
    let tool = |phase, at, name| event(&format!("tool.{phase}"), at, "c").saying("name", name);
    let events = [
        tool("start", 1, "outer"),
        tool("start", 2, "inner"),
        tool("stop", 3, "inner"),
        tool("stop", 4, "outer"),
    ];
    let [inner, outer] = &spans_of(false, events)[..] else { panic!() };
    assert_eq!((&inner.parent_span_id, text(outer, "name")), (&outer.span_id, Some("outer")));
    // What started last is the parent of what starts next.
    expect_parents(
        "+call +tool1 +inner1 +tool2 +inner2 -inner2 -tool2 -inner1 -tool1 -call",
        "call<none inner1<tool1 inner2<tool2 tool1<call tool2<call",
    );
    // Nothing is within what is within a sibling.
    expect_parents(
        "+call +tool1 +inner +tool2 -tool2 -inner -tool1 -call",
        "call<none inner<tool1 tool1<call tool2<call",
    );
}

#[test]
fn operations_that_were_seen_to_overlap_are_siblings_from_then_on() {
    expect_parents("+call +left +right -right -left -call", "call<none left<call right<left");
    expect_parents(
        "+call +left1 +right1 -left1 -right1 +left2 +right2 -right2 -left2 +right3 +left3 -left3 -right3 \
         -call",
        "call<none left1<call left2<call left3<call right1<call right2<call right3<call",
    );
    // A checkpoint is written in the background, while steps have parts.
    expect_parents(
        "+train +step1 +save1 +part1 -save1 -part1 -step1 +save2 +step2 -save2 +part2 -part2 -step2 \
         +step3 +save3 +part3 -part3 -save3 -step3 -train",
        "part1<step1 part2<step2 part3<step3 save1<step1 save2<train save3<train step1<train step2<train \
         step3<train train<none",
    );
    // Another correlation id, or the same one later, starts anew.
    expect_parents(
        "+left1 +right1 -left1 -right1 +left2 +right2 -right2 -left2",
        "left1<none left2<none right1<none right2<left2",
    );
}

#[test]
fn ends_alone_of_the_same_operation_are_siblings() {
    let ends = [("tool", 8, 4), ("tool", 9, 7), ("call", 10, 9)];
    let spans =
        spans_of(false, ends.map(|(name, at, took)| event(&format!("{name}.stop"), at, "c").took(took)));
    let call = named(&spans, "call");
    assert!(spans.iter().filter(|span| span.name == "tool").all(|span| span.parent_span_id == call.span_id));
}
