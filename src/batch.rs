//! Events as they travel through the program: encoded once, as gRPC messages ready to send, many to a batch.
//!
//! A frame is a whole length-prefixed gRPC message: one byte 0 (not compressed), the message's length in four
//! bytes, big-endian, and the `TelemetryEvent`. Frames lie one behind the other in one allocation that all
//! consumers share. Beside them stands what judging an event needs: its dotted name and correlation id.

use bytes::Bytes;
use std::ops::Range;

/// Bytes of the length prefix before each message: <https://grpc.github.io/grpc/core/md_doc__p_r_o_t_o_c_o_l-_h_t_t_p2.html>.
pub const FRAME_PREFIX_BYTES: usize = 5;

/// The largest message that gRPC clients take by default, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 4 * 1024 * 1024;

/// Where an event's parts are.
#[derive(Debug, Clone, Copy)]
struct Entry {
    /// The frame's end in `frames`; it starts where the one before ends.
    frame_end: usize,
    /// The name's end in `text`; it starts where the text of the event before ends.
    name_end: usize,
    /// The correlation id's end in `text`; it starts where the name ends.
    correlation_end: usize,
    /// What the timestamp is, and whether the line said so.
    timestamp_ns: i64,
    timestamp_given: bool,
}

/// Finished events, shared by all consumers.
#[derive(Debug, Default)]
pub struct Batch {
    frames: Bytes,
    text: String,
    entries: Vec<Entry>,
}

/// What judging an event needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    /// The dotted name, UTF-8.
    pub name: &'a str,
    /// The correlation id; empty for none.
    pub correlation_id: &'a str,
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
        let start = self.before(index, |entry| entry.correlation_end);
        Some(Event {
            name: self.text.get(start..entry.name_end)?,
            correlation_id: self.text.get(entry.name_end..entry.correlation_end)?,
            timestamp_ns: entry.timestamp_ns,
            timestamp_given: entry.timestamp_given,
        })
    }

    /// A batch of its own with some of the events, so that they do not keep the others in memory.
    #[must_use]
    pub fn compact(&self, events: impl Iterator<Item = usize>) -> Self {
        let mut builder = BatchBuilder::default();
        for index in events {
            let (Some(event), Some(message)) = (self.event(index), self.message(index)) else {
                continue;
            };
            builder.start_frame().extend_from_slice(message);
            builder.finish_frame(event);
        }
        builder.take()
    }

    /// The message of an event, without its length prefix.
    pub fn message(&self, index: usize) -> Option<&[u8]> {
        self.frames.get(self.frame_range(index..index + 1))?.get(FRAME_PREFIX_BYTES..)
    }

    /// A field of the entry before this one.
    fn before(&self, index: usize, field: impl Fn(&Entry) -> usize) -> usize {
        index.checked_sub(1).and_then(|last| self.entries.get(last)).map_or(0, field)
    }
}

/// A batch being built.
#[derive(Debug, Default)]
pub struct BatchBuilder {
    frames: Vec<u8>,
    text: String,
    entries: Vec<Entry>,
}

impl BatchBuilder {
    /// Starts a frame. What is written to the buffer until [`finish_frame`](Self::finish_frame) is the message;
    /// [`abandon_frame`](Self::abandon_frame) takes it back.
    pub fn start_frame(&mut self) -> &mut Vec<u8> {
        self.frames.extend_from_slice(&[0; FRAME_PREFIX_BYTES]);
        &mut self.frames
    }

    /// The buffer of the frame that was started.
    pub fn frame(&mut self) -> &mut Vec<u8> {
        &mut self.frames
    }

    /// Takes back what was written since the last finished frame.
    pub fn abandon_frame(&mut self) {
        let end = self.frames_end();
        self.frames.truncate(end);
    }

    /// Ends the frame. False, and nothing is added, if its message is larger than [`MAX_MESSAGE_BYTES`].
    pub fn finish_frame(&mut self, event: Event<'_>) -> bool {
        let start = self.frames_end();
        let length = self.frames.len() - start - FRAME_PREFIX_BYTES;
        let prefix = self.frames.get_mut(start + 1..start + FRAME_PREFIX_BYTES);
        match (u32::try_from(length), prefix) {
            (Ok(length), Some(prefix)) if length as usize <= MAX_MESSAGE_BYTES => {
                prefix.copy_from_slice(&length.to_be_bytes());
            }
            _ => {
                self.abandon_frame();
                return false;
            }
        }
        self.text.push_str(event.name);
        let name_end = self.text.len();
        self.text.push_str(event.correlation_id);
        self.entries.push(Entry {
            frame_end: self.frames.len(),
            name_end,
            correlation_end: self.text.len(),
            timestamp_ns: event.timestamp_ns,
            timestamp_given: event.timestamp_given,
        });
        true
    }

    /// The finished batch; the builder starts anew.
    pub fn take(&mut self) -> Batch {
        self.abandon_frame();
        let done = std::mem::take(self);
        Batch { frames: done.frames.into(), text: done.text, entries: done.entries }
    }

    fn frames_end(&self) -> usize {
        self.entries.last().map_or(0, |entry| entry.frame_end)
    }
}
