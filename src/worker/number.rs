//! Signals by number, because nix's `Signal` has no real-time signals.

use super::mask::{self, Mask};
use nix::{
    errno::Errno,
    libc,
    sys::signal::{SigmaskHow, Signal},
    unistd::Pid,
};
use std::{fmt, str::FromStr};

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

    /// Its bit in a mask.
    pub(super) fn bit(self) -> Mask {
        mask::bit(self.0)
    }

    /// Sends the signal.
    ///
    /// # Errors
    ///
    /// Those of kill(2).
    pub(super) fn send(self, to: Pid) -> nix::Result<()> {
        // SAFETY: kill takes two integers.
        Errno::result(unsafe { libc::kill(to.as_raw(), self.0) }).map(drop)
    }

    /// Has the signal's default effect on this process. Returns if that does not end it, in case of a stop
    /// once continued.
    pub(super) fn take_default_action(self) {
        if self.0 == libc::SIGSTOP {
            // SAFETY: raise takes an integer.
            unsafe { libc::raise(self.0) };
            return;
        }
        mask::reset(self.0);
        // While it is still blocked: if it is pending already, it takes effect only once.
        // SAFETY: raise takes an integer.
        unsafe { libc::raise(self.0) };
        let _ = mask::change(SigmaskHow::SIG_UNBLOCK, self.bit());
        let _ = mask::change(SigmaskHow::SIG_BLOCK, self.bit());
    }
}

impl FromStr for Number {
    type Err = String;

    /// A name with or without SIG, or a number.
    fn from_str(word: &str) -> Result<Self, String> {
        let name = word.to_ascii_uppercase();
        let name = if name.starts_with("SIG") { name } else { format!("SIG{name}") };
        let named = name.parse().ok().map(|signal: Signal| signal as i32);
        // 32 and 33 are the C library's own.
        let is_usable = |number: &i32| (1..=libc::SIGRTMAX()).contains(number) && ![32, 33].contains(number);
        let number = named.or_else(|| word.parse().ok().filter(is_usable));
        number.map(Self).ok_or_else(|| "expected a signal, such as TERM or 15".into())
    }
}

impl fmt::Display for Number {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_a_name_with_or_without_its_prefix_or_a_number() {
        for word in ["TERM", "SIGTERM", "sigterm", "15"] {
            assert_eq!(word.parse(), Ok(Number::TERM), "{word}");
        }
        assert_eq!("34".parse(), Ok(Number(34)));
        for word in ["", "SIG", "TERMINATE", "0", "32", "65", "-1", "TERM "] {
            assert!(word.parse::<Number>().is_err(), "{word}");
        }
    }
}
