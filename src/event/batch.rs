//! Batches of events. An event is encoded once, as a gRPC message that is ready to send.
//!
//! A [frame](super::frame) is a length-prefixed gRPC message that is not compressed, a `TelemetryEvent`. The
//! frames of a batch are one allocation that all consumers share. The batch also has what filters need of
//! each event: its dotted name and correlation id. Names repeat, so most are stored once.

mod builder;
mod frames;
mod recycled;

pub use builder::BatchBuilder;
pub use frames::{FrameSlice, Frames};

use super::frame::PREFIX_BYTES;
use std::{mem::size_of, ops::Range, sync::Arc};

/// The largest message that gRPC clients accept by default, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 4 * 1024 * 1024;

/// How many of the latest names are compared with the name of the next event.
const COMPARED_NAMES: usize = 8;

/// About what the allocations of a batch take besides their contents, in bytes.
pub const OVERHEAD_BYTES: usize = 160;

/// The parts of one event besides its frame.
#[derive(Debug, Clone, Copy)]
struct Entry {
    /// The index of its name.
    name: usize,
    /// The last bytes of the frame are the correlation id; this is its length.
    correlation_bytes: usize,
    timestamp_ns: i64,
    timestamp_given: bool,
}

/// Names in one allocation.
#[derive(Debug, Clone, Default)]
struct Names {
    text: String,
    ends: Vec<usize>,
    /// The index that was asked for last.
    last: usize,
}

impl Names {
    /// Removes all names and keeps the memory.
    fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
        self.last = 0;
    }

    fn get(&self, index: usize) -> Option<&str> {
        let end = *self.ends.get(index)?;
        let start = index.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |end| *end);
        self.text.get(start..end)
    }

    /// The index of this name. It is added if it is neither the expected one nor one of the latest.
    fn index(&mut self, name: &[u8]) -> usize {
        let count = self.ends.len();
        let is_name = |index: &usize| self.get(*index).map(str::as_bytes) == Some(name);
        // Events often come in the same order.
        let expected = if self.last + 1 < count { self.last + 1 } else { 0 };
        let mut latest = (count.saturating_sub(COMPARED_NAMES)..count).rev();
        let known = if is_name(&expected) { Some(expected) } else { latest.find(is_name) };
        self.last = known.unwrap_or_else(|| {
            self.text.push_str(&String::from_utf8_lossy(name));
            self.ends.push(self.text.len());
            count
        });
        self.last
    }
}

/// Finished events, whose frames are shared by all consumers.
#[derive(Debug, Default)]
pub struct Batch {
    frames: Arc<Frames>,
    names: Names,
    entries: Vec<Entry>,
    origin: Origin,
}

/// Where the events of a batch come from. The worker's own may have any names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Origin {
    /// The worker.
    #[default]
    Worker,
    /// The sidecar, which made them of what it observed of the worker.
    Observed,
    /// The same, and they are samples of what the worker uses.
    Samples,
    /// The same, and they are the last ones, of the worker's end.
    End,
}

/// What filters and exporters need of an event besides its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    /// The dotted name, UTF-8.
    pub name: &'a [u8],
    /// The correlation id, UTF-8; empty if there is none.
    pub correlation_id: &'a [u8],
    /// Nanoseconds since the Unix epoch: the timestamp of the line, or the time of reading.
    pub timestamp_ns: i64,
    /// Whether the line had a timestamp.
    pub timestamp_given: bool,
}

impl Batch {
    /// The number of events.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no events.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The same with events from there.
    #[must_use]
    pub fn from(self, origin: Origin) -> Self {
        Self { origin, ..self }
    }

    /// Where the events come from.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// The bytes of all frames.
    pub fn frames(&self) -> &[u8] {
        self.frames.bytes()
    }

    /// The frames alone. They do not keep the batch in memory.
    pub fn shared_frames(&self) -> &Arc<Frames> {
        &self.frames
    }

    /// The bytes that it takes in memory.
    pub fn memory(&self) -> usize {
        let Names { text, ends, .. } = &self.names;
        let names = text.capacity() + ends.capacity() * size_of::<usize>();
        self.frames.memory() + names + self.entries.len() * size_of::<Entry>() + OVERHEAD_BYTES
    }

    /// Frees what is not used, if the frames are not shared. Queues count the bytes of frames, so a batch
    /// must not take much more memory than that.
    pub fn shrink(&mut self) {
        if let Some(frames) = Arc::get_mut(&mut self.frames) {
            frames.bytes.truncate(frames.bytes().len());
            frames.bytes.shrink_to_fit();
            frames.ends.shrink_to_fit();
        }
        self.entries.shrink_to_fit();
    }

    /// The bytes of these events' frames within [`frames`](Self::frames); empty if the events do not exist.
    pub fn frame_range(&self, events: Range<usize>) -> Range<usize> {
        self.frames.range(events)
    }

    /// The event with this index.
    pub fn event(&self, index: usize) -> Option<Event<'_>> {
        let entry = self.entries.get(index)?;
        Some(Event {
            name: self.names.get(entry.name)?.as_bytes(),
            correlation_id: self.correlation_id(index)?,
            timestamp_ns: entry.timestamp_ns,
            timestamp_given: entry.timestamp_given,
        })
    }

    /// The number of stored names. A name may be stored more than once.
    pub fn name_count(&self) -> usize {
        self.names.ends.len()
    }

    /// The index of an event's name.
    pub fn name_number(&self, index: usize) -> Option<usize> {
        self.entries.get(index).map(|entry| entry.name)
    }

    /// The name with this index.
    pub fn name(&self, index: usize) -> Option<&str> {
        self.names.get(index)
    }

    /// The correlation id of an event, UTF-8; empty if there is none.
    pub fn correlation_id(&self, index: usize) -> Option<&[u8]> {
        let bytes = self.entries.get(index)?.correlation_bytes;
        let end = self.frame_range(index..index + 1).end;
        self.frames().get(end.checked_sub(bytes)?..end)
    }

    /// Copies some of the events to a new batch, so that they do not keep the others in memory.
    #[must_use]
    pub fn compact(&self, events: impl Iterator<Item = usize>) -> Self {
        let mut builder = BatchBuilder::default();
        for index in events {
            let (Some(event), Some(message)) = (self.event(index), self.message(index)) else {
                continue;
            };
            builder.push(message, event);
        }
        Self { origin: self.origin, ..builder.take() }
    }

    /// Copies events of another batch behind its own. False, and nothing is changed, if its frames are shared
    /// or the other events come from somewhere else.
    #[must_use]
    pub fn append(&mut self, other: &Self, events: Range<usize>) -> bool {
        let Some(frames) = Arc::get_mut(&mut self.frames).filter(|_| self.origin == other.origin) else {
            return false;
        };
        frames.append(&other.frames, events.clone());
        for entry in other.entries.get(events).unwrap_or_default() {
            let name = self.names.index(other.names.get(entry.name).unwrap_or_default().as_bytes());
            self.entries.push(Entry { name, ..*entry });
        }
        true
    }

    /// The message of an event, without the length prefix.
    pub fn message(&self, index: usize) -> Option<&[u8]> {
        self.frames().get(self.frame_range(index..index + 1))?.get(PREFIX_BYTES..)
    }
}
