//! A bounded queue of events. It shares their batches with other queues as long as it keeps most of a batch,
//! and counts what it keeps in memory towards the bound of all queues.

mod chunk;
mod merge;

use super::pool::Pool;
use crate::event::batch::{Batch, Frames, OVERHEAD_BYTES};
use std::{collections::VecDeque, mem::size_of, ops::Range, sync::Arc};

/// Runs of frames up to this size are copied together; longer ones are passed on without a copy.
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

/// What a queue holds of a batch: the frames alone or, where the events are still to be evaluated, all of it.
pub(super) trait Stored: Sized {
    fn frames(&self) -> &Frames;
    /// The bytes that it takes in memory.
    fn memory(&self) -> usize;
    /// Copies some of the events, so that they do not keep the others in memory.
    fn copy(&self, events: impl Iterator<Item = usize> + Clone) -> Self;
}

impl Stored for Frames {
    fn frames(&self) -> &Frames {
        self
    }

    fn memory(&self) -> usize {
        self.memory()
    }

    fn copy(&self, events: impl Iterator<Item = usize> + Clone) -> Self {
        self.copy(events)
    }
}

impl Stored for Batch {
    fn frames(&self) -> &Frames {
        self.shared_frames()
    }

    fn memory(&self) -> usize {
        self.memory()
    }

    fn copy(&self, events: impl Iterator<Item = usize> + Clone) -> Self {
        self.compact(events)
    }
}

/// Consecutive events of one batch.
#[derive(Debug)]
struct Run<T> {
    stored: Arc<T>,
    events: Range<usize>,
    /// The memory that is free when this run is: its own and, for the last run of a batch, the batch's.
    memory: usize,
}

impl<T: Stored> Run<T> {
    fn bytes(&self) -> usize {
        self.stored.frames().range(self.events.clone()).len()
    }
}

/// The queue of one consumer, or the backlog.
#[derive(Debug)]
pub(super) struct Queue<T: Stored> {
    limits: Limits,
    pool: Arc<Pool>,
    runs: VecDeque<Run<T>>,
    events: usize,
    bytes: usize,
    /// The sum of the runs' memory. It is taken from the pool.
    memory: usize,
    /// Events that were taken and are not acknowledged yet.
    in_flight: usize,
    /// How many of them count towards the bound on events.
    bounded: usize,
    /// The last chunk that was copied together, if any was.
    copied: Option<Arc<Frames>>,
}

impl<T: Stored> Queue<T> {
    pub(super) fn new(limits: Limits, pool: &Arc<Pool>) -> Self {
        let pool = Arc::clone(pool);
        Self {
            limits,
            pool,
            runs: VecDeque::new(),
            events: 0,
            bytes: 0,
            memory: 0,
            in_flight: 0,
            bounded: 0,
            copied: None,
        }
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

    /// Whether events of this size can be added to as many `queues` as this one, without dropping any.
    ///
    /// A queue may take as much memory as is left for all. So queues that are not read leave room for others.
    pub(super) fn has_room(&self, events: usize, bytes: usize, queues: usize) -> bool {
        let memory = most_memory(events, bytes).saturating_mul(queues);
        let fits =
            self.bytes + bytes <= self.limits.bytes && self.memory.saturating_add(memory) <= self.pool.left();
        (fits || (self.events == 0 && events <= 1))
            && self.events + self.bounded + events <= self.limits.events
    }

    /// Whether there is no room for as much as it holds.
    pub(super) fn is_half_full(&self) -> bool {
        self.events > 0
            && (self.events >= self.limits.events / 2
                || self.bytes >= self.limits.bytes / 2
                || self.memory >= self.pool.left() / 2)
    }

    /// Adds events that [have room](Self::has_room), or that have to be added without.
    pub(super) fn push_run(&mut self, stored: &Arc<T>, events: Range<usize>) {
        let mut run = Run { stored: Arc::clone(stored), events, memory: 0 };
        let bytes = run.bytes();
        run.memory = most_memory(run.events.len(), bytes);
        self.events += run.events.len();
        self.bytes += bytes;
        self.memory += run.memory;
        self.pool.take(run.memory);
        match self.runs.back_mut() {
            Some(last) if Arc::ptr_eq(&last.stored, stored) && last.events.end == run.events.start => {
                last.events.end = run.events.end;
                last.memory += run.memory;
            }
            _ => self.runs.push_back(run),
        }
    }

    /// Adds one event and returns how many were dropped: the event itself, or older ones.
    pub(super) fn push(&mut self, stored: &Arc<T>, event: usize) -> u64 {
        let bytes = stored.frames().range(event..event + 1).len();
        let mut dropped = 0;
        while !self.has_room(1, bytes, 1) {
            dropped += 1;
            // Events in flight cannot be dropped to make room.
            if self.limits.when_full == WhenFull::DropNewest || self.events == 0 {
                return dropped;
            }
            self.drop_oldest();
        }
        self.push_run(stored, event..event + 1);
        dropped
    }

    /// Call it after pushing events of a batch. If a quarter of the batch or more was not kept the others are
    /// copied, so that they do not keep it in memory.
    pub(super) fn settle(&mut self, stored: &Arc<T>) {
        let first =
            self.runs.iter().rposition(|run| !Arc::ptr_eq(&run.stored, stored)).map_or(0, |at| at + 1);
        let kept: usize = self.runs.range(first..).map(Run::bytes).sum();
        if kept == 0 {
            return;
        }
        let counted: usize = self.runs.range(first..).map(|run| run.memory).sum();
        if kept < stored.frames().bytes().len() / 4 * 3 {
            let kept: Vec<_> = self.runs.drain(first..).map(|run| run.events).collect();
            let events = 0..kept.iter().map(Range::len).sum();
            let copy = Arc::new(stored.copy(kept.into_iter().flatten()));
            self.runs.push_back(Run { stored: copy, events, memory: 0 });
        }
        let mut memory = 0;
        for run in self.runs.range_mut(first..) {
            run.memory = size_of::<Run<T>>();
            memory += run.memory;
        }
        if let Some(last) = self.runs.back_mut() {
            let stored = last.stored.memory();
            last.memory += stored;
            memory += stored;
        }
        self.memory = self.memory - counted + memory;
        self.pool.give_back(counted);
        self.pool.take(memory);
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
            self.bytes -= run.stored.frames().range(run.events.start..end).len();
            self.events -= count;
            run.events.start = end;
            if run.events.is_empty() {
                self.memory -= run.memory;
                self.pool.give_back(run.memory);
                self.runs.pop_front();
            }
        }
    }

    /// The queued events, oldest first.
    pub(super) fn runs(&self) -> impl Iterator<Item = (Arc<T>, Range<usize>)> {
        self.runs.iter().map(|run| (Arc::clone(&run.stored), run.events.clone()))
    }

    /// Gives its memory back to the pool, before it is freed.
    pub(super) fn release(&mut self) {
        self.pool.give_back(std::mem::take(&mut self.memory));
    }
}

impl<T: Stored> Drop for Queue<T> {
    fn drop(&mut self) {
        self.release();
    }
}

/// The most memory that events take in a queue, whether they are copied or share their batch.
fn most_memory(events: usize, bytes: usize) -> usize {
    const EACH_RUN: usize = size_of::<Run<Frames>>() + OVERHEAD_BYTES;
    bytes + bytes / 3 + events * size_of::<usize>() + EACH_RUN
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{
        batch::{BatchBuilder, Event},
        frame,
    };

    /// A batch of events whose messages have these sizes.
    fn batch(sizes: &[usize]) -> Arc<Frames> {
        let mut builder = BatchBuilder::default();
        for size in sizes {
            let event = Event { name: b"a", correlation_id: b"", timestamp_ns: 0, timestamp_given: true };
            assert!(builder.push(&vec![7; *size], event));
        }
        Arc::clone(builder.take().shared_frames())
    }

    fn queue(events: usize, bytes: usize, when_full: WhenFull) -> Queue<Frames> {
        Queue::new(Limits { events, bytes, when_full }, &Pool::new(usize::MAX))
    }

    /// Takes all messages and returns their sizes.
    fn take_all(queue: &mut Queue<Frames>, about: usize) -> Vec<usize> {
        let mut sizes = Vec::new();
        while let Some(frames) = queue.take(about) {
            let before = sizes.len();
            sizes.extend(frame::whole(&frames).map(<[u8]>::len));
            assert_eq!(sizes.len() - before, frames.events());
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
                (0..part.len()).for_each(|event| assert_eq!(queue.push(&batch, event), 0));
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
            let pushed = |queue: &mut Queue<Frames>| queue.push(&batch, 0) == 0;
            assert!(pushed(&mut queue) && pushed(&mut queue));
            let taken = queue.take(1_000).unwrap().events();
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
        let taken = queue.take(1_000).unwrap().events();
        queue.add_in_flight(taken, false);
        assert_eq!(queue.push(&batch, 1), 0);
        assert_eq!((queue.in_flight(), queue.settle_in_flight(5)), (1, 1));
    }

    #[test]
    fn a_queue_counts_what_it_keeps_in_memory_until_it_is_taken() {
        let stored = batch(&[1_000; 100]);
        let pool = Pool::new(1_000_000);
        let taken = || 1_000_000 - pool.left();
        let limits = Limits { events: 1_000, bytes: 1_000_000, when_full: WhenFull::DropNewest };
        // All of the batch, most of it, and too little to share it.
        for (kept, shared) in [(100, true), (80, true), (70, false), (1, false)] {
            let mut queue = Queue::new(limits, &pool);
            (0..kept).for_each(|event| assert_eq!(queue.push(&stored, event), 0));
            queue.settle(&stored);
            assert_eq!(Arc::strong_count(&stored) > 1, shared);
            let expected = if shared { stored.memory() } else { kept * (1_005 + 8) };
            assert!((expected..expected + 500).contains(&taken()), "{kept}: {} of {expected}", taken());
            assert!(taken() <= most_memory(kept, kept * 1_005), "{kept}");
            // A part of a batch keeps all of it.
            while queue.len() > 1 {
                queue.take(1).unwrap();
                assert!(taken() >= expected);
            }
            queue.take(1).unwrap();
            assert_eq!(taken(), 0);
            queue.push(&stored, 0);
            drop(queue);
            assert_eq!(taken(), 0);
        }
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
