//! Lines of logfmt: `time=… level=info msg="a text" key=value`.

use super::{Value, format::Facts, severity, time};
use serde_json::Value as Json;
use std::borrow::Cow;

/// The most fields of a line.
const MAX_FIELDS: usize = 256;

/// Reads a line that consists of fields only, with a level and a message.
pub(super) fn read(line: &str) -> Option<Facts> {
    // A cheap check first.
    if !line.contains("msg=") && !line.contains("message=") && !line.contains("event=") {
        return None;
    }
    let mut facts = Facts::default();
    let mut rest = line;
    for _ in 0..MAX_FIELDS {
        let (key, value, after) = field(rest)?;
        match key {
            "level" | "lvl" | "severity" if facts.severity.is_none() => {
                facts.severity = Some(severity::named(&value)?);
            }
            "msg" | "message" | "event" if facts.body.is_none() => facts.body = Some(value.into_owned()),
            "time" | "ts" | "timestamp" if facts.time_ns.is_none() => facts.time_ns = time::of_text(&value),
            _ if facts.ids.add(key, &value) => {}
            _ => facts.add_attribute(key, Value::Text(value.into_owned())),
        }
        rest = after.trim_start_matches(' ');
        if rest.is_empty() {
            return (facts.severity.is_some() && facts.body.is_some()).then_some(facts);
        }
    }
    None
}

/// The key and the value of the first field, and the text after it.
fn field(text: &str) -> Option<(&str, Cow<'_, str>, &str)> {
    let (key, rest) = text.split_once('=')?;
    let is_key =
        !key.is_empty() && !key.contains(|c: char| c.is_whitespace() || matches!(c, '"' | '[' | '{'));
    if !is_key {
        return None;
    }
    if !rest.starts_with('"') {
        let end = rest.find(' ').unwrap_or(rest.len());
        let (value, after) = rest.split_at_checked(end)?;
        return Some((key, value.into(), after));
    }
    let mut escaped = false;
    let end = rest.bytes().skip(1).position(|byte| {
        let is_end = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        is_end
    })?;
    let (quoted, after) = rest.split_at_checked(end + 2)?;
    if !(after.is_empty() || after.starts_with(' ')) {
        return None;
    }
    Some((key, unquoted(quoted), after))
}

/// The text in quotes. Escapes are those of JSON; with others it stays as it is.
fn unquoted(quoted: &str) -> Cow<'_, str> {
    let text = quoted.get(1..quoted.len() - 1).unwrap_or_default();
    if !text.contains('\\') {
        return text.into();
    }
    match serde_json::from_str(quoted) {
        Ok(Json::String(text)) => text.into(),
        _ => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_fields_gives_message_level_time_and_attributes() {
        let line = r#"time=2026-11-21T09:50:51.25Z level=INFO+1 msg="a \"b\"\nc" n=7 empty= text="x y" n=8"#;
        let facts = read(line).unwrap();
        assert_eq!(facts.severity.unwrap().number, 10);
        assert_eq!(facts.time_ns, Some(1_795_254_651_250_000_000));
        assert_eq!(facts.body.as_deref(), Some("a \"b\"\nc"));
        let attributes = [("n", "7"), ("empty", ""), ("text", "x y")];
        let expected = attributes.map(|(key, value)| (key.to_owned(), Value::Text(value.to_owned())));
        assert_eq!(facts.attributes, expected);
    }

    #[test]
    fn other_lines_are_not_logfmt() {
        for line in [
            "",
            "msg=",
            "level=info",
            "msg=hello",
            "level=nothing msg=hello",
            "failed: level=info msg=hello",
            "level=info msg=hello and more",
            "level=info msg=\"hello",
            "level=info msg=\"hello\"x",
            "=x level=info msg=hello",
        ] {
            assert_eq!(read(line), None, "{line}");
        }
    }
}
