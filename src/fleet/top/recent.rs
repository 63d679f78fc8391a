//! The last events, as they were received.

use crate::event::{frame, proto::bridge::TelemetryEvent};
use bytes::Bytes;
use prost::Message as _;
use std::collections::VecDeque;

/// As many are kept at least, if there were as many: some screens full.
const EVENTS: usize = 200;

/// Older events than the last chunk are dropped beyond this many bytes.
const MAX_BYTES: usize = 256 * 1024;

/// The last events, with what they belong to.
#[derive(Debug, Clone)]
pub(super) struct Recent<T> {
    chunks: VecDeque<(T, Bytes, usize)>,
    events: usize,
    bytes: usize,
}

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self { chunks: VecDeque::new(), events: 0, bytes: 0 }
    }
}

impl<T: Copy> Recent<T> {
    /// Adds whole gRPC frames.
    pub(super) fn add(&mut self, of: T, frames: &Bytes) {
        let count = frame::whole(frames).count();
        self.events += count;
        self.bytes += frames.len();
        self.chunks.push_back((of, frames.clone(), count));
        while let Some((_, oldest, events)) = self.chunks.front()
            && self.chunks.len() > 1
            && (self.events - events >= EVENTS || self.bytes > MAX_BYTES)
        {
            self.events -= events;
            self.bytes -= oldest.len();
            self.chunks.pop_front();
        }
    }

    /// The events, newest first.
    pub(super) fn newest(&self) -> impl Iterator<Item = (T, TelemetryEvent)> {
        self.chunks.iter().rev().flat_map(|(of, frames, _)| {
            let mut messages: Vec<Bytes> = frame::messages(frames.clone()).collect();
            messages.reverse();
            messages.into_iter().filter_map(|message| Some((*of, TelemetryEvent::decode(message).ok()?)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::frame::Prefix;

    fn frames(first: usize, count: usize, bytes: usize) -> Bytes {
        let mut frames = Vec::new();
        for number in first..first + count {
            let parts = vec![number.to_string(), "x".repeat(bytes)];
            let message = TelemetryEvent { event_parts: parts, ..TelemetryEvent::default() }.encode_to_vec();
            let length = u32::try_from(message.len()).unwrap();
            frames.extend(Prefix { compressed: false, length }.to_bytes());
            frames.extend(message);
        }
        frames.into()
    }

    #[test]
    fn the_newest_come_first_and_their_number_is_bounded() {
        let mut recent = Recent::default();
        for chunk in 0..100 {
            recent.add(chunk, &frames(chunk * 10, 10, 1));
        }
        let numbers: Vec<_> = recent.newest().map(|(of, event)| (of, event.event_parts[0].clone())).collect();
        assert_eq!(numbers.len(), EVENTS);
        assert_eq!((&numbers[0], &numbers[10]), (&(99, "999".to_owned()), &(98, "989".to_owned())));
        recent.add(7, &frames(0, 3, MAX_BYTES));
        assert!(recent.newest().map(|(of, _)| of).eq([7, 7, 7]));
    }
}
