//! The end of a wrapped run: the main thread waits for the reading thread, with a limit.

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::eventfd::{EfdFlags, EventFd},
};
use std::{
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
    time::{Duration, Instant},
};

/// How long stderr may take no bytes, in milliseconds, before a signal ends the run.
const BLOCKED_AFTER_MS: u16 = 200;

/// Interval of looking whether the bytes were passed after a signal, in milliseconds.
const POLL_INTERVAL_MS: u16 = 10;

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
    /// A signal, which makes `signals` readable and `end_now` true, ends the wait. Bytes that were read are
    /// still passed as long as stderr takes them.
    pub(super) fn wait(
        &self,
        limit: Duration,
        signals: BorrowedFd<'_>,
        end_now: impl Fn() -> bool,
        stderr: BorrowedFd<'_>,
    ) {
        loop {
            if end_now() {
                return self.wait_while_stderr_takes_bytes(limit, stderr);
            }
            if is_ready(&[self.passed.as_fd(), signals], PollFlags::POLLIN, PollTimeout::NONE) {
                break;
            }
        }
        let deadline = Instant::now().checked_add(limit);
        while !end_now() {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let timeout = left.map_or(PollTimeout::NONE, |left| left.try_into().unwrap_or(PollTimeout::MAX));
            let finished = is_ready(&[self.finished.as_fd(), signals], PollFlags::POLLIN, timeout);
            if finished || left.is_some_and(|left| left.is_zero()) {
                return;
            }
        }
    }

    fn wait_while_stderr_takes_bytes(&self, limit: Duration, stderr: BorrowedFd<'_>) {
        let start = Instant::now();
        while !is_ready(&[self.passed.as_fd()], PollFlags::POLLIN, POLL_INTERVAL_MS.into())
            && start.elapsed() < limit
            && is_ready(&[stderr], PollFlags::POLLOUT, BLOCKED_AFTER_MS.into())
        {}
    }
}

/// Waits until one of the descriptors is ready, up to the timeout. True if the first one is.
fn is_ready(fds: &[BorrowedFd<'_>], flags: PollFlags, timeout: PollTimeout) -> bool {
    let mut fds: Vec<_> = fds.iter().map(|fd| PollFd::new(*fd, flags)).collect();
    let _ = poll(&mut fds, timeout);
    fds.first().and_then(PollFd::any).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs::File,
        io::{self, Write as _},
        panic::{AssertUnwindSafe, catch_unwind},
        sync::atomic::{AtomicBool, Ordering},
        thread,
    };

    const LIMIT: Duration = Duration::from_millis(300);
    const NEVER: Duration = Duration::from_secs(3600);

    fn quiet() -> io::PipeReader {
        // Its writer is kept open, so that it never becomes readable.
        let (reader, writer) = io::pipe().unwrap();
        std::mem::forget(writer);
        reader
    }

    #[test]
    fn a_reading_thread_that_panics_or_hangs_does_not_hold_the_exit() {
        let (stderr, signals) = (File::options().write(true).open("/dev/null").unwrap(), quiet());
        let (ending, stages) = Ending::new().unwrap();
        let panic = AssertUnwindSafe(|| {
            let _stages = stages;
            panic!("as the test wants");
        });
        assert!(thread::scope(|scope| scope.spawn(|| catch_unwind(panic).is_err()).join().unwrap()));
        ending.wait(NEVER, signals.as_fd(), || false, stderr.as_fd());

        let (ending, Stages { passed, finished }) = Ending::new().unwrap();
        drop(passed);
        let start = Instant::now();
        ending.wait(LIMIT, signals.as_fd(), || false, stderr.as_fd());
        assert!(start.elapsed() >= LIMIT);
        drop(finished);
    }

    #[test]
    fn a_signal_ends_the_wait_but_bytes_that_stderr_takes_are_passed() {
        let (signals, mut sender) = io::pipe().unwrap();
        sender.write_all(b"signal").unwrap();
        let null = File::options().write(true).open("/dev/null").unwrap();
        let (ending, Stages { passed, finished }) = Ending::new().unwrap();
        let all_passed = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(LIMIT);
                all_passed.store(true, Ordering::Relaxed);
                drop(passed);
            });
            ending.wait(NEVER, signals.as_fd(), || true, null.as_fd());
            assert!(all_passed.load(Ordering::Relaxed));
        });
        drop(finished);

        // A stderr that is full and not read.
        let (_reader, mut full) = io::pipe().unwrap();
        nix::fcntl::fcntl(&full, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK)).unwrap();
        while full.write(&[0; 4096]).is_ok() {}
        let (ending, _stages) = Ending::new().unwrap();
        ending.wait(NEVER, signals.as_fd(), || true, full.as_fd());
    }
}
