//! What can wait until the worker has started: it costs processor time, of which a worker's start needs all
//! there is, and a short one has ended before.

use crate::worker::supervisor::Looks;
use nix::unistd::Pid;
use std::time::{Duration, Instant};

/// How long a worker has for its start: less than an interpreter takes.
const START: Duration = Duration::from_millis(5);

/// Does it when it is time to, while something else looks at the worker.
pub(super) struct Settling<'a, L, F> {
    looks: &'a mut L,
    settle: Option<F>,
    due: Instant,
}

impl<'a, L: Looks, F: FnOnce()> Settling<'a, L, F> {
    /// The worker has just been started.
    pub(super) fn new(looks: &'a mut L, settle: F) -> Self {
        Self { looks, settle: Some(settle), due: Instant::now() + START }
    }

    /// What is still to be done, if the worker has ended before.
    pub(super) fn rest(self) -> Option<F> {
        self.settle
    }
}

impl<L: Looks, F: FnOnce()> Looks for Settling<'_, L, F> {
    fn while_running(&mut self, worker: Pid) -> Option<Duration> {
        let left = self.due.saturating_duration_since(Instant::now());
        if let Some(settle) = self.settle.take_if(|_| left.is_zero()) {
            settle();
        }
        let left = self.settle.as_ref().map(|_| left);
        self.looks.while_running(worker).into_iter().chain(left).min()
    }

    fn at_end(&mut self, worker: Pid) {
        self.looks.at_end(worker);
    }
}
