//! What a telemetry line looks like: the text that starts it, the keys of its event object, and the limits.
//!
//! The splitter and the decoder read all of it from here, so a second dialect is a second constant.

use super::{
    decode::text::Literal,
    escape_sequence::{self, Start},
};

/// Starts the event object.
const OBJECT_START: u8 = b'{';

/// A marker has at most this much white space, so that little is kept of one that does not end.
const MAX_MARKER_SPACE: usize = 64;

/// A key of the event object. All other keys are ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKey {
    /// The event's dotted name. It is the only required key.
    Event,
    /// An object of numbers and other scalars.
    Measurements,
    /// An object of texts.
    Metadata,
    /// Nanoseconds since the Unix epoch.
    TimestampNs,
    /// Connects the events of one operation.
    CorrelationId,
}

/// What a text that starts with the prefix is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Marker {
    /// It starts with a marker of this many bytes: the prefix, white space and the start of an object.
    Whole(usize),
    /// It is the prefix and white space.
    Partial,
    /// Something else follows the prefix.
    None,
}

/// One dialect of telemetry lines.
#[derive(Debug)]
pub struct Dialect {
    /// Starts a telemetry line. The event object follows it.
    pub prefix: &'static [u8],
    /// The key in `metadata` that is used if the event object itself has no correlation id.
    pub metadata_correlation_id: &'static str,
    /// Of one line at most this many markers in mid-line are tried. Torn and glued writes leave two or three.
    pub max_candidates: usize,
    keys: [Entry; EVENT_KEYS],
}

/// How many keys [`EventKey`] has.
const EVENT_KEYS: usize = 5;

/// A key of the event object, and how most workers start its entry.
#[derive(Debug)]
struct Entry {
    key: EventKey,
    text: &'static [u8],
    start: Option<Literal>,
}

impl Entry {
    /// `start` is the text as Python's `json.dumps` writes it: the key in quotes, a colon and a space.
    const fn new(key: EventKey, text: &'static str, start: &'static str) -> Self {
        Self { key, text: text.as_bytes(), start: Literal::new(start.as_bytes()) }
    }
}

/// The lines that Snakepit's workers print:
/// `TELEMETRY:{"event": "a.b", "measurements": {…}, "metadata": {…},
/// "timestamp_ns": 1, "correlation_id": "c"}`.
pub static SNAKEPIT: Dialect = Dialect {
    prefix: b"TELEMETRY:",
    metadata_correlation_id: "correlation_id",
    max_candidates: 8,
    keys: [
        Entry::new(EventKey::Event, "event", r#""event": "#),
        Entry::new(EventKey::Measurements, "measurements", r#""measurements": "#),
        Entry::new(EventKey::Metadata, "metadata", r#""metadata": "#),
        Entry::new(EventKey::TimestampNs, "timestamp_ns", r#""timestamp_ns": "#),
        Entry::new(EventKey::CorrelationId, "correlation_id", r#""correlation_id": "#),
    ],
};

impl Dialect {
    /// The key with this text.
    pub fn key(&self, text: &[u8]) -> Option<EventKey> {
        self.keys.iter().find(|entry| entry.text == text).map(|entry| entry.key)
    }

    /// The key that workers usually write at this position, and the text that starts its entry.
    #[inline]
    pub(super) fn usual_entry(&self, position: usize) -> Option<(EventKey, &Literal)> {
        let entry = self.keys.get(position)?;
        Some((entry.key, entry.start.as_ref()?))
    }

    /// Whether a text that starts with the prefix starts with a marker.
    pub(super) fn marker(&self, text: &[u8]) -> Marker {
        let rest = text.get(self.prefix.len()..).unwrap_or_default();
        let rest = rest.get(..=MAX_MARKER_SPACE).unwrap_or(rest);
        let space = space(rest, b" \t\r");
        match rest.get(space) {
            Some(&OBJECT_START) => Marker::Whole(self.prefix.len() + space + 1),
            None if space <= MAX_MARKER_SPACE => Marker::Partial,
            _ => Marker::None,
        }
    }

    /// The length of the white space and the escape sequences at the start of `text`, which follows an object
    /// in a line. None if something else is there that is no other event's marker; then the object is no
    /// event.
    pub(super) fn gap_behind_event(&self, text: &[u8]) -> Option<usize> {
        let mut length = 0;
        loop {
            let rest = text.get(length..)?;
            let space = space(rest, b" \t\r\n");
            length += space;
            let rest = rest.get(space..)?;
            match escape_sequence::start_of(rest) {
                Start::Sequence { length: sequence, .. } => length += sequence,
                _ if rest.is_empty() => return Some(length),
                _ => {
                    let is_marker =
                        rest.starts_with(self.prefix) && matches!(self.marker(rest), Marker::Whole(_));
                    return is_marker.then_some(length);
                }
            }
        }
    }
}

/// The number of bytes of white space at the start of a text.
fn space(text: &[u8], space: &[u8]) -> usize {
    text.iter().take_while(|byte| space.contains(byte)).count()
}
