//! An event as one line for people: local time, name, measurements, metadata, correlation id.
//!
//! `11:49:27.890 tool.execution.stop duration=5.2ms rows=1,234 tool="a b" [abc-123]`
//!
//! Lines have no control characters. They are not cut, except for very long texts in them: `--json` shows
//! all.

use super::{number, screen::Charset};
use crate::{
    event::proto::bridge::{TelemetryEvent, TelemetryValue, telemetry_value::Value},
    system::visible::one_line,
};
use jiff::{Timestamp, tz::TimeZone};
use ratatui::{
    style::{Style, Stylize as _},
    text::{Line, Span},
};

/// More characters of a key or a value are of no use in a line.
const MAX_TEXT: usize = 1000;

/// Correlation ids up to this length are shown whole.
const SHORT_ID: usize = 16;

/// Of longer ones this many characters at the end are shown: they are the ones that differ, in random ids, in
/// those that begin with a time, and in numbers.
const END_OF_ID: usize = 8;

/// Renders events in the computer's time zone.
#[derive(Debug, Clone)]
pub struct EventLines {
    zone: TimeZone,
    charset: Charset,
}

impl EventLines {
    /// Lines in the time zone that `TZ` or /etc/localtime says, or else in UTC.
    pub fn new(charset: Charset) -> Self {
        Self { zone: TimeZone::system(), charset }
    }

    /// The line of an event. It has the date only if that is not today.
    pub fn line(&self, event: &TelemetryEvent) -> Line<'static> {
        self.line_at(event, Timestamp::now())
    }

    fn line_at(&self, event: &TelemetryEvent, now: Timestamp) -> Line<'static> {
        let phase = event.event_parts.last().filter(|_| event.event_parts.len() > 1);
        let phase = phase.map_or("", String::as_str);
        let (ends, failed) = (matches!(phase, "stop" | "exception"), phase == "exception");
        let mut spans = vec![Span::from(self.time(event.timestamp_ns, now)).dim(), Span::from(" ")];
        spans.extend(self.name(event, phase));
        for (key, value) in &event.measurements {
            spans.push(Span::from(format!(" {}=", self.text(key))));
            spans.push(Span::from(self.measurement(key, value, ends)).cyan());
        }
        let style = if failed { Style::new().red() } else { Style::new().dim() };
        for (key, value) in &event.metadata {
            spans.push(Span::styled(format!(" {}={}", self.text(key), self.text(value)), style));
        }
        if !event.correlation_id.is_empty() {
            spans.push(Span::from(format!(" [{}]", self.id(&event.correlation_id))).dim());
        }
        Line::from(spans)
    }

    fn time(&self, timestamp_ns: i64, now: Timestamp) -> String {
        let local = |time: Timestamp| time.to_zoned_datetime(self.zone.clone());
        // Every 64-bit number of nanoseconds is a time.
        let Ok(time) = Timestamp::from_nanosecond(timestamp_ns.into()) else { return "?".into() };
        let (time, today) = (local(time), local(now).date());
        let format = if time.date() == today { "%H:%M:%S%.3f" } else { "%Y-%m-%d %H:%M:%S%.3f" };
        time.strftime(format).to_string()
    }

    /// The dotted name. Its last part shows whether an operation starts, ends or fails.
    fn name(&self, event: &TelemetryEvent, phase: &str) -> Vec<Span<'static>> {
        let name = self.escaped(&event.event_parts.join("."));
        let style = match phase {
            "start" => Style::new().blue(),
            "stop" => Style::new().green(),
            "exception" => return vec![Span::from(name).red().bold()],
            _ => return vec![Span::from(name).bold()],
        };
        match name.strip_suffix(phase) {
            Some(operation) => {
                vec![Span::from(operation.to_owned()).bold(), Span::styled(phase.to_owned(), style)]
            }
            // Too long.
            None => vec![Span::from(name).bold()],
        }
    }

    /// A value, in the unit that its key names. What an event with `ends` calls a duration is one, in
    /// nanoseconds.
    fn measurement(&self, key: &str, value: &TelemetryValue, ends: bool) -> String {
        #[allow(clippy::cast_precision_loss, reason = "few digits are shown")]
        let (number, text) = match &value.value {
            None => return "null".into(),
            Some(Value::StringValue(text)) => return self.text(text),
            Some(Value::FloatValue(float)) => (*float, number::measured(*float)),
            Some(Value::IntValue(int)) => {
                let sign = if *int < 0 { "-" } else { "" };
                (*int as f64, sign.to_owned() + &number::grouped(int.unsigned_abs()))
            }
        };
        let text = match (key, &value.value) {
            ("duration", _) if ends => number::seconds(number / 1e9),
            ("duration_ms", _) if ends => number::seconds(number / 1e3),
            (_, Some(Value::IntValue(int))) if key == "bytes" || key.ends_with("_bytes") => {
                u64::try_from(*int).map_or(text, number::bytes)
            }
            _ => text,
        };
        let text = text.replace(' ', "");
        if self.charset == Charset::Ascii { text.replace('µ', "u") } else { text }
    }

    fn id(&self, id: &str) -> String {
        let chars = id.chars().count();
        if chars <= SHORT_ID {
            return self.escaped(id);
        }
        let end: String = id.chars().skip(chars - END_OF_ID).collect();
        format!("{}{}", self.charset.ellipsis(), self.escaped(&end))
    }

    /// A key or a value: in quotes where one could not see where it ends, unless it is JSON.
    fn text(&self, text: &str) -> String {
        let shown = self.escaped(text);
        let is_clear = !text.is_empty() && !text.contains(char::is_whitespace) && !text.starts_with('"');
        if is_clear || text.starts_with(['{', '[']) {
            shown
        } else {
            format!("\"{}\"", shown.replace('"', "\\\""))
        }
    }

    /// A text without what a terminal obeys, and with the characters that it shows.
    pub fn escaped(&self, text: &str) -> String {
        let end = text.char_indices().nth(MAX_TEXT).map(|(end, _)| end);
        let mut shown = one_line(end.and_then(|end| text.get(..end)).unwrap_or(text));
        if self.charset == Charset::Ascii && !shown.is_ascii() {
            // Some terminals obey bytes above 0x7F.
            let escape = |char: char| {
                if char.is_ascii() { char.to_string() } else { char.escape_unicode().to_string() }
            };
            shown = shown.chars().map(escape).collect();
        }
        if end.is_some() {
            shown.push(self.charset.ellipsis());
        }
        shown
    }
}

#[cfg(test)]
mod tests {
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
            ("a.progress", "duration", Value::IntValue(1_500), "1,500"),
            ("stop", "duration", Value::IntValue(1_500), "1,500"),
            ("a", "rss_bytes", Value::IntValue(3 << 20), "3MiB"),
            ("a", "rss_bytes", Value::IntValue(-5), "-5"),
            ("a", "x", Value::IntValue(i64::MIN), "-9,223,372,036,854,775,808"),
            ("a", "x", Value::FloatValue(0.123_456), "0.1235"),
            ("a", "x", Value::FloatValue(f64::NAN), "NaN"),
            ("a.stop", "duration", Value::FloatValue(f64::INFINITY), "inf"),
            ("a.stop", "duration", Value::StringValue("b c".into()), "\"b c\""),
        ];
        for (name, key, value, expected) in cases {
            assert_eq!(text(&measured(name, &[(key, value)])), format!("{name} {key}={expected}"));
        }
        let unset = TelemetryEvent {
            measurements: [("x".into(), TelemetryValue { value: None })].into(),
            ..event("a")
        };
        assert_eq!(text(&unset), "a x=null");
    }

    #[test]
    fn what_a_terminal_obeys_is_escaped_everywhere() {
        let mut event =
            with_metadata("a\u{9b}2J.b", &[("k\n", "\u{1b}[31m\u{202e}"), ("json", "{\"a\": 1}")]);
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
        let stopped = line(&with_metadata("a.stop", &[("message", "m")]), Charset::Unicode);
        assert_eq!(stopped.spans.last().unwrap().style.add_modifier, Modifier::DIM);
        assert_eq!(stopped.spans[3], Span::from("stop").green());
    }
}
