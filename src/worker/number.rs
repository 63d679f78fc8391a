//! Signals by number, because nix's `Signal` has no real-time signals.

use nix::libc;
use std::{fmt, mem::MaybeUninit, ptr};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Number(pub(crate) i32);

impl Number {
    pub(super) const HUP: Self = Self(libc::SIGHUP);
    pub(super) const INT: Self = Self(libc::SIGINT);
    pub(super) const TERM: Self = Self(libc::SIGTERM);
    pub(super) const CHLD: Self = Self(libc::SIGCHLD);
    pub(super) const CONT: Self = Self(libc::SIGCONT);
    pub(super) const WINCH: Self = Self(libc::SIGWINCH);

    /// Whether it is a stop signal that can be caught. If it is pending, SIGCONT discards it.
    pub(super) fn stops(self) -> bool {
        matches!(self.0, libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU)
    }

    /// Has the signal's default effect on this process. Returns if that does not end it, in case of a stop
    /// once continued.
    pub(super) fn take_default_action(self) {
        if self.0 == libc::SIGSTOP {
            // SAFETY: raise takes an integer.
            unsafe { libc::raise(self.0) };
            return;
        }
        let mut only = MaybeUninit::uninit();
        // SAFETY: sigemptyset initialises the set, and the others take it and integers. The default action
        // runs no handler.
        unsafe {
            libc::signal(self.0, libc::SIG_DFL);
            libc::sigemptyset(only.as_mut_ptr());
            libc::sigaddset(only.as_mut_ptr(), self.0);
            // While it is still blocked: if it is pending already, it takes effect only once.
            libc::raise(self.0);
            libc::pthread_sigmask(libc::SIG_UNBLOCK, only.as_ptr(), ptr::null_mut());
            libc::pthread_sigmask(libc::SIG_BLOCK, only.as_ptr(), ptr::null_mut());
        }
    }
}

impl fmt::Display for Number {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}
