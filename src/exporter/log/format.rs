//! What one line says about itself.

use super::{Exception, Severity, Value, header, ids::Ids, json, logfmt};

/// The most attributes of a record.
const MAX_ATTRIBUTES: usize = 64;

/// The longest key of an attribute, in bytes.
const MAX_KEY_BYTES: usize = 256;

/// What a line says about itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Facts {
    pub(super) severity: Option<Severity>,
    pub(super) time_ns: Option<i64>,
    /// The message, if it is not the whole line.
    pub(super) body: Option<String>,
    pub(super) ids: Ids,
    pub(super) exception: Option<Exception>,
    pub(super) attributes: Vec<(String, Value)>,
}

impl Facts {
    /// Reads a line, or a JSON text of several lines.
    pub(super) fn of(text: &str) -> Self {
        let structured = match text.as_bytes() {
            [b'{', .., b'}'] => json::read(text),
            _ => logfmt::read(text),
        };
        let mut facts = structured.unwrap_or_else(|| {
            let (severity, time_ns, message) = header::read(text);
            let body = message.map(str::to_owned);
            Self { severity, time_ns, body, ids: Ids::find(text), ..Self::default() }
        });
        // Without a message, the whole line is the body.
        facts.body = facts.body.filter(|body| !body.is_empty());
        facts
    }

    /// Adds an attribute, unless there are too many or the key is there.
    pub(super) fn add_attribute(&mut self, key: &str, value: Value) {
        let is_new = !self.attributes.iter().any(|(other, _)| other == key);
        if is_new && self.attributes.len() < MAX_ATTRIBUTES && (1..=MAX_KEY_BYTES).contains(&key.len()) {
            self.attributes.push((key.to_owned(), value));
        }
    }
}
