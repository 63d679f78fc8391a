//! The end of a wrapped run: the main thread waits for the reading thread, with a limit.

use crate::worker::drain::{DrainSignals, EndRequest};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::eventfd::{EfdFlags, EventFd},
};
use std::{
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
    time::{Duration, Instant},
};

/// How long the reading thread may take to report after a signal. It needs a fraction of this.
const REPORTING: Duration = Duration::from_millis(750);

/// The signals during the drain. The descriptor is readable when one has come.
pub(super) trait EndSignals: AsFd {
    fn end_request(&mut self) -> EndRequest;
}

impl EndSignals for DrainSignals<'_> {
    fn end_request(&mut self) -> EndRequest {
        DrainSignals::end_request(self)
    }
}

/// The main thread's side: waits until the reading thread reaches its last stages.
#[derive(Debug)]
pub(super) struct Ending {
    passed: Arc<EventFd>,
    finished: Arc<EventFd>,
}

/// Reports the stages of [`Ending`]. A thread that panics drops them, so they are reached in any case.
#[derive(Debug)]
pub(super) struct Stages {
    /// Dropped when all bytes were passed.
    pub(super) passed: Stage,
    /// Dropped when everything is delivered, or the time for that is over.
    pub(super) finished: Stage,
}

/// A stage that is reached when this is dropped.
#[derive(Debug)]
pub(super) struct Stage(Arc<EventFd>);

impl Drop for Stage {
    fn drop(&mut self) {
        // The count is far from its maximum.
        let _ = self.0.write(1);
    }
}

impl Ending {
    pub(super) fn new() -> nix::Result<(Self, Stages)> {
        let event = || EventFd::from_flags(EfdFlags::EFD_CLOEXEC).map(Arc::new);
        let (passed, finished) = (event()?, event()?);
        let stages = Stages { passed: Stage(Arc::clone(&passed)), finished: Stage(Arc::clone(&finished)) };
        Ok((Self { passed, finished }, stages))
    }

    /// Waits until all bytes were passed, however long stderr is not read, and then for the delivery, up to
    /// `limit`.
    ///
    /// A signal ends the wait: `stop_waiting` ends the waiting for stderr's reader and for the outputs, and
    /// this returns when every byte that was read is passed or kept and what was not delivered is reported.
    pub(super) fn wait(&self, limit: Duration, signals: &mut impl EndSignals, stop_waiting: impl FnOnce()) {
        let mut stage = &self.passed;
        let mut deadline = None;
        loop {
            let left = deadline.map(|deadline: Instant| deadline.saturating_duration_since(Instant::now()));
            let ask = match signals.end_request() {
                EndRequest::No => None,
                EndRequest::NotYet(interval) => Some(interval),
                EndRequest::Yes => break,
            };
            let limits = left.into_iter().chain(ask).min();
            let is_reached = is_ready(stage.as_fd(), Some(signals.as_fd()), limits);
            if is_reached && Arc::ptr_eq(stage, &self.passed) {
                (stage, deadline) = (&self.finished, Instant::now().checked_add(limit));
            } else if is_reached || left.is_some_and(|left| left.is_zero()) {
                return;
            }
        }
        stop_waiting();
        while !is_ready(self.passed.as_fd(), None, None) {}
        is_ready(self.finished.as_fd(), None, Some(REPORTING));
    }

    /// Waits for the delivery, up to `limit`, without looking at signals. False if it takes longer.
    pub(super) fn is_over_within(&self, limit: Duration) -> bool {
        is_ready(self.finished.as_fd(), None, Some(limit))
    }
}

/// Waits until one of the descriptors is readable, up to the limit. True if the first one is.
fn is_ready(fd: BorrowedFd<'_>, other: Option<BorrowedFd<'_>>, limit: Option<Duration>) -> bool {
    let mut fds: Vec<_> =
        other.into_iter().chain([fd]).map(|fd| PollFd::new(fd, PollFlags::POLLIN)).rev().collect();
    let timeout = limit.map_or(PollTimeout::NONE, |limit| limit.try_into().unwrap_or(PollTimeout::MAX));
    let _ = poll(&mut fds, timeout);
    fds.first().and_then(PollFd::any).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{self, Write as _},
        panic::{AssertUnwindSafe, catch_unwind},
        sync::atomic::{AtomicBool, Ordering},
        thread,
    };

    const LIMIT: Duration = Duration::from_millis(300);
    const NEVER: Duration = Duration::from_secs(3600);

    /// A readable descriptor if a signal has come, and what each question is answered.
    struct Signals(io::PipeReader, Vec<EndRequest>);

    impl Signals {
        fn none() -> Self {
            // Its writer is kept open, so that it never becomes readable.
            let (reader, writer) = io::pipe().unwrap();
            std::mem::forget(writer);
            Self(reader, Vec::new())
        }

        fn answering(answers: &[EndRequest]) -> Self {
            let (reader, mut writer) = io::pipe().unwrap();
            writer.write_all(b"signal").unwrap();
            Self(reader, answers.iter().rev().copied().collect())
        }
    }

    impl AsFd for Signals {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.0.as_fd()
        }
    }

    impl EndSignals for Signals {
        fn end_request(&mut self) -> EndRequest {
            self.1.pop().unwrap_or(EndRequest::No)
        }
    }

    #[test]
    fn a_reading_thread_that_panics_or_hangs_does_not_hold_the_exit() {
        let (ending, stages) = Ending::new().unwrap();
        let panic = AssertUnwindSafe(|| {
            let _stages = stages;
            panic!("as the test wants");
        });
        assert!(thread::scope(|scope| scope.spawn(|| catch_unwind(panic).is_err()).join().unwrap()));
        ending.wait(NEVER, &mut Signals::none(), || unreachable!());

        let (ending, Stages { passed, finished }) = Ending::new().unwrap();
        drop(passed);
        let start = Instant::now();
        ending.wait(LIMIT, &mut Signals::none(), || unreachable!());
        assert!(start.elapsed() >= LIMIT);
        drop(finished);
    }

    #[test]
    fn a_signal_ends_the_wait_when_all_bytes_are_passed_or_kept() {
        let (ending, Stages { passed, finished }) = Ending::new().unwrap();
        let (is_stopped, is_passed) = (AtomicBool::new(false), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| {
                while !is_stopped.load(Ordering::Relaxed) {
                    thread::yield_now();
                }
                is_passed.store(true, Ordering::Relaxed);
                drop(passed);
            });
            let mut signals = Signals::answering(&[EndRequest::NotYet(Duration::ZERO), EndRequest::Yes]);
            ending.wait(NEVER, &mut signals, || is_stopped.store(true, Ordering::Relaxed));
            assert!(is_passed.load(Ordering::Relaxed));
        });
        drop(finished);
    }

    #[test]
    fn a_signal_to_the_unit_does_not_end_the_wait() {
        let (ending, Stages { passed, finished }) = Ending::new().unwrap();
        drop(passed);
        let start = Instant::now();
        let not_yet = EndRequest::NotYet(Duration::ZERO);
        let mut signals = Signals::answering(&[not_yet, not_yet, EndRequest::No]);
        ending.wait(LIMIT, &mut signals, || unreachable!());
        assert!(start.elapsed() >= LIMIT);
        drop(finished);
    }
}
