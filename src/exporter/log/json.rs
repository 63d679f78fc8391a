//! Lines of JSON.

use super::{Exception, Severity, Value, format::Facts, severity, stack, time};
use serde_json::{Map, Value as Json};

/// Keys of the message, the best one first.
const MESSAGE_KEYS: [&str; 9] =
    ["formattedMessage", "message", "msg", "@message", "short_message", "@m", "body", "event", "text"];

/// Keys of objects whose fields count as those of the line.
const CONTAINERS: [&str; 4] = ["fields", "mdc", "contextMap", "extra"];

/// Reads a JSON object that has a message, and a severity or a time.
pub(super) fn read(text: &str) -> Option<Facts> {
    let Ok(Json::Object(root)) = serde_json::from_str(text) else { return None };
    // loguru has everything in one object.
    let record = root.get("record").and_then(Json::as_object).filter(|record| record.contains_key("level"));
    let fields = record.unwrap_or(&root);
    let mut reader = Reader { is_pino: is_pino(fields), ..Reader::default() };
    for (key, value) in fields {
        match value {
            Json::Object(inner) if CONTAINERS.contains(&key.as_str()) => {
                inner.iter().for_each(|(key, value)| reader.field(key, value));
            }
            _ => reader.field(key, value),
        }
    }
    reader.finish()
}

/// Whether numbers of levels are those of pino and bunyan.
fn is_pino(fields: &Map<String, Json>) -> bool {
    ["pid", "hostname", "time", "msg"].iter().filter(|key| fields.contains_key(**key)).count() >= 2
}

/// What was found in the fields.
#[derive(Debug, Default)]
struct Reader<'a> {
    facts: Facts,
    /// The values of [`MESSAGE_KEYS`].
    messages: [Option<&'a str>; MESSAGE_KEYS.len()],
    /// A severity that counts if there is no better one.
    number: Option<Severity>,
    has_time: bool,
    is_pino: bool,
    exception: Exception,
    /// The text of `error`, which is an exception only if there is a stack.
    error: Option<&'a str>,
}

impl<'a> Reader<'a> {
    fn field(&mut self, key: &str, value: &'a Json) {
        if self.message(key, value) || self.severity(key, value) || self.time(key, value) {
            return;
        }
        let is_id = match value {
            Json::String(text) => self.facts.ids.add(key, text),
            Json::Bool(value) => self.facts.ids.add(key, if *value { "true" } else { "false" }),
            _ => false,
        };
        if is_id || self.exception(key, value) {
            return;
        }
        if let Some(value) = attribute(value) {
            self.facts.add_attribute(key, value);
        }
    }

    fn message(&mut self, key: &str, value: &'a Json) -> bool {
        let place = MESSAGE_KEYS.iter().position(|known| *known == key);
        let Some(place) = place.and_then(|at| self.messages.get_mut(at)) else { return false };
        *place = value.as_str();
        place.is_some()
    }

    fn severity(&mut self, key: &str, value: &Json) -> bool {
        let (field, found) = match (key, value) {
            (
                "level" | "lvl" | "severity" | "levelname" | "log.level" | "loglevel" | "log_level"
                | "severity_text" | "severityText" | "@level" | "@l",
                Json::String(name),
            ) => (&mut self.facts.severity, severity::named(name)),
            ("level", Json::Number(number)) if self.is_pino => {
                (&mut self.facts.severity, number.as_i64().and_then(severity::of_pino))
            }
            // loguru, and the Elastic Common Schema.
            ("level", Json::Object(level)) => {
                (&mut self.facts.severity, text(level, &["name"]).and_then(severity::named))
            }
            ("log", Json::Object(log)) => {
                (&mut self.facts.severity, text(log, &["level"]).and_then(severity::named))
            }
            ("levelno", Json::Number(number)) => {
                (&mut self.number, number.as_i64().and_then(severity::of_python))
            }
            ("severity_number" | "severityNumber", Json::Number(number)) => {
                (&mut self.number, number.as_i64().and_then(severity::of_number))
            }
            _ => return false,
        };
        let is_found = found.is_some();
        if field.is_none() {
            *field = found;
        }
        is_found
    }

    fn time(&mut self, key: &str, value: &Json) -> bool {
        if !matches!(key, "time" | "timestamp" | "ts" | "@timestamp" | "@t" | "asctime" | "date" | "instant")
        {
            return false;
        }
        self.has_time = true;
        let time = match value {
            Json::String(text) => time::of_text(text),
            Json::Number(number) => of_number(number),
            // loguru, and log4j.
            Json::Object(time) => {
                time.get("timestamp").and_then(Json::as_number).and_then(of_number).or_else(|| {
                    let part = |key| time.get(key).and_then(Json::as_i64);
                    time::of_integer(part("epochSecond")?)?.checked_add(part("nanoOfSecond")?)
                })
            }
            _ => None,
        };
        if self.facts.time_ns.is_none() {
            self.facts.time_ns = time;
        }
        time.is_some()
    }

    /// Reads a field about an exception; whether it is one.
    fn exception(&mut self, key: &str, value: &'a Json) -> bool {
        match (key, value) {
            (
                "exception"
                | "exc_info"
                | "exc_text"
                | "stack"
                | "stack_trace"
                | "stacktrace"
                | "error.stack_trace"
                | "exception.stacktrace",
                Json::String(text),
            ) => {
                set(&mut self.exception.stacktrace, text);
                true
            }
            ("error.type" | "exception.type", Json::String(text)) => set(&mut self.exception.kind, text),
            ("error.message" | "exception.message", Json::String(text)) => {
                set(&mut self.exception.message, text)
            }
            ("error" | "err", Json::String(text)) => {
                self.error = Some(text);
                false
            }
            ("err" | "error" | "exception" | "throwable" | "thrown", Json::Object(fields)) => {
                self.object(fields)
            }
            // structlog's dictionaries: the first one is the last exception.
            ("exception", Json::Array(chain)) => match chain.first().and_then(Json::as_object) {
                Some(fields) => {
                    self.object(fields) && set(&mut self.exception.stacktrace, &value.to_string())
                }
                None => false,
            },
            _ => false,
        }
    }

    /// An exception as an object.
    fn object(&mut self, fields: &Map<String, Json>) -> bool {
        let kind = text(fields, &["type", "name", "className", "exc_type"]);
        let message = text(fields, &["message", "exc_value", "value", "localizedMessage"]);
        let stack = text(fields, &["stack", "stack_trace", "stacktrace", "extendedStackTrace"]);
        for (field, value) in [
            (&mut self.exception.kind, kind),
            (&mut self.exception.message, message),
            (&mut self.exception.stacktrace, stack),
        ] {
            set(field, value.unwrap_or_default());
        }
        kind.is_some() || stack.is_some()
    }

    fn finish(mut self) -> Option<Facts> {
        self.facts.severity = self.facts.severity.take().or(self.number.take());
        let mut messages =
            MESSAGE_KEYS.iter().zip(self.messages).filter_map(|(key, text)| Some((*key, text?)));
        let (_, body) = messages.next()?;
        if self.facts.severity.is_none() && !self.has_time {
            return None;
        }
        self.facts.body = Some(body.to_owned());
        for (key, text) in messages {
            self.facts.add_attribute(key, Value::Text(text.to_owned()));
        }
        self.facts.exception = self.complete_exception();
        Some(self.facts)
    }

    /// The exception, with type and message out of the stack's text if they have no fields.
    fn complete_exception(&mut self) -> Option<Exception> {
        let mut exception = std::mem::take(&mut self.exception);
        if let Some(parsed) = stack::parse(&exception.stacktrace) {
            set(&mut exception.kind, &parsed.kind);
            set(&mut exception.message, &parsed.message);
        }
        if exception.kind.is_empty() && exception.message.is_empty() {
            match self.error {
                Some(error) if !exception.stacktrace.is_empty() => set(&mut exception.message, error),
                _ => {
                    // zap: where the line was logged.
                    if !exception.stacktrace.is_empty() {
                        self.facts.add_attribute("code.stacktrace", Value::Text(exception.stacktrace));
                    }
                    return None;
                }
            };
        }
        Some(exception)
    }
}

/// Sets a text that is empty.
fn set(field: &mut String, value: &str) -> bool {
    if field.is_empty() {
        value.clone_into(field);
    }
    true
}

/// The text of the first of these keys.
fn text<'a>(fields: &'a Map<String, Json>, keys: &[&str]) -> Option<&'a str> {
    keys.iter().find_map(|key| fields.get(*key)?.as_str())
}

fn of_number(number: &serde_json::Number) -> Option<i64> {
    number.as_i64().and_then(time::of_integer).or_else(|| time::of_float(number.as_f64()?))
}

/// A value as an attribute; none for null.
fn attribute(value: &Json) -> Option<Value> {
    match value {
        Json::Null => None,
        Json::Bool(value) => Some(Value::Bool(*value)),
        Json::String(text) => Some(Value::Text(text.clone())),
        Json::Number(number) => Some(match number.as_i64() {
            Some(number) => Value::Int(number),
            None => Value::Float(number.as_f64()?),
        }),
        Json::Array(_) | Json::Object(_) => Some(Value::Text(value.to_string())),
    }
}
