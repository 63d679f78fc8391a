//! Puts off what can wait until the worker has started. It takes processor time that the worker's start
//! needs, and a short worker ends before.

use crate::worker::supervisor::Looks;
use nix::unistd::Pid;
use std::time::{Duration, Instant};

/// How long a worker has for its start: less than an interpreter takes.
const START: Duration = Duration::from_millis(5);

/// Calls `settle` once the worker has had time to start, and looks at the worker as `looks` does.
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

    /// What has not been called, because the worker has ended before.
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::{cell::Cell, thread::sleep};

    /// Has nothing to look at.
    struct Nothing;

    impl Looks for Nothing {
        fn while_running(&mut self, _: Pid) -> Option<Duration> {
            None
        }

        fn at_end(&mut self, _: Pid) {}
    }

    #[test]
    fn it_is_done_once_when_the_worker_has_had_its_time() {
        let (done, started) = (Cell::new(0), Instant::now());
        let mut looks = Nothing;
        let mut settling = Settling::new(&mut looks, || done.set(done.get() + 1));
        while let Some(left) = settling.while_running(Pid::this()) {
            assert_eq!(done.get(), 0);
            sleep(left);
        }
        assert!(started.elapsed() >= START);
        assert_eq!(settling.while_running(Pid::this()), None);
        assert_eq!(done.get(), 1);
        assert!(settling.rest().is_none());
    }

    #[test]
    fn the_end_of_a_short_worker_leaves_it_to_do() {
        let done = Cell::new(false);
        let mut looks = Nothing;
        let settling = Settling::new(&mut looks, || done.set(true));
        settling.rest().unwrap()();
        assert!(done.get());
    }
}
