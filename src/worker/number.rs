//! Signals by number. nix's `Signal` knows no real-time signals, and a worker may be sent any.

use nix::libc;
use std::{fmt, mem::MaybeUninit, ptr};

/// A signal's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Number(pub i32);

impl Number {
    /// Hang-up.
    pub const HUP: Self = Self(libc::SIGHUP);
    /// Interrupt.
    pub const INT: Self = Self(libc::SIGINT);
    /// Termination.
    pub const TERM: Self = Self(libc::SIGTERM);
    /// A child has changed its state.
    pub const CHLD: Self = Self(libc::SIGCHLD);
    /// Continue.
    pub const CONT: Self = Self(libc::SIGCONT);

    /// Whether it stops a process, and is forgotten when the process is continued.
    pub fn stops(self) -> bool {
        matches!(self.0, libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU)
    }

    /// Does to this process what the signal does by default. Returns if that is nothing, or after a stop.
    pub fn take_default_action(self) {
        let mut only = MaybeUninit::uninit();
        // SAFETY: sigemptyset initialises the set, and the others take it and integers. The default action is no
        // handler that could do anything unsafe.
        unsafe {
            libc::signal(self.0, libc::SIG_DFL);
            libc::sigemptyset(only.as_mut_ptr());
            libc::sigaddset(only.as_mut_ptr(), self.0);
            libc::pthread_sigmask(libc::SIG_UNBLOCK, only.as_ptr(), ptr::null_mut());
            libc::raise(self.0);
            libc::pthread_sigmask(libc::SIG_BLOCK, only.as_ptr(), ptr::null_mut());
        }
    }
}

impl fmt::Display for Number {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}
