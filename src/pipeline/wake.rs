//! What wakes the thread that reads the worker's stderr.

use nix::{
    poll::{PollFd, PollFlags, ppoll},
    sys::{
        eventfd::{EfdFlags, EventFd},
        time::TimeSpec,
    },
};
use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::atomic::{AtomicBool, Ordering},
};

/// Wakes the reader for log lines and for the worker's end.
///
/// No lost wakeups: the flag or the log line is stored before the descriptor's count is raised, and the
/// reader resets the count before it looks for either. If the count is raised after that, the next wait
/// returns at once. Release and Acquire order the flag; log lines have a lock of their own.
#[derive(Debug)]
pub struct Wake {
    fd: EventFd,
    worker_ended: AtomicBool,
}

impl Wake {
    /// A descriptor with the count 0.
    ///
    /// # Errors
    ///
    /// If the system refuses a descriptor.
    pub fn new() -> nix::Result<Self> {
        let fd = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Self { fd, worker_ended: AtomicBool::new(false) })
    }

    /// There is a log line to print.
    pub fn notify(&self) {
        // It fails if the count is at its maximum, and then the reader wakes anyway.
        let _ = self.fd.write(1);
    }

    /// The worker has ended.
    pub fn worker_ended(&self) {
        self.worker_ended.store(true, Ordering::Release);
        self.notify();
    }

    /// Sleeps until the count is raised, the pipe can be read, or the limit is over.
    pub(super) fn wait(&self, pipe: Option<&OwnedFd>, limit: Option<TimeSpec>) {
        let fds = [self.fd.as_fd(), pipe.map_or(self.fd.as_fd(), OwnedFd::as_fd)];
        let mut fds = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        // An error or a hang-up shows in the next read.
        let _ = ppoll(&mut fds, limit, None);
        if fds[0].any() != Some(false) {
            self.reset();
        }
    }

    /// Resets the count.
    pub(super) fn reset(&self) {
        let _ = self.fd.read();
    }

    pub(super) fn has_ended(&self) -> bool {
        self.worker_ended.load(Ordering::Acquire)
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn a_notification_before_the_wait_is_not_lost() {
        let wake = Wake::new().unwrap();
        wake.notify();
        wake.worker_ended();
        // Without the notification this would never return.
        wake.wait(None, None);
        assert!(wake.has_ended());
        // Both raised one count, which is reset now.
        let (start, limit) = (Instant::now(), Duration::from_micros(150));
        wake.wait(None, Some(TimeSpec::from(limit)));
        assert!(start.elapsed() >= limit);
    }
}
