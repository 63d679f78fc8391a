//! The frames of a batch, and parts of them.

use super::OVERHEAD_BYTES;
use bytes::{Buf, Bytes};
use std::{
    mem::size_of,
    ops::{Deref, Range},
    sync::Arc,
};

/// Encoded events without what filters need of them: what waits for a consumer.
#[derive(Debug, Default)]
pub struct Frames {
    /// The frames. Behind the last one may be bytes that are not used.
    pub(super) bytes: Vec<u8>,
    /// The end of each frame. It starts at the end of the frame before it.
    pub(super) ends: Vec<usize>,
}

impl Frames {
    /// The bytes of all frames.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.end_before(self.ends.len())).unwrap_or_default()
    }

    /// The bytes of these events' frames within [`bytes`](Self::bytes); empty if the events do not exist.
    pub fn range(&self, events: Range<usize>) -> Range<usize> {
        let start = self.end_before(events.start);
        start..self.end_before(events.end).max(start)
    }

    /// How many of these events end within the first `bytes` bytes of their frames.
    pub fn count_within(&self, events: Range<usize>, bytes: usize) -> usize {
        let end = self.end_before(events.start).saturating_add(bytes);
        self.ends.get(events).unwrap_or_default().partition_point(|event| *event <= end)
    }

    /// The bytes that it takes in memory.
    pub fn memory(&self) -> usize {
        self.bytes().len() + self.ends.len() * size_of::<usize>() + OVERHEAD_BYTES
    }

    /// Copies some of the events, so that they do not keep the others in memory.
    #[must_use]
    pub fn copy(&self, events: impl Iterator<Item = usize> + Clone) -> Self {
        let frames = events.map(|event| event..event + 1);
        let mut copy = Self {
            bytes: Vec::with_capacity(frames.clone().map(|frame| self.range(frame).len()).sum()),
            ends: Vec::with_capacity(frames.clone().count()),
        };
        frames.for_each(|frame| copy.append(self, frame));
        copy
    }

    /// Gets memory to append events, if there is not enough.
    pub fn reserve(&mut self, bytes: usize, events: usize) {
        self.bytes.reserve(bytes);
        self.ends.reserve(events);
    }

    /// Copies events behind those that are there.
    pub fn append(&mut self, from: &Self, events: Range<usize>) {
        let range = from.range(events.clone());
        let (old, new) = (range.start, self.bytes().len());
        self.bytes.truncate(new);
        self.bytes.extend_from_slice(from.bytes.get(range).unwrap_or_default());
        let ends = from.ends.get(events).unwrap_or_default();
        self.ends.extend(ends.iter().map(|end| end - old + new));
    }

    /// Removes all events and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// The end of the frame before this index.
    fn end_before(&self, index: usize) -> usize {
        index.checked_sub(1).and_then(|last| self.ends.get(last)).map_or(0, |end| *end)
    }
}

/// Consecutive frames of a batch, which it shares. They are its [bytes](Deref). Reading it as a [`Buf`] takes
/// them off the front.
#[derive(Debug, Clone, Default)]
pub struct FrameSlice {
    frames: Arc<Frames>,
    /// The events whose frames have not been read to their end.
    events: Range<usize>,
    /// The bytes that are left of them.
    bytes: Range<usize>,
}

impl FrameSlice {
    /// The frames of these events.
    pub fn new(frames: Arc<Frames>, events: Range<usize>) -> Self {
        let bytes = frames.range(events.clone());
        Self { frames, events, bytes }
    }

    /// The number of events, those included that have been read in part.
    pub fn events(&self) -> usize {
        self.events.len()
    }

    /// The same bytes in another type, which takes an allocation.
    pub fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self)
    }

    /// Takes bytes off the front and returns how many frames end in them.
    pub fn read(&mut self, count: usize) -> usize {
        self.bytes.start = self.bytes.end.min(self.bytes.start.saturating_add(count));
        let first = self.events.start;
        let read = self.bytes.start - self.frames.end_before(first);
        self.events.start += self.frames.count_within(self.events.clone(), read);
        self.events.start - first
    }
}

impl Deref for FrameSlice {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.frames.bytes.get(self.bytes.clone()).unwrap_or_default()
    }
}

impl AsRef<[u8]> for FrameSlice {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Buf for FrameSlice {
    fn remaining(&self) -> usize {
        self.bytes.len()
    }

    fn chunk(&self) -> &[u8] {
        self
    }

    fn advance(&mut self, count: usize) {
        self.read(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{
        batch::{BatchBuilder, Event},
        frame::{self, PREFIX_BYTES},
    };

    /// The frames of messages with these sizes.
    fn frames(sizes: &[usize]) -> Arc<Frames> {
        let mut builder = BatchBuilder::default();
        for size in sizes {
            let event = Event { name: b"a", correlation_id: b"", timestamp_ns: 0, timestamp_given: true };
            assert!(builder.push(&vec![7; *size], event));
        }
        Arc::clone(builder.share().shared_frames())
    }

    #[test]
    fn reading_counts_the_frames_that_end_in_what_was_read() {
        let all = frames(&[10, 0, 300, 1, 2, 3]);
        let slice = || FrameSlice::new(Arc::clone(&all), 1..5);
        let length = slice().len();
        assert_eq!(length, 303 + 4 * PREFIX_BYTES);
        for step in 1..=length + 1 {
            let (mut slice, mut read, mut events) = (slice(), 0, 0);
            while slice.has_remaining() {
                events += slice.read(step);
                read = length.min(read + step);
                let whole = [0, 300, 301, 303]
                    .iter()
                    .zip(1..)
                    .filter(|(end, count)| *end + count * PREFIX_BYTES <= read);
                assert_eq!((slice.len(), events), (length - read, whole.count()), "steps of {step} bytes");
                assert_eq!(slice.events(), 4 - events);
            }
            assert_eq!((events, slice.read(step)), (4, 0));
        }
    }

    #[test]
    fn frames_are_copied_in_their_order() {
        let all = frames(&[10, 0, 300, 1]);
        let mut copy = all.copy([0, 2].into_iter());
        copy.append(&all, 2..4);
        let sizes: Vec<_> = frame::whole(copy.bytes()).map(<[u8]>::len).collect();
        assert_eq!(sizes, [10, 300, 300, 1]);
        assert_eq!(copy.range(1..3).len(), 2 * (300 + PREFIX_BYTES));
        copy.clear();
        assert_eq!((copy.bytes(), copy.range(0..1)), (&[][..], 0..0));
    }

    #[test]
    fn as_many_frames_are_counted_as_fit() {
        let all = frames(&[5, 5, 15]);
        for (bytes, expected) in
            [(0, 0), (9, 0), (10, 1), (19, 1), (20, 2), (39, 2), (40, 3), (usize::MAX, 3)]
        {
            assert_eq!(all.count_within(0..3, bytes), expected, "{bytes}");
        }
        assert_eq!(all.count_within(1..3, 10), 1);
    }
}
