//! An event as one line for people: local time, name, measurements, metadata, correlation id.
//!
//! `11:49:27.890 tool.execution.stop duration=5.2ms rows=1,234 tool="a b" [abc-123]`
//!
//! Lines have no control characters. They are not cut, except for very long texts in them: `--json` shows
//! all.

use super::{number, screen::Charset};
use crate::{
    event::{
        proto::bridge::{TelemetryEvent, TelemetryValue, telemetry_value::Value},
        view::View,
    },
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

    /// The line of an event. It has the date only if that is not today, and no time if the event has none.
    pub fn line(&self, event: &TelemetryEvent) -> Line<'static> {
        self.line_at(event, Timestamp::now())
    }

    fn line_at(&self, event: &TelemetryEvent, now: Timestamp) -> Line<'static> {
        let phase = event.event_parts.last().filter(|_| event.event_parts.len() > 1);
        let phase = phase.map_or("", String::as_str);
        let failed = View::from(event).has_failed();
        let mut spans = Vec::new();
        if event.timestamp_ns != 0 {
            spans.extend([Span::from(self.time(event.timestamp_ns, now)).dim(), Span::from(" ")]);
        }
        spans.extend(self.name(event, phase, failed));
        for (key, value) in &event.measurements {
            spans.push(Span::from(format!(" {}=", self.text(key))));
            spans.push(Span::from(self.measurement(key, value)).cyan());
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
    fn name(&self, event: &TelemetryEvent, phase: &str, failed: bool) -> Vec<Span<'static>> {
        let name = self.escaped(&event.event_parts.join("."));
        let style = match phase {
            "start" => Style::new().blue(),
            "stop" => Style::new().green(),
            _ if failed => return vec![Span::from(name).red().bold()],
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

    /// A value, with the unit that its key names.
    fn measurement(&self, key: &str, value: &TelemetryValue) -> String {
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
        let text = number::with_unit_of(key, number).unwrap_or(text).replace(' ', "");
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
mod tests;
