//! A bounded queue of events. It shares their batches with other queues.

use crate::event::batch::Batch;
use bytes::{Bytes, BytesMut};
use std::{collections::VecDeque, ops::Range, sync::Arc};

/// Runs of frames up to this size are copied together into one chunk; longer ones are passed on without a
/// copy.
const SMALL_RUN_BYTES: usize = 4 * 1024;

/// Which event is dropped when a queue is full. The comments are the values' help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum WhenFull {
    /// The new event
    #[default]
    DropNewest,
    /// The oldest event in the queue
    DropOldest,
}

/// The bounds of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most events, those in flight included; at least 1.
    pub events: usize,
    /// The most bytes, gRPC's message prefixes included. An empty queue takes an event of any size.
    pub bytes: usize,
    /// What is dropped at either bound.
    pub when_full: WhenFull,
}

/// Consecutive events of one batch.
#[derive(Debug)]
struct Run {
    batch: Arc<Batch>,
    events: Range<usize>,
}

impl Run {
    fn bytes(&self) -> usize {
        self.batch.frame_range(self.events.clone()).len()
    }
}

/// The queue of one consumer, or the backlog.
#[derive(Debug)]
pub(super) struct Queue {
    limits: Limits,
    runs: VecDeque<Run>,
    events: usize,
    bytes: usize,
    /// Events that were taken and are not acknowledged yet.
    in_flight: usize,
    /// How many of them count towards the bound on events.
    bounded: usize,
}

impl Queue {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, runs: VecDeque::new(), events: 0, bytes: 0, in_flight: 0, bounded: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.events
    }

    /// The number of events that were taken and are not acknowledged yet.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Marks events as in flight until they are [settled](Self::settle_in_flight). If `bounded`, they count
    /// towards the bound on events.
    pub(super) fn add_in_flight(&mut self, events: usize, bounded: bool) {
        self.in_flight += events;
        self.bounded += if bounded { events } else { 0 };
    }

    /// Ends the flight of up to `events` events and returns how many there were.
    pub(super) fn settle_in_flight(&mut self, events: u64) -> u64 {
        let settled = usize::try_from(events).unwrap_or(usize::MAX).min(self.in_flight);
        self.in_flight -= settled;
        self.bounded = self.bounded.saturating_sub(settled);
        settled as u64
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether events of this size can be added without dropping any.
    pub(super) fn has_room(&self, events: usize, bytes: usize) -> bool {
        let fits = self.bytes + bytes <= self.limits.bytes || (self.events == 0 && events <= 1);
        fits && self.events + self.bounded + events <= self.limits.events
    }

    /// Adds events that [have room](Self::has_room).
    pub(super) fn push_run(&mut self, batch: &Arc<Batch>, events: Range<usize>) {
        let run = Run { batch: Arc::clone(batch), events };
        self.events += run.events.len();
        self.bytes += run.bytes();
        match self.runs.back_mut() {
            Some(last) if Arc::ptr_eq(&last.batch, batch) && last.events.end == run.events.start => {
                last.events.end = run.events.end;
            }
            _ => self.runs.push_back(run),
        }
    }

    /// Adds one event and returns how many were dropped: the event itself, or older ones.
    pub(super) fn push(&mut self, batch: &Arc<Batch>, event: usize) -> u64 {
        let bytes = batch.frame_range(event..event + 1).len();
        let mut dropped = 0;
        while !self.has_room(1, bytes) {
            dropped += 1;
            // Events in flight cannot be dropped to make room.
            if self.limits.when_full == WhenFull::DropNewest || self.events == 0 {
                return dropped;
            }
            self.drop_oldest();
        }
        self.push_run(batch, event..event + 1);
        dropped
    }

    /// Call it after pushing events of a batch: if few of its events were kept they are copied, so that they
    /// do not keep the whole batch in memory.
    pub(super) fn settle(&mut self, batch: &Arc<Batch>) {
        let first = self.runs.iter().rposition(|run| !Arc::ptr_eq(&run.batch, batch)).map_or(0, |at| at + 1);
        let kept: usize = self.runs.range(first..).map(Run::bytes).sum();
        if kept == 0 || kept >= batch.frames().len() / 2 {
            return;
        }
        let events = self.runs.drain(first..).flat_map(|run| run.events);
        let compact = Arc::new(batch.compact(events));
        let events = 0..compact.len();
        self.runs.push_back(Run { batch: compact, events });
    }

    /// Takes whole frames, `about` that many bytes and at least one frame, and returns them with the number
    /// of events.
    pub(super) fn take(&mut self, about: usize) -> Option<(Bytes, usize)> {
        let (first, mut events) = self.take_run(about)?;
        if first.len() > SMALL_RUN_BYTES || self.runs.is_empty() {
            return Some((first, events));
        }
        let mut chunk = BytesMut::with_capacity(about);
        chunk.extend_from_slice(&first);
        while chunk.len() < about {
            let Some((next, more)) = self.take_run(about - chunk.len()) else {
                break;
            };
            chunk.extend_from_slice(&next);
            events += more;
        }
        Some((chunk.freeze(), events))
    }

    /// Takes frames of the oldest run.
    fn take_run(&mut self, about: usize) -> Option<(Bytes, usize)> {
        let run = self.runs.front_mut()?;
        let start = run.events.start;
        let frames = run.batch.frame_range(run.events.clone());
        let end = if frames.len() <= about {
            run.events.end
        } else {
            // Up to and including the event that reaches the size.
            let reaches = |end: &usize| run.batch.frame_range(start..*end).len() >= about;
            (start + 1..run.events.end).find(reaches).unwrap_or(run.events.end)
        };
        let chunk = run.batch.frames().slice(run.batch.frame_range(start..end));
        self.remove_oldest(end - start);
        Some((chunk, end - start))
    }

    fn drop_oldest(&mut self) {
        if self.events > 0 {
            self.remove_oldest(1);
        }
    }

    /// Removes events from the front of the oldest run.
    fn remove_oldest(&mut self, count: usize) {
        if let Some(run) = self.runs.front_mut() {
            let end = run.events.start + count;
            self.bytes -= run.batch.frame_range(run.events.start..end).len();
            self.events -= count;
            run.events.start = end;
            if run.events.is_empty() {
                self.runs.pop_front();
            }
        }
    }

    /// The queued events, oldest first.
    pub(super) fn into_runs(self) -> impl Iterator<Item = (Arc<Batch>, Range<usize>)> {
        self.runs.into_iter().map(|run| (run.batch, run.events))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{
        batch::{BatchBuilder, Event},
        frame,
    };

    /// A batch of events whose messages have these sizes.
    fn batch(sizes: &[usize]) -> Arc<Batch> {
        let mut builder = BatchBuilder::default();
        for size in sizes {
            let event = Event { name: b"a", correlation_id: b"", timestamp_ns: 0, timestamp_given: true };
            assert!(builder.push(&vec![7; *size], event));
        }
        Arc::new(builder.take())
    }

    fn queue(events: usize, bytes: usize, when_full: WhenFull) -> Queue {
        Queue::new(Limits { events, bytes, when_full })
    }

    /// Takes all messages and returns their sizes.
    fn take_all(queue: &mut Queue, about: usize) -> Vec<usize> {
        let mut sizes = Vec::new();
        while let Some((frames, events)) = queue.take(about) {
            let before = sizes.len();
            sizes.extend(frame::messages(frames).map(|message| message.len()));
            assert_eq!(sizes.len() - before, events);
        }
        assert_eq!((queue.len(), queue.bytes()), (0, 0));
        sizes
    }

    #[test]
    fn events_come_out_in_order_for_every_chunk_size() {
        let sizes: Vec<_> = (1..200).map(|n| n * 37 % 101).collect();
        for about in [1, 100, 1_000, 1_000_000] {
            let mut queue = queue(1_000, 1_000_000, WhenFull::DropNewest);
            for part in sizes.chunks(23) {
                let batch = batch(part);
                (0..batch.len()).for_each(|event| assert_eq!(queue.push(&batch, event), 0));
                queue.settle(&batch);
            }
            assert_eq!(take_all(&mut queue, about), sizes, "chunks of about {about}");
        }
    }

    #[test]
    fn a_full_queue_drops_the_newest_or_the_oldest_event() {
        let batch = batch(&[1, 2, 3, 4]);
        for (when_full, left) in [(WhenFull::DropNewest, [1, 2]), (WhenFull::DropOldest, [3, 4])] {
            let mut queue = queue(2, 1_000, when_full);
            let dropped: u64 = (0..4).map(|event| queue.push(&batch, event)).sum();
            assert_eq!(dropped, 2);
            assert_eq!(take_all(&mut queue, 1_000), left);
        }
    }

    #[test]
    fn several_old_events_are_dropped_for_a_large_one() {
        let batch = batch(&[10, 10, 10, 40]);
        let mut queue = queue(10, 60, WhenFull::DropOldest);
        let dropped: Vec<_> = (0..4).map(|event| queue.push(&batch, event)).collect();
        assert_eq!(dropped, [0, 0, 0, 2]);
        assert_eq!(take_all(&mut queue, 1_000), [10, 40]);
    }

    #[test]
    fn events_in_flight_count_towards_the_bound_and_are_never_dropped_to_make_room() {
        let batch = batch(&[1, 2, 3]);
        for when_full in [WhenFull::DropNewest, WhenFull::DropOldest] {
            let mut queue = queue(2, 1_000, when_full);
            let pushed = |queue: &mut Queue| queue.push(&batch, 0) == 0;
            assert!(pushed(&mut queue) && pushed(&mut queue));
            let (_, taken) = queue.take(1_000).unwrap();
            queue.add_in_flight(taken, true);
            assert_eq!((taken, queue.len(), queue.in_flight()), (2, 0, 2));
            assert!(!pushed(&mut queue));
            assert_eq!(queue.settle_in_flight(1), 1);
            assert!(pushed(&mut queue));
            assert_eq!(queue.settle_in_flight(5), 1);
            assert!(pushed(&mut queue));
        }
    }

    #[test]
    fn unbounded_events_in_flight_leave_their_room_to_others() {
        let batch = batch(&[1, 2]);
        let mut queue = queue(1, 1_000, WhenFull::DropNewest);
        assert_eq!(queue.push(&batch, 0), 0);
        let (_, taken) = queue.take(1_000).unwrap();
        queue.add_in_flight(taken, false);
        assert_eq!(queue.push(&batch, 1), 0);
        assert_eq!((queue.in_flight(), queue.settle_in_flight(5)), (1, 1));
    }

    #[test]
    fn a_few_events_do_not_keep_their_batch_in_memory() {
        let batch = batch(&[100; 100]);
        let mut queue = queue(1_000, 1_000_000, WhenFull::DropNewest);
        queue.push(&batch, 3);
        queue.push(&batch, 90);
        queue.settle(&batch);
        assert_eq!(Arc::strong_count(&batch), 1);
        assert_eq!(take_all(&mut queue, 1_000), [100, 100]);
    }
}
