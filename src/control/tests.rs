//! Toggle, filter and sampling together.

use super::*;

fn controls(changes: impl IntoIterator<Item = Control>) -> Controls {
    let mut controls = Controls::default();
    for change in changes {
        controls = controls.changed(change).unwrap();
    }
    controls
}

fn filter(allow: &[&str], deny: &[&str]) -> Control {
    let own = |globs: &[&str]| globs.iter().map(ToString::to_string).collect();
    Control::Filter { allow: own(allow), deny: own(deny) }
}

fn sampling(rate: f64, patterns: &[&str]) -> Control {
    Control::Sampling { rate, patterns: patterns.iter().map(ToString::to_string).collect() }
}

#[test]
fn deny_takes_precedence_over_allow() {
    let controls = controls([filter(&["tool.*"], &["*.stop"])]);
    assert_eq!(controls.evaluate("tool.execution.start").of_event(b""), Outcome::Keep);
    assert_eq!(controls.evaluate("tool.execution.stop").of_event(b""), Outcome::Filtered);
    assert_eq!(controls.evaluate("python.call.start").of_event(b""), Outcome::Filtered);
}

#[test]
fn filter_replaces_both_lists_and_empty_lists_clear() {
    let replaced = controls([filter(&["a"], &["b"]), filter(&[], &["c"])]);
    assert_eq!(replaced.evaluate("b").of_event(b""), Outcome::Keep);
    assert_eq!(replaced.evaluate("c").of_event(b""), Outcome::Filtered);
    assert!(controls([filter(&["a"], &["b"]), filter(&[], &[])]).keeps_all());
}

#[test]
fn toggle_is_checked_before_filter_and_filter_before_sampling() {
    let changes = [Control::Toggle(false), filter(&[], &["*"]), sampling(0.0, &[])];
    let mut controls = controls(changes);
    assert_eq!(controls.evaluate("a").of_event(b""), Outcome::Disabled);
    controls = controls.changed(Control::Toggle(true)).unwrap();
    assert_eq!(controls.evaluate("a").of_event(b""), Outcome::Filtered);
    controls = controls.changed(filter(&[], &[])).unwrap();
    assert_eq!(controls.evaluate("a").of_event(b""), Outcome::SampledOut);
}

#[test]
fn a_refused_control_changes_nothing() {
    let limits = PatternLimits { count: 3, bytes: 5, wildcards: 6 };
    let mut controls = Controls::within(limits).changed(filter(&["a"], &[])).unwrap();
    let refused = |controls: &Controls, control| controls.changed(control).unwrap_err();
    let too_many = ["b"; 4];
    assert_eq!(refused(&controls, filter(&too_many, &[])), Refused::TooManyPatterns);
    assert_eq!(refused(&controls, filter(&too_many[..2], &too_many[..2])), Refused::TooManyPatterns);
    assert_eq!(refused(&controls, sampling(0.0, &too_many)), Refused::TooManyPatterns);
    assert_eq!(refused(&controls, filter(&["b"], &["123456"])), Refused::PatternTooLong);
    assert_eq!(refused(&controls, sampling(0.0, &["b", "123456"])), Refused::PatternTooLong);
    assert_eq!(refused(&controls, filter(&["[a-c]"], &["*?*"])), Refused::TooManyWildcards);
    assert_eq!(refused(&controls, sampling(f64::NAN, &[])), Refused::NotANumber);
    assert_eq!(controls.evaluate("a").of_event(b""), Outcome::Keep);
    assert_eq!(controls.evaluate("b").of_event(b""), Outcome::Filtered);
    // Sampling holds what several controls have set.
    controls = controls.changed(sampling(0.5, &["1", "2", "?*?*?"])).unwrap();
    controls = controls.changed(sampling(0.5, &["1", "2"])).unwrap();
    assert_eq!(refused(&controls, sampling(0.5, &["3"])), Refused::TooManyPatterns);
    assert_eq!(refused(&controls, sampling(0.5, &["1", "??"])), Refused::TooManyPatterns);
    controls = controls.changed(sampling(0.5, &[])).unwrap();
    controls = controls.changed(sampling(0.5, &["?*?*?"])).unwrap();
    assert_eq!(refused(&controls, sampling(0.5, &["**"])), Refused::TooManyWildcards);
    assert_eq!(controls.work(), 1 + 1 + 5);
}

#[test]
fn remembered_outcomes_are_kept_by_a_toggle_and_not_by_a_change_of_patterns() {
    let remembered = |controls: &Controls| controls.rules.known.lock().unwrap().len();
    let mut controls = controls([filter(&["a"], &[])]);
    assert_eq!(controls.evaluate("a").of_event(b""), Outcome::Keep);
    for enabled in [false, true] {
        controls = controls.changed(Control::Toggle(enabled)).unwrap();
        assert_eq!(remembered(&controls), 1);
    }
    for change in [filter(&["b"], &[]), sampling(0.0, &[])] {
        controls = controls.changed(change).unwrap();
        assert_eq!(remembered(&controls), 0);
        assert_eq!(controls.evaluate("a").of_event(b""), Outcome::Filtered);
    }
    controls = controls.changed(filter(&[], &[])).unwrap();
    assert_eq!(controls.evaluate("a").of_event(b""), Outcome::SampledOut);
}

#[test]
fn the_number_and_length_of_remembered_names_is_bounded() {
    let controls = controls([filter(&["*x"], &[])]);
    for number in 0..2 * MAX_KNOWN_NAMES {
        controls.evaluate(&number.to_string());
        controls.evaluate(&format!("{number:0>width$}", width = MAX_KNOWN_NAME_BYTES + 1));
    }
    let known = controls.rules.known.lock().unwrap();
    assert!(known.len() <= MAX_KNOWN_NAMES && known.keys().all(|name| name.len() <= MAX_KNOWN_NAME_BYTES));
}

#[test]
fn names_over_1_kib_are_not_searched() {
    let patterns = ["*x*", "*[x]*", "a*", "*b", "a*b", "*"];
    for (middle, expected) in [(1022, 6), (1023, 4)] {
        let name = format!("a{}b", "x".repeat(middle));
        let matching = patterns.iter().filter(|pattern| {
            let controls = controls([filter(&[], &[pattern])]);
            controls.evaluate(&name) == NameOutcome::Decided(Outcome::Filtered)
        });
        assert_eq!(matching.count(), expected, "{middle}");
    }
}

/// As many patterns as a filter may have, each of them the longest, and names that nearly match all of them.
/// In a debug build too this takes no more than some milliseconds for a name; without bounds it would be
/// seconds.
#[test]
fn hostile_patterns_take_little_time_for_every_name() {
    let literal = |number| format!("*{}b{number:03}*", "a".repeat(250));
    let literals: Vec<_> = (0..1000).map(literal).collect();
    let classes = vec![format!("*{}?b*", "a".repeat(252)); 1];
    let name = "a".repeat(1000);
    for patterns in [literals, classes] {
        let controls = controls([Control::Filter { allow: Vec::new(), deny: patterns }]);
        let start = std::time::Instant::now();
        for number in 0..10 {
            let outcome = controls.evaluate(&format!("{name}{number}"));
            assert_eq!(outcome.of_event(b""), Outcome::Keep);
        }
        assert!(start.elapsed() < std::time::Duration::from_secs(2), "{:?}", start.elapsed());
    }
}

#[test]
fn the_longest_control_within_the_limits_is_read() {
    use crate::event::proto::bridge::{TelemetryControl, TelemetrySamplingUpdate, telemetry_control};
    use prost::Message as _;

    for limits in [PatternLimits::DEFAULT, PatternLimits { count: 1, bytes: 1 << 22, wildcards: 1 }] {
        let update = TelemetrySamplingUpdate {
            sampling_rate: 0.5,
            event_patterns: vec!["x".repeat(limits.bytes); limits.count],
        };
        let control = TelemetryControl { control: Some(telemetry_control::Control::Sampling(update)) };
        assert!(control.encoded_len() <= limits.control_bytes());
    }
}
