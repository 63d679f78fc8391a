//! The exact writer: bytes to the sidecar's stderr, whatever state that is in.
//!
//! Writes block, as the worker's own would. A non-blocking stderr (the flag belongs to whoever made it and
//! stays as it is) is waited for. When nobody can ever read again the bytes are dropped and counted; when a
//! disk is full they are dropped, too, but the next ones are tried.

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::uio::writev,
};
use std::{io::IoSlice, os::fd::AsFd};

/// The most slices that Linux takes in one call (`UIO_MAXIOV`).
const MAX_SLICES: usize = 1024;

/// What became of some bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// Bytes written.
    pub passed: u64,
    /// Bytes that could not be.
    pub dropped: u64,
}

/// The writer.
#[derive(Debug)]
pub struct Passthrough<F> {
    fd: F,
    closed: bool,
    at_line_start: bool,
}

impl<F: AsFd> Passthrough<F> {
    /// A writer to this descriptor.
    pub fn new(fd: F) -> Self {
        Self { fd, closed: false, at_line_start: true }
    }

    /// A writer that drops everything: there is no stderr.
    pub fn closed(fd: F) -> Self {
        Self { closed: true, ..Self::new(fd) }
    }

    /// Whether the next byte starts a line.
    pub fn at_line_start(&self) -> bool {
        self.at_line_start
    }

    /// Writes all of these slices, one behind the other, waiting as long as it takes.
    pub fn write(&mut self, slices: &mut [IoSlice<'_>]) -> Written {
        let mut written = Written::default();
        if let Some(last) = slices.iter().rev().find_map(|slice| slice.last()) {
            self.at_line_start = *last == b'\n';
        }
        let mut rest = slices;
        // Empty slices at the front would look like progress of nothing.
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
                // ENOSPC, EIO, EFBIG, EDQUOT and whatever else a file system has: these bytes are lost.
                Err(_) => break,
            }
        }
        written.dropped = rest.iter().map(|slice| slice.len() as u64).sum();
        written
    }

    /// Whether a short line can be written now without waiting.
    pub fn is_ready(&self) -> bool {
        !self.closed && self.poll(PollTimeout::ZERO)
    }

    /// Waits until there is room or an error to be had from writing.
    fn wait(&self) {
        self.poll(PollTimeout::NONE);
    }

    fn poll(&self, timeout: PollTimeout) -> bool {
        let mut fds = [PollFd::new(self.fd.as_fd(), PollFlags::POLLOUT)];
        poll(&mut fds, timeout).is_ok_and(|ready| ready > 0)
    }
}
