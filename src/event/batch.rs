//! Events as they travel through the program: encoded once, as gRPC messages ready to send, many to a batch.
//!
//! A [frame](super::frame) is a length-prefixed gRPC message that is not compressed, a `TelemetryEvent`. Frames lie one
//! behind the other in one allocation that all consumers share. Beside them stands what judging an event needs: its dotted name and correlation id. Names are few,
//! so each stands once.

use super::frame::{PREFIX_BYTES, Prefix};
use bytes::Bytes;
use std::ops::Range;

/// The largest message that gRPC clients take by default, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 4 * 1024 * 1024;

/// How many of a batch's latest names are looked through for that of the next event.
const NAMES_AT_HAND: usize = 8;

/// Where an event's parts are.
#[derive(Debug, Clone, Copy)]
struct Entry {
    /// The frame's end in `frames`; it starts where the one before ends.
    frame_end: usize,
    /// The number of its name.
    name: usize,
    /// How many bytes of the frame, its last ones, are the correlation id.
    correlation_bytes: usize,
    /// What the timestamp is, and whether the line said so.
    timestamp_ns: i64,
    timestamp_given: bool,
}

/// Names one behind the other.
#[derive(Debug, Default)]
struct Names {
    text: String,
    ends: Vec<usize>,
}

impl Names {
    fn get(&self, number: usize) -> Option<&str> {
        let end = *self.ends.get(number)?;
        let start = number.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |end| *end);
        self.text.get(start..end)
    }

    /// The number of this name, a new one if it is not at hand.
    fn number(&mut self, name: &[u8]) -> usize {
        let count = self.ends.len();
        let mut at_hand = (count.saturating_sub(NAMES_AT_HAND)..count).rev();
        at_hand.find(|number| self.get(*number).map(str::as_bytes) == Some(name)).unwrap_or_else(|| {
            self.text.push_str(&String::from_utf8_lossy(name));
            self.ends.push(self.text.len());
            count
        })
    }
}

/// Finished events, shared by all consumers.
#[derive(Debug, Default)]
pub struct Batch {
    frames: Bytes,
    names: Names,
    entries: Vec<Entry>,
}

/// What judging an event needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    /// The dotted name, UTF-8.
    pub name: &'a [u8],
    /// The correlation id, UTF-8; empty for none.
    pub correlation_id: &'a [u8],
    /// Nanoseconds since the Unix epoch: the line's, or the time of reading.
    pub timestamp_ns: i64,
    /// Whether the line had a timestamp.
    pub timestamp_given: bool,
}

impl Batch {
    /// How many events there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The bytes of all frames.
    pub fn frames(&self) -> &Bytes {
        &self.frames
    }

    /// Where the frames of these events are; empty where there are none.
    pub fn frame_range(&self, events: Range<usize>) -> Range<usize> {
        let start = self.before(events.start, |entry| entry.frame_end);
        let end = self.before(events.end, |entry| entry.frame_end);
        start..end.max(start)
    }

    /// The event of this number, if there are so many.
    pub fn event(&self, index: usize) -> Option<Event<'_>> {
        let entry = self.entries.get(index)?;
        Some(Event {
            name: self.names.get(entry.name)?.as_bytes(),
            correlation_id: self.correlation_id(index)?,
            timestamp_ns: entry.timestamp_ns,
            timestamp_given: entry.timestamp_given,
        })
    }

    /// How many names its events have; most stand only once.
    pub fn name_count(&self) -> usize {
        self.names.ends.len()
    }

    /// Which of the names an event has.
    pub fn name_number(&self, index: usize) -> Option<usize> {
        self.entries.get(index).map(|entry| entry.name)
    }

    /// The name of this number.
    pub fn name(&self, number: usize) -> Option<&str> {
        self.names.get(number)
    }

    /// An event's correlation id, UTF-8; empty for none.
    pub fn correlation_id(&self, index: usize) -> Option<&[u8]> {
        let entry = self.entries.get(index)?;
        self.frames.get(entry.frame_end - entry.correlation_bytes..entry.frame_end)
    }

    /// A batch of its own with some of the events, so that they do not keep the others in memory.
    #[must_use]
    pub fn compact(&self, events: impl Iterator<Item = usize>) -> Self {
        let mut builder = BatchBuilder::default();
        for index in events {
            let (Some(event), Some(message)) = (self.event(index), self.message(index)) else {
                continue;
            };
            builder.push(message, event);
        }
        builder.take()
    }

    /// The message of an event, without its length prefix.
    pub fn message(&self, index: usize) -> Option<&[u8]> {
        self.frames.get(self.frame_range(index..index + 1))?.get(PREFIX_BYTES..)
    }

    /// A field of the entry before this one.
    fn before(&self, index: usize, field: impl Fn(&Entry) -> usize) -> usize {
        index.checked_sub(1).and_then(|last| self.entries.get(last)).map_or(0, field)
    }
}

/// A batch being built.
#[derive(Debug, Default)]
pub struct BatchBuilder {
    /// The frames up to `end`, and initialised bytes to write the next one to.
    frames: Vec<u8>,
    end: usize,
    names: Names,
    entries: Vec<Entry>,
    /// How many bytes the batch before had: the next one is often like it.
    usual: usize,
}

impl BatchBuilder {
    /// Room for a message of at least so many bytes, to be followed by [`finish`](Self::finish) if it becomes one.
    pub fn room(&mut self, bytes: usize) -> &mut [u8] {
        let start = self.end + PREFIX_BYTES;
        let needed = start + bytes;
        if self.frames.is_empty() {
            // Zeroed by the allocator: pages that are not written cost nothing.
            self.frames = vec![0; needed.max(self.usual)];
        } else if self.frames.len() < needed {
            // Not twice as much: large pieces of memory come from the system anew each time, page by page.
            self.frames.resize(needed.max(self.frames.len() + self.frames.len() / 4), 0);
        }
        self.frames.get_mut(start..).unwrap_or_default()
    }

    /// Adds the message of so many bytes that was written to the [room](Self::room). Its last bytes are the
    /// correlation id. False, and nothing is added, if it is larger than [`MAX_MESSAGE_BYTES`].
    pub fn finish(&mut self, message_bytes: usize, event: Event<'_>) -> bool {
        let prefix = self.frames.get_mut(self.end..).and_then(|room| room.first_chunk_mut::<PREFIX_BYTES>());
        match (prefix, u32::try_from(message_bytes)) {
            (Some(prefix), Ok(length)) if message_bytes <= MAX_MESSAGE_BYTES => {
                *prefix = Prefix { compressed: false, length }.to_bytes();
            }
            _ => return false,
        }
        self.end += PREFIX_BYTES + message_bytes;
        self.entries.push(Entry {
            frame_end: self.end,
            name: self.names.number(event.name),
            correlation_bytes: event.correlation_id.len(),
            timestamp_ns: event.timestamp_ns,
            timestamp_given: event.timestamp_given,
        });
        true
    }

    /// Adds a finished message. False, and nothing is added, if it is larger than [`MAX_MESSAGE_BYTES`].
    pub fn push(&mut self, message: &[u8], event: Event<'_>) -> bool {
        if let Some(room) = self.room(message.len()).get_mut(..message.len()) {
            room.copy_from_slice(message);
        }
        self.finish(message.len(), event)
    }

    /// The finished batch; the builder starts anew.
    pub fn take(&mut self) -> Batch {
        let next = Self { usual: self.end + self.end / 8, ..Self::default() };
        let mut done = std::mem::replace(self, next);
        done.frames.truncate(done.end);
        // What waits in queues is to take no more memory than is counted there.
        done.frames.shrink_to_fit();
        done.entries.shrink_to_fit();
        Batch { frames: done.frames.into(), names: done.names, entries: done.entries }
    }
}
