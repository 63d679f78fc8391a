//! The backlog keeps small batches together: a batch of one event takes several allocations, and more memory
//! than the event.

use super::{Queue, Run, SMALL_RUN_BYTES};
use crate::event::batch::Batch;
use std::{
    mem::{self, size_of},
    sync::Arc,
};

/// A merged batch of this many bytes is complete. It is freed with the last of its events.
const MERGED_BYTES: usize = 16 * 1024;

impl Queue<Batch> {
    /// Call it after pushing events of a batch. If they are small they are copied behind those that were
    /// copied before, else they are [settled](Self::settle) alone.
    pub(in crate::hub) fn settle_merged(&mut self, stored: &Arc<Batch>) {
        let is_of_batch = |run: &Run<Batch>| Arc::ptr_eq(&run.stored, stored);
        let mut latest = self.runs.iter().rev();
        let is_small = latest.next().is_some_and(|run| is_of_batch(run) && run.bytes() <= SMALL_RUN_BYTES);
        if !is_small || latest.next().is_some_and(is_of_batch) {
            return self.settle(stored);
        }
        let Some(small) = self.runs.pop_back() else { return };
        if !self.runs.back_mut().is_some_and(|last| last.append(&small)) {
            self.runs.push_back(small.copied());
        }
        if let Some(last) = self.runs.back_mut() {
            let memory = size_of::<Run<Batch>>() + last.stored.memory();
            let counted = small.memory + mem::replace(&mut last.memory, memory);
            self.memory = self.memory - counted + memory;
            self.pool.give_back(counted);
            self.pool.take(memory);
        }
    }
}

impl Run<Batch> {
    /// Copies other events behind its own. False if its batch is shared or complete.
    fn append(&mut self, other: &Self) -> bool {
        let Some(batch) = Arc::get_mut(&mut self.stored) else { return false };
        let is_open = self.events.end == batch.len() && batch.frames().len() < MERGED_BYTES;
        if !is_open || !batch.append(&other.stored, other.events.clone()) {
            batch.shrink();
            return false;
        }
        self.events.end = batch.len();
        true
    }

    /// The same events in a batch of their own, whose memory is not counted yet.
    fn copied(&self) -> Self {
        let copy = self.stored.compact(self.events.clone());
        Self { events: 0..copy.len(), stored: Arc::new(copy), memory: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Limits, Pool, WhenFull},
        *,
    };
    use crate::event::batch::{BatchBuilder, Event, Origin};

    fn batch(names: &[&str]) -> Batch {
        let mut builder = BatchBuilder::default();
        for name in names {
            let event =
                Event { name: name.as_bytes(), correlation_id: b"c", timestamp_ns: 1, timestamp_given: true };
            assert!(builder.push(&[name.as_bytes(), b"c"].concat(), event));
        }
        builder.take()
    }

    /// Adds a batch and returns how many events were dropped.
    fn push(queue: &mut Queue<Batch>, batch: Batch) -> u64 {
        let batch = Arc::new(batch);
        let dropped = (0..batch.len()).map(|event| queue.push(&batch, event)).sum();
        queue.settle_merged(&batch);
        dropped
    }

    /// The names of each batch's events that are queued.
    fn names(queue: &Queue<Batch>) -> Vec<String> {
        let name = |batch: &Batch, event| {
            let Event { name, correlation_id, timestamp_ns, .. } = batch.event(event).unwrap();
            assert_eq!((correlation_id, timestamp_ns), (&b"c"[..], 1));
            assert_eq!(batch.message(event), Some(&[name, b"c"].concat()[..]));
            String::from_utf8_lossy(name).into_owned()
        };
        let names = |(batch, events): (Arc<Batch>, std::ops::Range<usize>)| {
            events.map(|event| name(&batch, event)).collect::<Vec<_>>().join(" ")
        };
        queue.runs().map(names).collect()
    }

    #[test]
    fn small_batches_become_one_and_leave_from_its_front() {
        let pool = Pool::new(1_000_000);
        let limits = Limits { events: 4, bytes: 1_000_000, when_full: WhenFull::DropOldest };
        let mut queue = Queue::new(limits, &pool);
        for names in [&["a"][..], &["b", "c"], &["a"]] {
            assert_eq!(push(&mut queue, batch(names)), 0);
        }
        assert_eq!(names(&queue), ["a b c a"]);
        assert_eq!(push(&mut queue, batch(&["d"])), 1);
        assert_eq!(names(&queue), ["b c a d"]);
        // Those of another origin stay apart, and so do those that come after them.
        assert_eq!(push(&mut queue, batch(&["e"]).from(Origin::Observed)), 1);
        assert_eq!(push(&mut queue, batch(&["f"])), 1);
        assert_eq!(names(&queue), ["a d", "e", "f"]);
        // Nothing is added to a batch that is shared.
        let taken: Vec<_> = queue.runs().collect();
        assert_eq!(push(&mut queue, batch(&["g"])), 1);
        assert_eq!(names(&queue), ["d", "e", "f", "g"]);
        drop((taken, queue));
        assert_eq!(pool.left(), 1_000_000);
    }

    #[test]
    fn the_memory_of_merged_batches_is_counted_and_freed() {
        let pool = Pool::new(1_000_000);
        let limits = Limits { events: 1_000, bytes: 1_000_000, when_full: WhenFull::DropOldest };
        let mut queue = Queue::new(limits, &pool);
        let name = "n".repeat(95);
        let dropped: u64 = (0..5_000).map(|_| push(&mut queue, batch(&[&name]))).sum();
        assert_eq!((dropped, queue.len()), (4_000, 1_000));
        // A frame is 101 bytes; the rest is what filters need of an event.
        let taken = 1_000_000 - pool.left();
        let oldest = MERGED_BYTES + MERGED_BYTES / 2;
        assert!((1_000 * 140..1_000 * 150 + oldest).contains(&taken), "{taken}");
        assert!(queue.runs.len() < 10);
        drop(queue);
        assert_eq!(pool.left(), 1_000_000);
    }
}
