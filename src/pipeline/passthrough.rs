//! Writes ordinary bytes to the sidecar's stderr, whatever its state.
//!
//! Writes block, as the worker's own would. If stderr is non-blocking (the flag is shared with other
//! processes, so it is not changed) the writer waits for room. If the reader has closed, all further bytes
//! are dropped and counted. If a disk is full, these bytes are dropped and counted, and the next ones are
//! tried again.

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::uio::writev,
};
use std::{io::IoSlice, os::fd::AsFd};

/// The most slices that Linux takes in one call (`UIO_MAXIOV`).
const MAX_SLICES: usize = 1024;

/// The result of a write, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// Written.
    pub passed: u64,
    /// Could not be written.
    pub dropped: u64,
}

/// The writer to stderr.
#[derive(Debug)]
pub struct Passthrough<F> {
    fd: F,
    closed: bool,
    without_lines: bool,
    at_line_start: bool,
}

impl<F: AsFd> Passthrough<F> {
    /// A writer to this descriptor.
    pub fn new(fd: F) -> Self {
        Self { fd, closed: false, without_lines: false, at_line_start: true }
    }

    /// A writer that drops everything, for a stderr that was closed from the start.
    pub fn closed(fd: F) -> Self {
        Self { closed: true, ..Self::new(fd) }
    }

    /// The same without ordinary lines: they are dropped and counted.
    #[must_use]
    pub fn without_lines(self) -> Self {
        Self { without_lines: true, ..self }
    }

    /// Whether the next byte starts a line.
    pub fn at_line_start(&self) -> bool {
        self.at_line_start
    }

    /// Writes ordinary bytes, unless they are left out.
    pub fn pass(&mut self, slices: &mut [IoSlice<'_>]) -> Written {
        if self.without_lines {
            return Written { passed: 0, dropped: length(slices) };
        }
        self.write(slices)
    }

    /// Writes all slices in order, waiting as long as it takes.
    pub fn write(&mut self, slices: &mut [IoSlice<'_>]) -> Written {
        let mut written = Written::default();
        if let Some(last) = slices.iter().rev().find_map(|slice| slice.last()) {
            self.at_line_start = *last == b'\n';
        }
        let mut rest = slices;
        // Skip empty slices, for which writev would return 0.
        IoSlice::advance_slices(&mut rest, 0);
        while !rest.is_empty() && !self.closed {
            let some = rest.len().min(MAX_SLICES);
            match writev(&self.fd, &rest[..some]) {
                Ok(count) => {
                    written.passed += count as u64;
                    IoSlice::advance_slices(&mut rest, count);
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => self.wait(),
                Err(Errno::EPIPE | Errno::EBADF) => self.closed = true,
                // ENOSPC, EIO, EFBIG, EDQUOT and other errors of a file system: these bytes are dropped.
                Err(_) => break,
            }
        }
        written.dropped = length(rest);
        written
    }

    /// Whether a short line can be written now without waiting.
    pub fn is_ready(&self) -> bool {
        !self.closed && self.poll(PollTimeout::ZERO)
    }

    /// Waits until a write makes progress or fails.
    fn wait(&self) {
        self.poll(PollTimeout::NONE);
    }

    fn poll(&self, timeout: PollTimeout) -> bool {
        let mut fds = [PollFd::new(self.fd.as_fd(), PollFlags::POLLOUT)];
        poll(&mut fds, timeout).is_ok_and(|ready| ready > 0)
    }
}

fn length(slices: &[IoSlice<'_>]) -> u64 {
    slices.iter().map(|slice| slice.len() as u64).sum()
}
