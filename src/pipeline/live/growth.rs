//! Enlarges the worker's pipe while reads come full.

use crate::worker::pipe;
use std::os::fd::OwnedFd;

/// How far the pipe may still be enlarged.
pub(super) struct Growth {
    pipe_bytes: usize,
    allowed: bool,
}

impl Growth {
    pub(super) fn new(allowed: bool) -> Self {
        Self { pipe_bytes: pipe::DEFAULT_BYTES, allowed }
    }

    /// Doubles the pipe, until the system refuses.
    pub(super) fn after_large_read(&mut self, fd: &OwnedFd) {
        if !self.allowed || self.pipe_bytes >= pipe::MAX_BYTES {
            return;
        }
        let larger = self.pipe_bytes * 2;
        match pipe::resize(fd, larger) {
            Ok(()) => self.pipe_bytes = larger,
            Err(_) => self.allowed = false,
        }
    }
}
