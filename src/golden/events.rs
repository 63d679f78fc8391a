//! Events as the lines that are compared.

use super::Fields;
use crate::{
    event::{batch::Batch, view::View},
    system::visible::escape_in_json,
};

/// The most that is kept of a run and read of a golden file, in bytes: about a million events.
pub const MAX_BYTES: usize = 256 * 1024 * 1024;

/// The lines of events, one after the other.
#[derive(Debug, Default)]
pub struct Events {
    text: String,
    count: usize,
    is_cut: bool,
}

impl Events {
    /// Adds the events of a batch, as long as there is room.
    pub fn add(&mut self, batch: &Batch, fields: &Fields) {
        let mut line = Vec::new();
        for index in 0..batch.len() {
            if self.text.len() >= MAX_BYTES {
                self.is_cut = true;
                return;
            }
            let (Some(event), Some(message)) = (batch.event(index), batch.message(index)) else { continue };
            // The decoder made these messages, so they are valid.
            let Some(view) = View::of(message) else { continue };
            line.clear();
            fields.write(&mut line, &view, event.timestamp_given.then_some(event.timestamp_ns));
            escape_in_json(&mut line);
            self.text.push_str(&String::from_utf8_lossy(&line));
            self.count += 1;
        }
    }

    /// Whether there were more events than [`MAX_BYTES`] hold.
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// How many events there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// All lines.
    pub fn text(&self) -> &str {
        &self.text
    }
}
