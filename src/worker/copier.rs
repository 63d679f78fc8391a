//! What a surviving grandchild of the worker's prints after the worker's end still reaches stderr.
//!
//! A process that has the two stderr descriptors and nothing else, no port, no file, copies it as it is until the
//! last writer is gone. It is no child that the sidecar's parent could wait for.

use super::helper::fork_with;
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    unistd::{read, write},
};
use std::os::fd::{AsFd, BorrowedFd};

/// Bytes copied at a time: on the stack, since there must be no allocation.
const CHUNK_BYTES: usize = 16 * 1024;

/// Leaves a copier behind if anybody can still write to the pipe.
pub(crate) fn leave_behind(pipe: impl AsFd, stderr: impl AsFd) {
    let mut fds = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
    let polled = poll(&mut fds, PollTimeout::ZERO);
    let [pipe_fd] = &fds;
    let ended = polled.is_ok()
        && pipe_fd
            .revents()
            .is_some_and(|events| events.contains(PollFlags::POLLHUP) && !events.contains(PollFlags::POLLIN));
    if !ended {
        // SAFETY: `copy` makes system calls only. Without a process what comes late is lost, as when nobody reads.
        let _ = unsafe { fork_with(pipe, stderr, c"sidecar-copier", copy) };
    }
}

/// The copier's whole life: from 0 to 1.
fn copy() {
    // SAFETY: both are open as long as this process is.
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
                        // Nobody reads: the writer is to find out.
                        Err(Errno::EPIPE | Errno::EBADF) => return,
                        // ENOSPC and the like: these bytes are lost, the next ones are tried.
                        Err(_) => break,
                    }
                }
            }
            Err(Errno::EAGAIN) => wait(from, PollFlags::POLLIN),
            Err(_) => return,
        }
    }
}

fn wait(fd: BorrowedFd<'_>, for_what: PollFlags) {
    let _ = poll(&mut [PollFd::new(fd, for_what)], PollTimeout::NONE);
}
