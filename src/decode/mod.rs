//! One telemetry line's JSON into one `TelemetryEvent` frame.
//!
//! Two paths with one result. `fast` makes one pass over the shapes that real workers print and writes wire
//! bytes as it goes; whatever is rare (escapes, nested values, repeated keys, numbers that need care, errors)
//! it leaves to `slow`, which scans first and then picks values. The fast path never reports an error of its
//! own: what is wrong with a line is for the slow path to say, so the common line does not pay for the rare
//! one. A property test holds them to the same result.

mod fast;
pub mod json;
mod slow;
pub mod wire;

use crate::{
    batch::{BatchBuilder, Event},
    stats::Malformed,
};

use std::collections::BTreeMap;

/// Why a line did not become an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reject {
    /// It is not what an event looks like.
    Malformed(Malformed),
    /// Its message would be larger than [`MAX_MESSAGE_BYTES`](crate::batch::MAX_MESSAGE_BYTES).
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
}

impl Decoder {
    /// A decoder that adds these keys to the metadata of events that do not have them. Of a key given twice the
    /// last one counts.
    pub fn new(metadata: Vec<(String, String)>) -> Self {
        let unique: BTreeMap<_, _> = metadata.into_iter().collect();
        Self { metadata: unique.into_iter().collect() }
    }

    /// Decodes what follows `TELEMETRY:` in a line, its newline included or not, and adds the event to the
    /// batch. `now_ns`, the time of reading in nanoseconds since the Unix epoch, is the timestamp of an event
    /// that has none.
    ///
    /// # Errors
    ///
    /// If it is not an event; the batch is then as it was.
    pub fn decode(&self, json: &[u8], now_ns: i64, batch: &mut BatchBuilder) -> Result<(), Reject> {
        if let Some(result) = fast::decode(json, &self.metadata, now_ns, batch) {
            return result;
        }
        batch.abandon_frame();
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

/// What both paths end with.
struct Fields<'a> {
    name: &'a str,
    correlation_id: &'a str,
    timestamp_ns: Option<i64>,
}

/// Writes the fields that stand once and ends the frame.
fn finish(batch: &mut BatchBuilder, fields: &Fields<'_>, now_ns: i64) -> Result<(), Reject> {
    let timestamp_ns = fields.timestamp_ns.unwrap_or(now_ns);
    let out = batch.frame();
    wire::timestamp_ns(out, timestamp_ns);
    wire::correlation_id(out, fields.correlation_id);
    let finished = batch.finish_frame(Event {
        name: fields.name,
        correlation_id: fields.correlation_id,
        timestamp_ns,
        timestamp_given: fields.timestamp_ns.is_some(),
    });
    if finished { Ok(()) } else { Err(Reject::Oversized) }
}
