//! How a batch is made.

use super::{
    Batch, Entry, Event, Frames, MAX_MESSAGE_BYTES, Names, OVERHEAD_BYTES, Origin,
    recycled::{MAX_BATCH_BYTES, Recycled},
};
use crate::event::{
    frame::{PREFIX_BYTES, Prefix},
    proto::bridge::TelemetryEvent,
};
use prost::Message as _;
use std::{mem, sync::Arc};

/// A batch being built.
#[derive(Debug, Default)]
pub struct BatchBuilder {
    /// The frames up to `end`, followed by initialised bytes for the next one.
    frames: Vec<u8>,
    end: usize,
    ends: Vec<usize>,
    names: Names,
    entries: Vec<Entry>,
    /// The size of the first allocation: a little more than the last batch took.
    initial_bytes: usize,
    /// Batches that were shared, whose memory is used again.
    pub(super) recycled: Recycled,
    /// What is shared if there are no events.
    empty: Arc<Batch>,
}

impl BatchBuilder {
    /// At least this many bytes to write the next message to. [`finish`](Self::finish) then adds it.
    pub fn spare(&mut self, bytes: usize) -> &mut [u8] {
        let start = self.end + PREFIX_BYTES;
        let needed = start + bytes;
        if self.frames.is_empty() {
            // The allocator returns zeroed pages, so bytes that are never written cost nothing.
            self.frames = vec![0; needed.max(self.initial_bytes)];
        } else if self.frames.len() < needed {
            // Grow by a quarter, not by doubling: each large allocation is mapped and paged in anew.
            self.frames.resize(needed.max(self.frames.len() + self.frames.len() / 4), 0);
        }
        self.frames.get_mut(start..).unwrap_or_default()
    }

    /// Adds the message of this length that was written to [`spare`](Self::spare). Its last bytes are the
    /// correlation id. Returns false and adds nothing if the message is larger than [`MAX_MESSAGE_BYTES`].
    pub fn finish(&mut self, message_bytes: usize, event: Event<'_>) -> bool {
        let prefix = self.frames.get_mut(self.end..).and_then(|rest| rest.first_chunk_mut::<PREFIX_BYTES>());
        match (prefix, u32::try_from(message_bytes)) {
            (Some(prefix), Ok(length)) if message_bytes <= MAX_MESSAGE_BYTES => {
                *prefix = Prefix { compressed: false, length }.to_bytes();
            }
            _ => return false,
        }
        self.end += PREFIX_BYTES + message_bytes;
        self.ends.push(self.end);
        self.entries.push(Entry {
            name: self.names.index(event.name),
            correlation_bytes: event.correlation_id.len(),
            timestamp_ns: event.timestamp_ns,
            timestamp_given: event.timestamp_given,
        });
        true
    }

    /// Adds a copy of a message. Returns false and adds nothing if it is larger than [`MAX_MESSAGE_BYTES`].
    pub fn push(&mut self, message: &[u8], event: Event<'_>) -> bool {
        if let Some(spare) = self.spare(message.len()).get_mut(..message.len()) {
            spare.copy_from_slice(message);
        }
        self.finish(message.len(), event)
    }

    /// Encodes and adds an event of this dotted name. Returns false and adds nothing if its message is larger
    /// than [`MAX_MESSAGE_BYTES`].
    pub fn encode(&mut self, event: &TelemetryEvent, name: &str, timestamp_given: bool) -> bool {
        let length = event.encoded_len();
        // prost encodes fields by their numbers, so the correlation id comes last.
        if length > MAX_MESSAGE_BYTES || event.encode(&mut self.spare(length)).is_err() {
            return false;
        }
        let noted = Event {
            name: name.as_bytes(),
            correlation_id: event.correlation_id.as_bytes(),
            timestamp_ns: event.timestamp_ns,
            timestamp_given,
        };
        self.finish(length, noted)
    }

    /// Returns the batch. The builder is then empty.
    pub fn take(&mut self) -> Batch {
        let mut batch = Batch::default();
        self.exchange(&mut batch);
        batch.shrink();
        batch
    }

    /// Returns the batch, to be shared. The builder is then empty and goes on with the memory of an earlier
    /// batch that nothing shares any more.
    pub fn share(&mut self) -> Arc<Batch> {
        if self.entries.is_empty() {
            return Arc::clone(&self.empty);
        }
        let bytes = self.capacity();
        if bytes > MAX_BATCH_BYTES {
            return Arc::new(self.take());
        }
        let unused = self.recycled.take(self.end);
        if !self.recycled.has_room(bytes) {
            return Arc::new(self.copy());
        }
        let mut shared = unused.unwrap_or_default();
        if let Some(batch) = Arc::get_mut(&mut shared) {
            self.exchange(batch);
        }
        self.recycled.add(&shared, bytes);
        shared
    }

    /// The bytes that its allocations have, used or not.
    fn capacity(&self) -> usize {
        let words = self.ends.capacity() + self.names.ends.capacity();
        let entries = self.entries.capacity() * size_of::<Entry>();
        let texts = self.frames.capacity() + self.names.text.capacity();
        texts + words * size_of::<usize>() + entries + 2 * OVERHEAD_BYTES
    }

    /// Moves the events to a batch whose frames are not shared, and its memory here.
    fn exchange(&mut self, batch: &mut Batch) {
        if let Some(frames) = Arc::get_mut(&mut batch.frames) {
            mem::swap(&mut frames.bytes, &mut self.frames);
            mem::swap(&mut frames.ends, &mut self.ends);
        }
        mem::swap(&mut batch.names, &mut self.names);
        mem::swap(&mut batch.entries, &mut self.entries);
        batch.origin = Origin::Worker;
        self.clear();
    }

    /// Moves the events to a batch that takes no more memory than it needs, and keeps the memory here.
    fn copy(&mut self) -> Batch {
        let bytes = self.frames.get(..self.end).unwrap_or_default().to_vec();
        let batch = Batch {
            frames: Arc::new(Frames { bytes, ends: self.ends.clone() }),
            names: self.names.clone(),
            entries: self.entries.clone(),
            origin: Origin::Worker,
        };
        self.clear();
        batch
    }

    fn clear(&mut self) {
        self.initial_bytes = self.end + self.end / 8;
        self.end = 0;
        self.ends.clear();
        self.names.clear();
        self.entries.clear();
    }
}
