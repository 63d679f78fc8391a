//! Copies what a surviving grandchild of the worker prints after the worker's end to stderr.
//!
//! A process with the two stderr descriptors, and no port or file, copies the bytes unchanged until the last
//! writer has closed the pipe. It is not a child that the sidecar's parent could wait for.

use super::helper::fork_with;
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    unistd::{read, write},
};
use std::os::fd::{AsFd, BorrowedFd};

/// Bytes copied at a time. The buffer is on the stack, because the process must not allocate.
const CHUNK_BYTES: usize = 16 * 1024;

/// Starts a copier if a process can still write to the pipe, or bytes are left in it.
pub(crate) fn leave_behind(pipe: impl AsFd, stderr: impl AsFd) {
    let mut fds = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
    let polled = poll(&mut fds, PollTimeout::ZERO);
    let [pipe_fd] = &fds;
    let ended = polled.is_ok()
        && pipe_fd
            .revents()
            .is_some_and(|events| events.contains(PollFlags::POLLHUP) && !events.contains(PollFlags::POLLIN));
    if !ended {
        // If the fork fails, later output is lost.
        // SAFETY: `copy` makes system calls only.
        let _ = unsafe { fork_with(pipe, stderr, c"sidecar-copier", copy) };
    }
}

/// The main loop of the copier: from descriptor 0 to 1.
fn copy() {
    // SAFETY: both are open as long as this process exists.
    let (from, to) = unsafe { (BorrowedFd::borrow_raw(0), BorrowedFd::borrow_raw(1)) };
    let mut chunk = [0; CHUNK_BYTES];
    loop {
        match read(from, &mut chunk) {
            Ok(0) => return,
            Ok(count) => {
                let mut rest = chunk.get(..count).unwrap_or_default();
                while !rest.is_empty() {
                    match write(to, rest) {
                        Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                        Err(Errno::EAGAIN) => wait(to, PollFlags::POLLOUT),
                        // Without a reader the copier ends, so that the writer gets SIGPIPE or EPIPE.
                        Err(Errno::EPIPE | Errno::EBADF) => return,
                        // ENOSPC and similar: these bytes are lost, later ones may be written.
                        Err(_) => break,
                    }
                }
            }
            Err(Errno::EAGAIN) => wait(from, PollFlags::POLLIN),
            Err(_) => return,
        }
    }
}

fn wait(fd: BorrowedFd<'_>, events: PollFlags) {
    let _ = poll(&mut [PollFd::new(fd, events)], PollTimeout::NONE);
}
