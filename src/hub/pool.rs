//! The memory of all queues.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

/// What all queues of a hub may keep in memory together, and what they keep. It changes under the hub's lock
/// alone, so that relaxed atomics are enough.
#[derive(Debug)]
pub(super) struct Pool {
    limit: usize,
    taken: AtomicUsize,
    /// The pool that this is a part of.
    whole: Option<Arc<Self>>,
}

impl Pool {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, taken: AtomicUsize::new(0), whole: None })
    }

    /// A part of a pool, from which no more than one of `parts` can be taken.
    pub(super) fn part(whole: &Arc<Self>, parts: usize) -> Arc<Self> {
        let limit = whole.limit / parts;
        Arc::new(Self { limit, taken: AtomicUsize::new(0), whole: Some(Arc::clone(whole)) })
    }

    /// How many bytes are left.
    pub(super) fn left(&self) -> usize {
        let left = self.limit.saturating_sub(self.taken.load(Relaxed));
        self.whole.as_ref().map_or(left, |whole| left.min(whole.left()))
    }

    pub(super) fn take(&self, bytes: usize) {
        self.taken.fetch_add(bytes, Relaxed);
        if let Some(whole) = &self.whole {
            whole.take(bytes);
        }
    }

    pub(super) fn give_back(&self, bytes: usize) {
        self.taken.fetch_sub(bytes, Relaxed);
        if let Some(whole) = &self.whole {
            whole.give_back(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_takes_from_the_whole_and_no_more_than_its_share() {
        let whole = Pool::new(80);
        let part = Pool::part(&whole, 8);
        assert_eq!((part.left(), whole.left()), (10, 80));
        part.take(7);
        assert_eq!((part.left(), whole.left()), (3, 73));
        whole.take(72);
        assert_eq!((part.left(), whole.left()), (1, 1));
        part.give_back(7);
        assert_eq!((part.left(), whole.left()), (8, 8));
    }
}
