//! Notices the end of the process that started the sidecar, for `--stop-with-parent`.
//!
//! `PR_SET_PDEATHSIG` is of no use here: the kernel sends that when the parent's thread ends.

use super::number::Number;
use nix::{
    errno::Errno,
    libc,
    unistd::{Pid, getppid},
};
use std::os::fd::{AsFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

/// The sidecar's parent.
#[derive(Debug)]
pub(crate) struct Parent {
    process: Pid,
    /// Readable when the process has ended. Missing if the system refuses it, as for a process outside of
    /// this one's namespace.
    descriptor: Option<OwnedFd>,
    signal: Number,
}

impl Parent {
    /// The process that is the parent now. The worker is to get `signal` when it has ended.
    pub(crate) fn watch(signal: Number) -> Self {
        let process = getppid();
        // SAFETY: it takes integers, and the result is a new descriptor or -1.
        let opened = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, process.as_raw(), 0) });
        let opened = opened.ok().and_then(|fd| RawFd::try_from(fd).ok());
        // SAFETY: nothing else owns the new descriptor.
        let descriptor = opened.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
        Self { process, descriptor, signal }
    }

    /// Readable when the process has ended.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.descriptor.as_ref().map(|descriptor| descriptor.as_fd())
    }

    /// What to send to the worker, if the process has ended.
    pub(super) fn signal_at_end(&self) -> Option<Number> {
        (getppid() != self.process).then_some(self.signal)
    }
}
