//! Batches that were shared, to use their memory again when nothing shares them any more.

use super::Batch;
use std::sync::Arc;

/// How many batches are remembered.
const MAX_BATCHES: usize = 64;

/// The most memory that they keep, in bytes: about what a busy worker's events take between the read and a
/// client's socket. Queues do not count what of it is unused.
const MAX_BYTES: usize = 1024 * 1024;

/// The largest batch that is remembered: several times what is made of one read, unless a line is long.
pub(super) const MAX_BATCH_BYTES: usize = MAX_BYTES / 4;

/// A batch may keep this many bytes, however little the next one needs.
const SMALL_BYTES: usize = 4 * 1024;

/// A larger one is freed if the next one needs a smaller fraction of it, given as the denominator.
const LEAST_PART: usize = 8;

/// The latest batches, oldest first, with the memory of each.
#[derive(Debug, Default)]
pub(super) struct Recycled {
    batches: Vec<(Arc<Batch>, usize)>,
    bytes: usize,
}

impl Recycled {
    /// A batch that nothing else shares, with memory for frames of about this many bytes.
    pub(super) fn take(&mut self, about: usize) -> Option<Arc<Batch>> {
        // The oldest ones are free first. Only a consumer that takes nothing holds some for longer.
        let position = self.batches.iter_mut().position(|(batch, _)| is_free(batch))?;
        let (batch, bytes) = self.batches.remove(position);
        self.bytes -= bytes;
        (bytes <= SMALL_BYTES.max(LEAST_PART * about)).then_some(batch)
    }

    /// Whether another batch with this much memory may be remembered.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.batches.len() < MAX_BATCHES && self.bytes + bytes <= MAX_BYTES
    }

    /// Remembers a batch that is about to be shared.
    pub(super) fn add(&mut self, batch: &Arc<Batch>, bytes: usize) {
        self.bytes += bytes;
        self.batches.push((Arc::clone(batch), bytes));
    }
}

/// Whether neither the batch nor its frames are shared.
fn is_free(batch: &mut Arc<Batch>) -> bool {
    Arc::get_mut(batch).is_some_and(|batch| Arc::get_mut(&mut batch.frames).is_some())
}

#[cfg(test)]
mod tests {
    use super::{
        super::{BatchBuilder, Event},
        *,
    };

    fn share(builder: &mut BatchBuilder, name: &str, bytes: usize) -> Arc<Batch> {
        let event =
            Event { name: name.as_bytes(), correlation_id: b"c", timestamp_ns: 0, timestamp_given: true };
        assert!(builder.push(&vec![b'c'; bytes], event));
        builder.share()
    }

    #[test]
    fn only_a_batch_that_nothing_shares_is_used_again() {
        let mut builder = BatchBuilder::default();
        let first = share(&mut builder, "first", 10);
        let address = Arc::as_ptr(&first);
        let frames = Arc::clone(first.shared_frames());
        drop(first);
        let second = share(&mut builder, "second", 20);
        assert_ne!(Arc::as_ptr(&second), address, "its frames are still shared");
        assert_eq!(frames.bytes().len(), 15);
        drop(frames);
        let third = share(&mut builder, "third", 30);
        assert_eq!(Arc::as_ptr(&third), address);
        for (batch, name, bytes) in [(&second, "second", 20), (&third, "third", 30)] {
            assert_eq!((batch.len(), batch.name_count(), batch.name(0)), (1, 1, Some(name)));
            assert_eq!(batch.message(0), Some(&vec![b'c'; bytes][..]));
            assert_eq!(batch.event(0).map(|event| event.correlation_id), Some(&b"c"[..]));
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut builder = BatchBuilder::default();
        let shared: Vec<_> = (0..1_000).map(|_| share(&mut builder, "a", 10_000)).collect();
        let Recycled { batches, bytes } = &builder.recycled;
        assert!(*bytes <= MAX_BYTES && *bytes == batches.iter().map(|(_, bytes)| bytes).sum::<usize>());
        assert!((20..=MAX_BATCHES).contains(&batches.len()), "{}", batches.len());
        // The others have no more memory than they need.
        let last = shared.last().map(|last| last.frames.bytes.capacity());
        assert_eq!(last, Some(10_005));
        drop(shared);
        let small: Vec<_> = (0..1_000).map(|_| share(&mut builder, "a", 1)).collect();
        assert!(builder.recycled.batches.len() <= MAX_BATCHES && builder.recycled.bytes <= MAX_BYTES);
        drop(small);
        // Large ones are not kept for small events.
        (0..MAX_BATCHES).for_each(|_| drop(share(&mut builder, "a", 1)));
        assert!(builder.recycled.bytes <= MAX_BATCHES * SMALL_BYTES, "{}", builder.recycled.bytes);
    }
}
