//! Processes of the sidecar's own: forked, not executed, with two descriptors and nothing else.

use nix::{
    libc,
    sys::prctl,
    unistd::{ForkResult, Pid, dup2_stdin, dup2_stdout, fork},
};
use std::{ffi::CStr, os::fd::AsFd};

/// Forks a process that runs `body` with these descriptors as its 0 and 1, all others closed and all signals
/// blocked, as they are here.
///
/// # Safety
///
/// Other threads may hold locks at this moment, of the allocator for one, that nobody will ever release in the
/// child. `body` may only do what is async-signal-safe: system calls on memory that is there already.
///
/// # Errors
///
/// If the system refuses a process.
pub unsafe fn fork_with(first: impl AsFd, second: impl AsFd, name: &CStr, body: fn()) -> nix::Result<Pid> {
    // SAFETY: the child keeps to the contract above; it makes system calls only, runs `body`, and leaves without
    // running destructors or handlers.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            // A first descriptor cannot be 1, nor a second one 0: these two are the process's own `/dev/null`.
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
    // SAFETY: nothing in this process uses a descriptor afterwards but 0 and 1. The call is made by number because
    // a C library may be older than the kernel.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) };
    if result == -1 {
        // ENOSYS is Linux before 5.9; a sandbox may answer as it likes.
        for fd in i32::try_from(first).unwrap_or(0)..4096 {
            let _ = nix::unistd::close(fd);
        }
    }
}
