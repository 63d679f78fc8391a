//! Writes ordinary bytes to the sidecar's stderr, whatever its state.
//!
//! A write waits for room as long as it takes, as the worker's own would. The flags of stderr are shared with
//! other processes, so they are not changed. If the reader has closed, all further bytes are dropped and
//! counted. If a disk is full, these bytes are dropped and counted, and the next ones are tried again.

use super::leftover::Leftover;
use crate::system::fd::WriteMethod;
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use std::{io::IoSlice, os::fd::AsFd, sync::Arc};

/// The most slices that Linux takes in one call (`UIO_MAXIOV`).
const MAX_SLICES: usize = 1024;

/// The result of a write, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// Written, or kept for a process that writes them later.
    pub passed: u64,
    /// Could not be written.
    pub dropped: u64,
}

/// What a write does when there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WithoutRoom {
    Wait,
    Return,
}

/// The writer to stderr.
#[derive(Debug)]
pub struct Passthrough<F> {
    fd: F,
    method: WriteMethod,
    leftover: Option<Arc<Leftover>>,
    closed: bool,
    without_room: WithoutRoom,
    /// How often anything had to, since it was asked last.
    times_waited: u64,
    without_lines: bool,
    at_line_start: bool,
    /// Why bytes were dropped last.
    last_error: Option<Errno>,
}

impl<F: AsFd> Passthrough<F> {
    /// A writer to this descriptor.
    pub fn new(fd: F) -> Self {
        Self {
            fd,
            method: WriteMethod::Plain,
            leftover: None,
            closed: false,
            without_room: WithoutRoom::Wait,
            times_waited: 0,
            without_lines: false,
            at_line_start: true,
            last_error: None,
        }
    }

    /// The same, and the wait for its reader can be ended where the system permits it: always for sockets
    /// and for pipes that this user may open, never for terminals.
    #[must_use]
    pub fn with_leftover(self, leftover: Arc<Leftover>) -> Self {
        let method = WriteMethod::without_blocking(&self.fd);
        Self { method, leftover: Some(leftover), ..self }
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

    /// Whether ordinary bytes are written without waiting for room where that is possible. It is for all but
    /// terminals and the pipes of other users.
    pub fn can_write_without_waiting(&self) -> bool {
        self.closed || self.method.never_blocks()
    }

    /// Sets whether ordinary bytes wait for room, as they do at first. Otherwise [`pass`](Self::pass) returns
    /// when there is none.
    pub fn set_waiting(&mut self, waits: bool) {
        self.without_room = if waits { WithoutRoom::Wait } else { WithoutRoom::Return };
    }

    /// Whether anything had to wait for room since the last call.
    pub fn take_waited(&mut self) -> bool {
        std::mem::take(&mut self.times_waited) > 0
    }

    /// Whether the next byte starts a line.
    pub fn at_line_start(&self) -> bool {
        self.at_line_start
    }

    /// Why bytes could not be written, most recently.
    pub fn last_error(&self) -> Option<Errno> {
        self.last_error
    }

    /// Writes ordinary bytes, unless they are left out. The rest has to be written later if it does not
    /// [wait](Self::set_waiting).
    pub fn pass(&mut self, slices: &mut [IoSlice<'_>]) -> Written {
        if self.without_lines {
            return Written { passed: 0, dropped: length(slices) };
        }
        self.write_some(slices, self.without_room)
    }

    /// Writes all slices in order, waiting as long as it takes or until that is ended.
    pub fn write(&mut self, slices: &mut [IoSlice<'_>]) -> Written {
        self.write_some(slices, WithoutRoom::Wait)
    }

    fn write_some(&mut self, slices: &mut [IoSlice<'_>], without_room: WithoutRoom) -> Written {
        let mut written = Written::default();
        if let Some(last) = slices.iter().rev().find_map(|slice| slice.last()) {
            self.at_line_start = *last == b'\n';
        }
        let mut rest = slices;
        // Skip empty slices, for which writev would return 0.
        IoSlice::advance_slices(&mut rest, 0);
        while !rest.is_empty() && !self.closed {
            if let Some(leftover) = self.leftover.as_ref().filter(|leftover| leftover.is_used()) {
                written.passed += leftover.keep(rest);
                return written;
            }
            let some = rest.len().min(MAX_SLICES);
            match self.method.write(&self.fd, &rest[..some]) {
                Ok(count) => {
                    written.passed += count as u64;
                    IoSlice::advance_slices(&mut rest, count);
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) if without_room == WithoutRoom::Return => return written,
                Err(Errno::EAGAIN) => {
                    self.times_waited += 1;
                    if !self.wait()
                        && let Some(leftover) = &self.leftover
                    {
                        // None yet: from now on all of them.
                        leftover.keep(&[]);
                    }
                }
                Err(errno) => {
                    self.last_error = Some(errno);
                    if !matches!(errno, Errno::EPIPE | Errno::EBADF) {
                        // ENOSPC, EIO, EFBIG, EDQUOT and other errors of a file system: these bytes are
                        // dropped.
                        break;
                    }
                    self.closed = true;
                }
            }
        }
        written.dropped = length(rest);
        written
    }

    /// Whether a short line can be written now without waiting.
    pub fn is_ready(&self) -> bool {
        let is_left = self.leftover.as_ref().is_some_and(|leftover| leftover.is_used());
        let mut fds = [PollFd::new(self.fd.as_fd(), PollFlags::POLLOUT)];
        !self.closed && !is_left && poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }

    /// Waits until a write makes progress or fails; false if the wait was ended before.
    fn wait(&self) -> bool {
        let stderr = PollFd::new(self.fd.as_fd(), PollFlags::POLLOUT);
        // Without a way to end it, the same descriptor twice.
        let stop = self.leftover.as_ref().map(|leftover| PollFd::new(leftover.stop(), PollFlags::POLLIN));
        let mut fds = [stderr.clone(), stop.unwrap_or(stderr)];
        // An interrupted wait is repeated by the write that follows.
        poll(&mut fds, PollTimeout::NONE).is_err() || fds[0].any() == Some(true)
    }
}

fn length(slices: &[IoSlice<'_>]) -> u64 {
    slices.iter().map(|slice| slice.len() as u64).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{io, os::unix::net::UnixStream};

    #[test]
    fn a_full_pipe_or_socket_is_not_waited_for_unless_it_is_wanted() {
        let (mut pipe, pipe_writer) = io::pipe().unwrap();
        let (mut socket, socket_writer) = UnixStream::pair().unwrap();
        let leftover = || Arc::new(Leftover::new().unwrap());
        let pipe_writer = Passthrough::new(std::os::fd::OwnedFd::from(pipe_writer));
        let socket_writer = Passthrough::new(std::os::fd::OwnedFd::from(socket_writer));
        let pairs = [(&mut pipe as &mut dyn io::Read, pipe_writer), (&mut socket, socket_writer)];
        for (reader, writer) in pairs {
            assert!(!writer.can_write_without_waiting());
            let mut writer = writer.with_leftover(leftover());
            assert!(writer.can_write_without_waiting());
            writer.set_waiting(false);
            let bytes = vec![7; 10_000_000];
            let written = writer.pass(&mut [IoSlice::new(&bytes)]);
            assert!((1..10_000_000).contains(&written.passed) && written.dropped == 0, "{written:?}");
            assert_eq!(writer.pass(&mut [IoSlice::new(&bytes)]), Written::default());
            assert!(!writer.take_waited());
            let mut room = vec![0; usize::try_from(written.passed).unwrap()];
            reader.read_exact(&mut room).unwrap();
            let written = writer.pass(&mut [IoSlice::new(b"more")]);
            assert_eq!(written, Written { passed: 4, dropped: 0 });
        }
    }

    #[test]
    fn a_file_and_dev_null_have_room_always() {
        let null = std::fs::OpenOptions::new().write(true).open("/dev/null").unwrap();
        for file in [tempfile::tempfile().unwrap(), null] {
            let writer = Passthrough::new(file).with_leftover(Arc::new(Leftover::new().unwrap()));
            assert!(writer.can_write_without_waiting());
        }
    }
}
