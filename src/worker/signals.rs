//! Signals: blocked in every thread from the start and read from a descriptor, in one place.
//!
//! Handlers would replace dispositions that the worker is to inherit, and would not say who sent a signal.

use nix::sys::{
    signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, pthread_sigmask, sigaction},
    signalfd::{SfdFlags, SignalFd},
};
use std::os::fd::{AsFd, BorrowedFd};

/// The signals that are passed on to the worker.
const FORWARDED: [Signal; 7] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
];

/// The signals that end the draining.
const ENDING: [Signal; 3] = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM];

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A child has changed its state.
    Child,
    /// A signal for the worker, which has not got it yet.
    Forward(Signal),
    /// One that it got already: the terminal sent it to the whole foreground group.
    Got(Signal),
}

impl Event {
    /// Whether it ends the draining.
    pub fn is_ending(self) -> bool {
        matches!(self, Self::Forward(signal) | Self::Got(signal) if ENDING.contains(&signal))
    }
}

/// How signals were set when the sidecar was started, for the worker to inherit.
#[derive(Debug, Clone, Copy)]
pub struct Inherited {
    mask: SigSet,
    child: SigAction,
}

impl Inherited {
    /// Sets everything as it was. To be called in the child: it makes two system calls and nothing else, so it is
    /// async-signal-safe.
    ///
    /// # Errors
    ///
    /// Those of the system calls.
    pub fn restore(&self) -> nix::Result<()> {
        // SAFETY: the action is the one that the system itself reported.
        unsafe { sigaction(Signal::SIGCHLD, &self.child) }?;
        pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&self.mask), None)
    }
}

/// The sidecar's signals.
#[derive(Debug)]
pub struct Signals {
    fd: SignalFd,
    inherited: Inherited,
}

impl Signals {
    /// Blocks what is to be read. Threads started later inherit that, so this has to come first.
    ///
    /// # Errors
    ///
    /// If the system refuses a descriptor.
    pub fn block() -> nix::Result<Self> {
        let mut set = SigSet::from_iter(FORWARDED);
        set.add(Signal::SIGCHLD);
        let mut mask = SigSet::empty();
        pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&set), Some(&mut mask))?;
        // A parent may have it ignored, and then there would be no status to wait for.
        let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
        // SAFETY: the default action is no handler that could do anything unsafe.
        let child = unsafe { sigaction(Signal::SIGCHLD, &default) }?;
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self { fd, inherited: Inherited { mask, child } })
    }

    /// What the worker is to start with.
    pub fn inherited(&self) -> Inherited {
        self.inherited
    }

    /// The next signal, if one has come.
    pub fn next(&self) -> Option<Event> {
        let info = self.fd.read_signal().ok()??;
        let signal = Signal::try_from(i32::try_from(info.ssi_signo).ok()?).ok()?;
        Some(match signal {
            Signal::SIGCHLD => Event::Child,
            // A terminal's Ctrl-C, hang-up and change of size come from the kernel, to the whole group.
            signal if info.ssi_code == nix::libc::SI_KERNEL => Event::Got(signal),
            signal => Event::Forward(signal),
        })
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
