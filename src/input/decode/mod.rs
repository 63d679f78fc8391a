//! One telemetry line's JSON into one `TelemetryEvent` frame.
//!
//! Three paths with one result. `shape` knows lines like ones seen before and reads their values only. `fast` makes one
//! pass over what real workers print and writes wire bytes as it goes; whatever is rare (escapes, nested values,
//! repeated keys, numbers that need care, errors) it leaves to `slow`, which scans first and then picks values. The
//! first two never report an error of their own: what is wrong with a line is for the slow path to say, so the common
//! line does not pay for the rare one. Property tests hold them to the same result.

mod cursor;
mod entry;
mod fast;
mod head;
pub mod json;
mod number;
mod shape;
mod slow;
mod text;
mod varint;
pub mod wire;

use crate::event::{
    batch::{BatchBuilder, Event},
    stats::Malformed,
};
use shape::Shapes;
use std::collections::BTreeMap;
use wire::Writer;

/// Why a line did not become an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reject {
    /// It is not what an event looks like.
    Malformed(Malformed),
    /// Its message would be larger than [`MAX_MESSAGE_BYTES`](crate::event::batch::MAX_MESSAGE_BYTES).
    Oversized,
}

impl From<json::NotJson> for Reject {
    fn from(_: json::NotJson) -> Self {
        Self::Malformed(Malformed::Json)
    }
}

/// The decoder, with what it adds to every event.
#[derive(Debug, Default)]
pub struct Decoder {
    metadata: Vec<(String, String)>,
    shapes: Shapes,
    last_name: fast::LastName,
}

impl Decoder {
    /// A decoder that adds these keys to the metadata of events that do not have them. Of a key given twice the
    /// last one counts.
    pub fn new(metadata: Vec<(String, String)>) -> Self {
        let unique: BTreeMap<_, _> = metadata.into_iter().collect();
        Self {
            metadata: unique.into_iter().collect(),
            shapes: Shapes::default(),
            last_name: fast::LastName::default(),
        }
    }

    /// Decodes what follows `TELEMETRY:` in a line, its newline included or not, and adds the event to the
    /// batch. `now_ns`, the time of reading in nanoseconds since the Unix epoch, is the timestamp of an event
    /// that has none.
    ///
    /// # Errors
    ///
    /// If it is not an event; the batch is then as it was.
    pub fn decode(&mut self, json: &[u8], now_ns: i64, batch: &mut BatchBuilder) -> Result<(), Reject> {
        if let Some(result) = self.shapes.decode(json, now_ns, batch) {
            return result;
        }
        if let Some(result) = fast::decode(json, &self.metadata, now_ns, batch, &mut self.last_name, &mut ())
        {
            self.shapes.learn(json, &self.metadata);
            return result;
        }
        self.decode_slowly(json, now_ns, batch)
    }

    /// The same by the slow path alone: what tests compare the fast path with.
    ///
    /// # Errors
    ///
    /// Those of [`decode`](Self::decode).
    pub fn decode_slowly(&self, json: &[u8], now_ns: i64, batch: &mut BatchBuilder) -> Result<(), Reject> {
        slow::decode(json, &self.metadata, now_ns, batch)
    }
}

/// Room for the message that most lines become: wire bytes are rarely more than the text.
fn room_for(json: &[u8], extra_metadata: &[(String, String)]) -> usize {
    let extra: usize = extra_metadata.iter().map(|(key, value)| key.len() + value.len() + 16).sum();
    json.len() + json.len() / 4 + extra + 256
}

/// What all paths end with.
struct Fields<'a> {
    name: &'a [u8],
    correlation_id: &'a [u8],
    timestamp_ns: Option<i64>,
}

impl Fields<'_> {
    /// Writes the fields that stand once. What is written is the message then.
    fn write(&self, out: &mut Writer<'_>, now_ns: i64) -> Option<usize> {
        out.timestamp_ns(self.timestamp_ns.unwrap_or(now_ns))?;
        out.correlation_id(self.correlation_id)?;
        Some(out.written())
    }

    /// Adds a message of so many bytes that is in the batch's room.
    fn add(&self, message_bytes: usize, now_ns: i64, batch: &mut BatchBuilder) -> Result<(), Reject> {
        let added = batch.finish(
            message_bytes,
            Event {
                name: self.name,
                correlation_id: self.correlation_id,
                timestamp_ns: self.timestamp_ns.unwrap_or(now_ns),
                timestamp_given: self.timestamp_ns.is_some(),
            },
        );
        if added { Ok(()) } else { Err(Reject::Oversized) }
    }
}
