//! Turns the JSON of one event into one `TelemetryEvent` frame.
//!
//! Three paths produce the same result:
//!
//! - `shapes` knows the structure of earlier lines and reads only the values.
//! - `fast` makes one pass over lines as workers usually print them and writes wire bytes as it reads.
//!   Everything rare (most escapes, nested values, repeated keys, large numbers, errors) it leaves to `slow`.
//! - `slow` validates the whole line first and then picks the values. Only this path reports why a line is
//!   malformed.
//!
//! Property tests compare the three paths.

mod cursor;
mod entry;
mod escape;
mod fast;
mod json;
mod keys;
mod message;
mod number;
mod prefix;
mod shape;
mod shapes;
mod slow;
pub(super) mod text;
mod varint;
mod wire;

use super::dialect::{self, Dialect};
use crate::event::batch::BatchBuilder;
pub use message::Reject;
use shapes::Shapes;
use std::collections::BTreeMap;

/// The decoder for one stream.
#[derive(Debug)]
pub struct Decoder {
    dialect: &'static Dialect,
    /// Metadata that is added to every event without that key.
    metadata: Vec<(String, String)>,
    shapes: Shapes,
    last_name: fast::LastName,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new(&dialect::SNAKEPIT, Vec::new())
    }
}

impl Decoder {
    /// A decoder that adds `metadata` to every event that does not have the key itself. Of repeated keys in
    /// `metadata` the last one counts.
    pub fn new(dialect: &'static Dialect, metadata: Vec<(String, String)>) -> Self {
        let unique: BTreeMap<_, _> = metadata.into_iter().collect();
        Self {
            dialect,
            metadata: unique.into_iter().collect(),
            shapes: Shapes::default(),
            last_name: fast::LastName::default(),
        }
    }

    /// Decodes the object that follows the prefix in a line and adds the event to the batch. `now_ns`, the
    /// time of reading in nanoseconds since the Unix epoch, is the timestamp of an event without one.
    ///
    /// Behind the object may be white space, escape sequences, and then the marker of another event. Returns
    /// the length of the object and the white space around it.
    ///
    /// # Errors
    ///
    /// If there is no event. The batch is unchanged then.
    pub fn decode(&mut self, json: &[u8], now_ns: i64, batch: &mut BatchBuilder) -> Result<usize, Reject> {
        if let Some(length) = self.shapes.decode(self.dialect, json, now_ns, batch) {
            return Ok(length);
        }
        let input = fast::Input { dialect: self.dialect, json, extra_metadata: &self.metadata, now_ns };
        if let Some(result) = fast::decode(&input, batch, &mut self.last_name, &mut ()) {
            self.shapes.learn(&input);
            return result;
        }
        self.decode_slowly(json, now_ns, batch)
    }

    /// Decodes with the slow path only. Tests compare the other paths with it.
    ///
    /// # Errors
    ///
    /// Those of [`decode`](Self::decode).
    #[doc(hidden)]
    pub fn decode_slowly(&self, json: &[u8], now_ns: i64, batch: &mut BatchBuilder) -> Result<usize, Reject> {
        slow::decode(self.dialect, json, &self.metadata, now_ns, batch)
    }
}
