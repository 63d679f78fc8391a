use super::*;
use crate::terminal::screen::Screen;
use ratatui::style::{Color, Modifier};

const TIME_NS: i64 = 1_698_234_567_890_123_456;

fn event(name: &str) -> TelemetryEvent {
    let event_parts = name.split('.').map(str::to_owned).collect();
    TelemetryEvent { event_parts, timestamp_ns: TIME_NS, ..TelemetryEvent::default() }
}

fn measured(name: &str, values: &[(&str, Value)]) -> TelemetryEvent {
    let values = values.iter().cloned();
    let measurements = values.map(|(key, value)| (key.into(), TelemetryValue { value: Some(value) }));
    TelemetryEvent { measurements: measurements.collect(), ..event(name) }
}

fn with_metadata(name: &str, metadata: &[(&str, &str)]) -> TelemetryEvent {
    let metadata = metadata.iter().map(|(key, value)| ((*key).into(), (*value).into()));
    TelemetryEvent { metadata: metadata.collect(), ..event(name) }
}

fn line(event: &TelemetryEvent, charset: Charset) -> Line<'static> {
    let lines = EventLines { zone: TimeZone::fixed(jiff::tz::offset(2)), charset };
    lines.line_at(event, Timestamp::from_nanosecond(TIME_NS.into()).unwrap())
}

/// The line without its time.
fn text(event: &TelemetryEvent) -> String {
    let text = Screen::FILE.text(&[line(event, Charset::Unicode)]);
    text.strip_prefix("13:49:27.890 ").unwrap().trim_end_matches('\n').to_owned()
}

#[test]
fn a_line_has_all_parts_in_order() {
    let values = [("duration", Value::IntValue(5_200_000)), ("rows", Value::IntValue(1234))];
    let mut event = measured("tool.execution.stop", &values);
    event.metadata = with_metadata("a", &[("tool", "a b"), ("empty", "")]).metadata;
    event.correlation_id = "abc-123".into();
    let expected = r#"tool.execution.stop duration=5.2ms rows=1,234 empty="" tool="a b" [abc-123]"#;
    assert_eq!(text(&event), expected);
}

#[test]
fn an_event_of_another_day_has_its_date() {
    let lines = EventLines { zone: TimeZone::UTC, charset: Charset::Unicode };
    for (now, expected) in [
        ("2023-10-25T23:59:59Z", "11:49:27.890 a"),
        ("2023-10-26T00:00:00Z", "2023-10-25 11:49:27.890 a"),
        ("2022-10-25T12:00:00Z", "2023-10-25 11:49:27.890 a"),
    ] {
        let line = lines.line_at(&event("a"), now.parse().unwrap());
        assert_eq!(line.to_string(), expected, "{now}");
    }
    let timeless = TelemetryEvent { timestamp_ns: 0, ..event("a") };
    assert_eq!(lines.line(&timeless).to_string(), "a");
    for timestamp_ns in [i64::MIN, -1, i64::MAX] {
        let event = TelemetryEvent { timestamp_ns, ..event("a") };
        assert!(lines.line(&event).to_string().ends_with(" a"));
    }
}

#[test]
fn values_have_the_unit_of_their_key() {
    let cases = [
        ("a.stop", "duration", Value::IntValue(1_500), "1.5µs"),
        ("a.exception", "duration", Value::FloatValue(125e9), "2m05s"),
        ("a.stop", "duration_ms", Value::FloatValue(2.5), "2.5ms"),
        ("tick", "duration", Value::IntValue(1_500), "1.5µs"),
        ("a", "rss_bytes", Value::IntValue(3 << 20), "3MiB"),
        ("a", "rss_bytes", Value::FloatValue(7e9), "6.52GiB"),
        ("a", "wait_seconds", Value::FloatValue(0.25), "250ms"),
        ("a", "x", Value::IntValue(i64::MIN), "-9,223,372,036,854,775,808"),
        ("a", "x", Value::FloatValue(0.123_456), "0.1235"),
        ("a", "x", Value::FloatValue(f64::NAN), "NaN"),
        ("a.stop", "duration", Value::FloatValue(f64::INFINITY), "inf"),
        ("a.stop", "duration", Value::StringValue("b c".into()), "\"b c\""),
    ];
    for (name, key, value, expected) in cases {
        assert_eq!(text(&measured(name, &[(key, value)])), format!("{name} {key}={expected}"));
    }
    let unset =
        TelemetryEvent { measurements: [("x".into(), TelemetryValue { value: None })].into(), ..event("a") };
    assert_eq!(text(&unset), "a x=null");
}

#[test]
fn what_a_terminal_obeys_is_escaped_everywhere() {
    let mut event = with_metadata("a\u{9b}2J.b", &[("k\n", "\u{1b}[31m\u{202e}"), ("json", "{\"a\": 1}")]);
    event.measurements = measured("a", &[("\u{7f}", Value::StringValue("\t".into()))]).measurements;
    event.correlation_id = "\u{7}".into();
    let expected = r#"a\u{9b}2J.b \u{7f}="\t" json={"a": 1} "k\n"=\u{1b}[31m\u{202e} [\u{7}]"#;
    assert_eq!(text(&event), expected);
}

#[test]
fn a_locale_without_unicode_gets_ascii() {
    let mut event = measured("é.stop", &[("duration", Value::IntValue(1_500))]);
    event.correlation_id = "0123456789abcdefg".into();
    let text = Screen::FILE.text(&[line(&event, Charset::Ascii)]);
    assert_eq!(text, "13:49:27.890 \\u{e9}.stop duration=1.5us [~9abcdefg]\n");
}

#[test]
fn long_texts_and_ids_are_cut() {
    let mut event = with_metadata("a", &[("k", &"é".repeat(MAX_TEXT + 1))]);
    event.correlation_id = "0192f7a0-7e1b-7c3d-9d2f-00000000beef".into();
    assert_eq!(text(&event), format!("a k={}… […0000beef]", "é".repeat(MAX_TEXT)));
    assert!(text(&self::event(&format!("{}.stop", "x".repeat(MAX_TEXT)))).ends_with("x…"));
}

#[test]
fn a_failed_operation_is_red() {
    let failed = line(&with_metadata("a.exception", &[("message", "m")]), Charset::Unicode);
    let red: Vec<_> = failed.spans.iter().filter(|span| span.style.fg == Some(Color::Red)).collect();
    assert_eq!(
        red.iter().map(|span| span.content.as_ref()).collect::<Vec<_>>(),
        ["a.exception", " message=m"]
    );
    for (key, number, is_red) in [("exit_code", 0, false), ("exit_code", 3, true), ("signal", 9, true)] {
        let ended = line(&measured("worker.exited", &[(key, Value::IntValue(number))]), Charset::Unicode);
        assert_eq!(
            ended.spans.iter().any(|span| span.style.fg == Some(Color::Red)),
            is_red,
            "{key} {number}"
        );
    }
    let stopped = line(&with_metadata("a.stop", &[("message", "m")]), Charset::Unicode);
    assert_eq!(stopped.spans.last().unwrap().style.add_modifier, Modifier::DIM);
    assert_eq!(stopped.spans[3], Span::from("stop").green());
}
