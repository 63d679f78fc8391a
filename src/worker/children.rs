//! What has become of child processes.

use super::{Exit, Usage, number::Number};
use nix::{libc, unistd::Pid};
use std::{mem::MaybeUninit, os::unix::process::ExitStatusExt as _, process::ExitStatus};

/// A child that has ended and has not been reaped, if there is one. `/proc` still has it.
pub(super) fn ended() -> Option<Pid> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: it writes the structure through the pointer, which is valid for that. Zeroes are valid, and
    // their process id says that there is nothing to report.
    let info = unsafe {
        libc::waitid(libc::P_ALL, 0, info.as_mut_ptr(), flags);
        info.assume_init()
    };
    // SAFETY: waitid sets this field.
    let pid = unsafe { info.si_pid() };
    (pid > 0).then(|| Pid::from_raw(pid))
}

/// Reaps a child that has ended: how, and what it has used.
pub(super) fn reap(child: Pid) -> Option<(Exit, Usage)> {
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: it writes one int and the structure through the pointers, which are valid for that. Zeroes are
    // valid.
    let (pid, usage) = unsafe {
        let pid = libc::wait4(child.as_raw(), &raw mut status, libc::WNOHANG, usage.as_mut_ptr());
        (pid, usage.assume_init())
    };
    (pid > 0).then(|| (ExitStatus::from_raw(status).into(), usage.into()))
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
