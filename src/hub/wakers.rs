//! Wakers that are taken under the hub's lock and used without it.

use std::{array, task::Waker};

/// For this many no memory is allocated.
const FEW: usize = 4;

/// The wakers of consumers that have something to do.
#[derive(Debug)]
pub(super) struct Wakers {
    first: [Option<Waker>; FEW],
    others: Vec<Waker>,
}

impl Wakers {
    pub(super) fn is_empty(&self) -> bool {
        self.first.iter().all(Option::is_none)
    }

    /// Wakes all tasks. The lock is released before.
    pub(super) fn wake(self) {
        self.first.into_iter().flatten().chain(self.others).for_each(Waker::wake);
    }
}

impl FromIterator<Waker> for Wakers {
    fn from_iter<I: IntoIterator<Item = Waker>>(wakers: I) -> Self {
        let mut wakers = wakers.into_iter().fuse();
        Self { first: array::from_fn(|_| wakers.next()), others: wakers.collect() }
    }
}
