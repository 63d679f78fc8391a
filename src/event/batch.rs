//! Batches of events. An event is encoded once, as a gRPC message that is ready to send.
//!
//! A [frame](super::frame) is a length-prefixed gRPC message that is not compressed, a `TelemetryEvent`. The
//! frames of a batch are one allocation that all consumers share. The batch also has what filters need of
//! each event: its dotted name and correlation id. Names repeat, so most are stored once.

use super::{
    frame::{PREFIX_BYTES, Prefix},
    proto::bridge::TelemetryEvent,
};
use bytes::{Bytes, BytesMut};
use prost::Message as _;
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
#[derive(Debug, Default)]
struct Names {
    text: String,
    ends: Vec<usize>,
}

impl Names {
    fn get(&self, index: usize) -> Option<&str> {
        let end = *self.ends.get(index)?;
        let start = index.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |end| *end);
        self.text.get(start..end)
    }

    /// The index of this name. It is added if it is not one of the latest.
    fn index(&mut self, name: &[u8]) -> usize {
        let count = self.ends.len();
        let mut latest = (count.saturating_sub(COMPARED_NAMES)..count).rev();
        latest.find(|index| self.get(*index).map(str::as_bytes) == Some(name)).unwrap_or_else(|| {
            self.text.push_str(&String::from_utf8_lossy(name));
            self.ends.push(self.text.len());
            count
        })
    }
}

/// Encoded events without what filters need of them: what waits for a consumer.
#[derive(Debug, Default)]
pub struct Frames {
    bytes: Bytes,
    /// The end of each frame. It starts at the end of the frame before it.
    ends: Vec<usize>,
}

impl Frames {
    /// The bytes of all frames.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The bytes of these events' frames within [`bytes`](Self::bytes); empty if the events do not exist.
    pub fn range(&self, events: Range<usize>) -> Range<usize> {
        let start = self.end_before(events.start);
        start..self.end_before(events.end).max(start)
    }

    /// The bytes that it takes in memory.
    pub fn memory(&self) -> usize {
        self.bytes.len() + self.ends.len() * size_of::<usize>() + OVERHEAD_BYTES
    }

    /// Copies some of the events, so that they do not keep the others in memory.
    #[must_use]
    pub fn copy(&self, events: impl Iterator<Item = usize> + Clone) -> Self {
        let frame = |event: usize| self.bytes.get(self.range(event..event + 1)).unwrap_or_default();
        let mut bytes = BytesMut::with_capacity(events.clone().map(|event| frame(event).len()).sum());
        let mut ends = Vec::with_capacity(events.clone().count());
        for event in events {
            bytes.extend_from_slice(frame(event));
            ends.push(bytes.len());
        }
        Self { bytes: bytes.freeze(), ends }
    }

    /// The end of the frame before this index.
    fn end_before(&self, index: usize) -> usize {
        index.checked_sub(1).and_then(|last| self.ends.get(last)).map_or(0, |end| *end)
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
    pub fn frames(&self) -> &Bytes {
        &self.frames.bytes
    }

    /// The frames alone. They do not keep the batch in memory.
    pub fn shared_frames(&self) -> &Arc<Frames> {
        &self.frames
    }

    /// The bytes that it takes in memory.
    pub fn memory(&self) -> usize {
        let Names { text, ends } = &self.names;
        let names = text.capacity() + ends.capacity() * size_of::<usize>();
        self.frames.memory() + names + self.entries.len() * size_of::<Entry>() + OVERHEAD_BYTES
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

    /// The message of an event, without the length prefix.
    pub fn message(&self, index: usize) -> Option<&[u8]> {
        self.frames().get(self.frame_range(index..index + 1))?.get(PREFIX_BYTES..)
    }
}

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
        let next = Self { initial_bytes: self.end + self.end / 8, ..Self::default() };
        let mut done = std::mem::replace(self, next);
        done.frames.truncate(done.end);
        // Queues count the bytes of frames, so a batch must not take more memory than that.
        done.frames.shrink_to_fit();
        done.ends.shrink_to_fit();
        done.entries.shrink_to_fit();
        let frames = Arc::new(Frames { bytes: done.frames.into(), ends: done.ends });
        Batch { frames, names: done.names, entries: done.entries, origin: Origin::Worker }
    }
}
