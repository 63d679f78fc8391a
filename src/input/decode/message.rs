//! The end of every path: the fields that occur once, and the finished message in the batch.

use super::wire::Writer;
use crate::event::{
    batch::{BatchBuilder, Event},
    stats::Malformed,
};

/// The reason that a line is not an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reject {
    /// The line is not a valid event object.
    Malformed(Malformed),
    /// The message would be larger than [`MAX_MESSAGE_BYTES`](crate::event::batch::MAX_MESSAGE_BYTES).
    Oversized,
}

/// Enough bytes for the message of almost any line: wire bytes are rarely longer than the JSON text.
pub(super) fn message_capacity(json: &[u8], extra_metadata: &[(String, String)]) -> usize {
    let extra: usize = extra_metadata.iter().map(|(key, value)| key.len() + value.len() + 16).sum();
    json.len() + json.len() / 4 + extra + 256
}

/// The fields of an event that occur once.
pub(super) struct Fields<'a> {
    pub(super) name: &'a [u8],
    pub(super) correlation_id: &'a [u8],
    /// None if the line has no timestamp. The time of reading is used then.
    pub(super) timestamp_ns: Option<i64>,
}

impl Fields<'_> {
    /// Writes timestamp and correlation id, which complete the message, and returns the message's length.
    pub(super) fn write(&self, out: &mut Writer<'_>, now_ns: i64) -> Option<usize> {
        out.timestamp_ns(self.timestamp_ns.unwrap_or(now_ns))?;
        out.correlation_id(self.correlation_id)?;
        Some(out.written())
    }

    /// Adds the message that was written to the batch's spare bytes.
    pub(super) fn add(
        &self,
        message_bytes: usize,
        now_ns: i64,
        batch: &mut BatchBuilder,
    ) -> Result<(), Reject> {
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
