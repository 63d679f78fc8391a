//! Helper processes of the sidecar: forked, not executed, with two descriptors and no others.

use nix::{
    libc,
    sys::prctl,
    unistd::{ForkResult, Pid, dup2_stdin, dup2_stdout, fork},
};
use std::{ffi::CStr, os::fd::AsFd};

/// Forks a process that runs `body` with these descriptors as its 0 and 1, all others closed and the signal
/// mask of the calling thread.
///
/// # Safety
///
/// If the process has other threads, one of them may hold a lock at the time of the fork, for example the
/// allocator's, which is never released in the child. `body` may only make async-signal-safe calls on memory
/// that exists already.
///
/// # Errors
///
/// Those of fork(2).
pub(super) unsafe fn fork_with(
    first: impl AsFd,
    second: impl AsFd,
    name: &CStr,
    body: impl FnOnce(),
) -> nix::Result<Pid> {
    // SAFETY: the child makes system calls only, runs `body`, which keeps to the contract above, and exits
    // without running destructors or exit handlers.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            // Descriptors 0 to 2 are always open, since Rust's runtime opens /dev/null for those that are
            // closed. So `first` is not 1 and `second` is not 0.
            if dup2_stdin(first).is_ok() && dup2_stdout(second).is_ok() {
                close_from(2);
                let _ = prctl::set_name(name);
                body();
            }
            // SAFETY: it takes an integer and does not return.
            unsafe { libc::_exit(0) }
        }
    }
}

/// Closes all descriptors from this one on.
fn close_from(first: libc::c_uint) {
    // SAFETY: nothing in this process uses a descriptor afterwards except 0 and 1. The call is made by number
    // because the C library may be older than the kernel.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) };
    if result == -1 {
        // Linux before 5.9 answers ENOSYS, a sandbox possibly something else.
        for fd in i32::try_from(first).unwrap_or(0)..4096 {
            let _ = nix::unistd::close(fd);
        }
    }
}
