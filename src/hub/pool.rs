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
}

impl Pool {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, taken: AtomicUsize::new(0) })
    }

    /// How many bytes are left.
    pub(super) fn left(&self) -> usize {
        self.limit.saturating_sub(self.taken.load(Relaxed))
    }

    pub(super) fn take(&self, bytes: usize) {
        self.taken.fetch_add(bytes, Relaxed);
    }

    pub(super) fn give_back(&self, bytes: usize) {
        self.taken.fetch_sub(bytes, Relaxed);
    }
}
