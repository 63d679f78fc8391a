//! Signals: blocked in every thread from the start and read from a descriptor, in one place.
//!
//! Handlers would replace dispositions that the worker is to inherit, and would not say who sent a signal. A
//! blocked signal is queued even if it is ignored, and even in PID 1, which the default action never reaches.

use super::{
    Exit,
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
use std::os::fd::{AsFd, BorrowedFd};

/// The signals that end the draining.
const ENDING: [Number; 3] = [Number::HUP, Number::INT, Number::TERM];

/// What a signal asks for.
#[derive(Debug, Clone, Copy)]
pub enum Event {
    /// A child has changed its state.
    Child,
    /// A signal was sent to this process, alone or among others.
    Sent(Sent),
}

/// A signal that was sent.
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    /// Which.
    pub number: Number,
    info: siginfo,
}

impl Event {
    /// The signal, if somebody sent one.
    pub(super) fn sent(self) -> Option<Sent> {
        match self {
            Self::Sent(sent) => Some(sent),
            Self::Child => None,
        }
    }

    /// Whether it ends the draining.
    pub(crate) fn is_ending(self) -> bool {
        self.sent().is_some_and(|sent| ENDING.contains(&sent.number))
    }
}

impl Sent {
    /// Whether the kernel sent it: a terminal's Ctrl-C, Ctrl-Z, hang-up and change of size.
    pub fn is_from_kernel(&self) -> bool {
        self.info.ssi_code == libc::SI_KERNEL
    }

    /// Sends the same to another process. One from sigqueue(3) keeps its value and its sender; the kernel lets nobody
    /// speak for others otherwise.
    ///
    /// # Errors
    ///
    /// Those of kill(2).
    pub fn pass_on(&self, to: Pid) -> nix::Result<()> {
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
        // SAFETY: kill takes two integers.
        Errno::result(unsafe { libc::kill(to.as_raw(), self.number.0) }).map(drop)
    }
}

/// The kernel's siginfo_t of a queued signal, 128 bytes; libc's has no such fields to set.
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

/// The sidecar's signals.
#[derive(Debug)]
pub struct Signals {
    fd: SignalFd,
    inherited: Inherited,
}

impl Signals {
    /// Blocks all signals. Threads started later inherit that, so this has to come first.
    ///
    /// # Errors
    ///
    /// If the system refuses a descriptor.
    pub fn block() -> nix::Result<Self> {
        let inherited = Inherited::take()?;
        let fd = SignalFd::with_flags(&SigSet::all(), SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self { fd, inherited })
    }

    /// What the worker is to start with.
    pub(super) fn inherited(&self) -> &Inherited {
        &self.inherited
    }

    /// The next signal, if one has come.
    pub fn next(&self) -> Option<Event> {
        let info = self.fd.read_signal().ok()??;
        let number = Number(i32::try_from(info.ssi_signo).ok()?);
        // Somebody may send SIGCHLD as any other signal; the kernel's own codes are positive.
        let child = number == Number::CHLD && info.ssi_code > 0;
        Some(if child { Event::Child } else { Event::Sent(Sent { number, info }) })
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The signals that end a replay, waited for by a thread that has something to do first.
#[derive(Debug)]
pub struct Ending(SigSet);

impl Ending {
    /// Blocks those that would end this process: one that was ignored or blocked when it was started stays that. Threads
    /// started later inherit it, so this has to come first.
    ///
    /// # Errors
    ///
    /// Those of the system calls.
    pub fn block() -> nix::Result<Self> {
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

    /// Waits for one of them; what it asks for. None if none ever comes.
    pub fn wait(&self) -> Option<Exit> {
        self.0.iter().next()?;
        self.0.wait().ok().map(|signal| Exit::Signal(signal as i32))
    }
}
