//! What has become of child processes.

use super::number::Number;
use nix::{libc, unistd::Pid};
use std::{mem::MaybeUninit, os::unix::process::ExitStatusExt as _, process::ExitStatus};

/// A child that has ended, if there is one.
pub(super) fn reap() -> Option<(Pid, ExitStatus)> {
    let mut status = 0;
    // SAFETY: it writes one int through the pointer, which is valid for that.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
    (pid > 0).then(|| (Pid::from_raw(pid), ExitStatus::from_raw(status)))
}

/// The signal that has stopped this child, until it is continued.
pub(super) fn stop_of(child: Pid) -> Option<Number> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let flags = libc::WSTOPPED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: it writes the structure through the pointer, which is valid for that. Zeroes are valid, and
    // their process id says that there is nothing to report.
    let info = unsafe {
        libc::waitid(libc::P_PID, child.as_raw().cast_unsigned(), info.as_mut_ptr(), flags);
        info.assume_init()
    };
    // SAFETY: waitid sets these fields.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    (pid == child.as_raw()).then_some(Number(status))
}
