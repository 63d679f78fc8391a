//! The sidecar's signals: blocked in every thread from the start and read from one descriptor.
//!
//! Handlers would replace dispositions that the worker inherits. A blocked signal is queued even if it is
//! ignored, and even in PID 1, for which the kernel discards signals without a handler.

use super::{
    Exit, mask,
    number::Number,
    startup::{Inherited, is_ignored},
};
use nix::{
    errno::Errno,
    libc,
    sys::{
        signal::{SigSet, SigmaskHow, Signal, pthread_sigmask},
        signalfd::{SfdFlags, SignalFd, siginfo},
    },
    unistd::Pid,
};
use std::{
    os::fd::{AsFd, BorrowedFd},
    process,
};

/// The signals that end the drain.
const ENDING: [Number; 3] = [Number::HUP, Number::INT, Number::TERM];

/// Signals with which the kernel reports a child of this process, and what this process has used: processor
/// time, as the limit or a timer that was set before the start say, the size of a file, and a pipe without a
/// reader.
const OWN: [Number; 6] = [
    Number::CHLD,
    Number(libc::SIGPIPE),
    Number(libc::SIGPROF),
    Number(libc::SIGVTALRM),
    Number(libc::SIGXCPU),
    Number(libc::SIGXFSZ),
];

/// What was read from the descriptor.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Event {
    /// The kernel reports that a child has changed its state, or what this process has used.
    Own,
    /// A signal was sent to this process alone or to several.
    Sent(Sent),
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    pub(super) number: Number,
    info: siginfo,
}

impl Event {
    /// The signal that was sent, if it is not about this process itself.
    pub(super) fn sent(self) -> Option<Sent> {
        match self {
            Self::Sent(sent) => Some(sent),
            Self::Own => None,
        }
    }

    /// The signal, if it is one of those that end the drain.
    pub(super) fn ending(self) -> Option<Number> {
        self.sent().map(|sent| sent.number).filter(|number| ENDING.contains(number))
    }
}

impl Sent {
    /// Whether the kernel sent it: a terminal's Ctrl-C, Ctrl-Z, hang-up and change of size, and timers.
    pub(super) fn is_from_kernel(&self) -> bool {
        self.info.ssi_code == libc::SI_KERNEL
    }

    /// Whether this process sent it. Others may send the same number.
    pub(super) fn is_from(&self, process: Pid) -> bool {
        self.info.ssi_code == libc::SI_USER && self.info.ssi_pid == process.as_raw().cast_unsigned()
    }

    /// Sends the same signal to another process. One from sigqueue(3) keeps its value and its sender. For
    /// others the kernel does not permit to set the sender.
    ///
    /// # Errors
    ///
    /// Those of kill(2).
    pub(super) fn pass_on(&self, to: Pid) -> nix::Result<()> {
        if self.info.ssi_code == libc::SI_QUEUE {
            let info = QueuedInfo {
                number: self.number.0,
                error: 0,
                code: libc::SI_QUEUE,
                padding: 0,
                pid: self.info.ssi_pid,
                uid: self.info.ssi_uid,
                value: self.info.ssi_ptr,
                rest: [0; 12],
            };
            // SAFETY: the kernel reads a siginfo_t of 128 bytes, which this is, and writes nothing.
            let result = unsafe {
                libc::syscall(libc::SYS_rt_sigqueueinfo, to.as_raw(), self.number.0, &raw const info)
            };
            return Errno::result(result).map(drop);
        }
        self.number.send(to)
    }
}

/// The kernel's siginfo_t of a queued signal, 128 bytes. The fields of libc's type cannot be set.
#[repr(C)]
struct QueuedInfo {
    number: libc::c_int,
    error: libc::c_int,
    code: libc::c_int,
    padding: libc::c_int,
    pid: u32,
    uid: u32,
    value: u64,
    rest: [u64; 12],
}

const _: () = assert!(size_of::<QueuedInfo>() == size_of::<libc::siginfo_t>());

#[derive(Debug)]
pub(crate) struct Signals {
    fd: SignalFd,
    inherited: Inherited,
}

impl Signals {
    /// Blocks all signals. Processes and threads that are started later inherit that, so this is called
    /// first.
    ///
    /// # Errors
    ///
    /// If the system refuses a descriptor.
    pub(crate) fn block() -> nix::Result<Self> {
        let inherited = Inherited::take()?;
        #[cfg(target_env = "musl")]
        super::first_thread::start()?;
        let fd = SignalFd::with_flags(&mask::set(mask::ALL), SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self { fd, inherited })
    }

    /// What the worker is started with.
    pub(super) fn inherited(&self) -> &Inherited {
        &self.inherited
    }

    /// The next signal, if one has come.
    pub(crate) fn next(&self) -> Option<Event> {
        let info = self.fd.read_signal().ok()??;
        let number = Number(i32::try_from(info.ssi_signo).ok()?);
        // Another process may send these like any other signal. The kernel's own codes are positive. For
        // some signals, such as SIGXFSZ, it names this process as the sender.
        let is_report = info.ssi_code > 0 || info.ssi_code == libc::SI_USER && info.ssi_pid == process::id();
        let is_own = is_report && OWN.contains(&number);
        Some(if is_own { Event::Own } else { Event::Sent(Sent { number, info }) })
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The signals that end a replay. They are blocked, so that a thread can clean up first.
#[derive(Debug)]
pub(crate) struct Ending(SigSet);

impl Ending {
    /// Blocks those signals that would end this process, so none that was ignored or blocked at the start.
    /// Threads that are started later inherit that, so this is called first.
    ///
    /// # Errors
    ///
    /// Those of the system calls.
    pub(crate) fn block() -> nix::Result<Self> {
        let mut before = SigSet::empty();
        pthread_sigmask(SigmaskHow::SIG_BLOCK, None, Some(&mut before))?;
        let mut ending = SigSet::empty();
        for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM] {
            if !before.contains(signal) && !is_ignored(signal) {
                ending.add(signal);
            }
        }
        pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&ending), None)?;
        Ok(Self(ending))
    }

    /// Waits for one of them, and returns how to exit. None if all of them were ignored or blocked.
    pub(crate) fn wait(&self) -> Option<Exit> {
        self.0.iter().next()?;
        self.0.wait().ok().map(|signal| Exit::Signal(signal as i32))
    }
}
