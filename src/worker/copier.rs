//! Copies to stderr what comes after the sidecar's end: bytes that stderr's reader has not taken yet, and
//! what a surviving grandchild of the worker prints.
//!
//! A process with the two stderr descriptors, and no port or file, copies the bytes unchanged until the last
//! writer has closed the pipe. It is not a child that the sidecar's parent could wait for.

use super::helper::fork_with;
use crate::system::fd::{wait, write_all};
use nix::{
    errno::Errno,
    libc,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    unistd::read,
};
use std::os::fd::{AsFd, BorrowedFd};

/// Bytes copied at a time. The buffer is on the stack, because the process must not allocate.
const CHUNK_BYTES: usize = 16 * 1024;

/// Starts a copier if bytes are left over or in the pipe, or a process can still write to it.
pub(crate) fn leave_behind(pipe: impl AsFd, stderr: impl AsFd, leftover: &[u8]) {
    let mut fds = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
    let polled = poll(&mut fds, PollTimeout::ZERO);
    let [pipe_fd] = &fds;
    let ended = polled.is_ok()
        && pipe_fd
            .revents()
            .is_some_and(|events| events.contains(PollFlags::POLLHUP) && !events.contains(PollFlags::POLLIN));
    if ended && leftover.is_empty() {
        return;
    }
    // SAFETY: `copy` makes system calls only, and the bytes exist already.
    if unsafe { fork_with(pipe, &stderr, c"sidecar-copier", || copy(leftover)) }.is_err() {
        // Later output of a grandchild is lost.
        let _ = write_all(stderr, leftover);
    }
}

/// The main loop of the copier: the bytes that are left over, and then from descriptor 0 to 1.
fn copy(leftover: &[u8]) {
    // SAFETY: both are open as long as this process exists.
    let (from, to) = unsafe { (BorrowedFd::borrow_raw(0), BorrowedFd::borrow_raw(1)) };
    let mut has_reader = pass(to, leftover);
    let mut chunk = [0; CHUNK_BYTES];
    // Without a reader the copier ends, so that the writer gets SIGPIPE or EPIPE.
    while has_reader {
        match read(from, &mut chunk) {
            Ok(0) => return,
            Ok(count) => has_reader = pass(to, chunk.get(..count).unwrap_or_default()),
            Err(Errno::EAGAIN) => {
                wait(from, PollFlags::POLLIN, PollTimeout::NONE);
            }
            Err(_) => return,
        }
    }
}

/// Writes bytes; false if there is no reader. After another error, such as ENOSPC, these bytes are lost and
/// later ones may be written. It does not allocate.
fn pass(to: BorrowedFd<'_>, bytes: &[u8]) -> bool {
    let failed = write_all(to, bytes).err().and_then(|partial| partial.error.raw_os_error());
    !matches!(failed, Some(libc::EPIPE | libc::EBADF))
}
