//! Records the state in which this process was started, and changes of it what the sidecar needs.
//!
//! The worker is started in the original state. The binary's `main` is the C library's, without that of
//! Rust's runtime, which would open `/dev/null` for closed descriptors and ignore SIGPIPE before it could be
//! recorded how they were. It would also handle SIGSEGV in order to report stack overflows, for which it
//! reads `/proc/self/maps` and gives each thread a stack for signals: a fifth of the time of a start.

use super::mask::{self, Mask, bit, handler};
use nix::{
    fcntl::{FcntlArg, OFlag, fcntl, open},
    libc,
    sys::{
        signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigaction},
        stat::Mode,
    },
    unistd::close,
};
use std::{
    fs,
    os::fd::{BorrowedFd, IntoRawFd as _, OwnedFd, RawFd},
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
};

// All of them are written before there is a second thread, and threads see what was written before their
// start: relaxed is enough.

/// A bit for each standard descriptor that was closed.
static CLOSED: AtomicU8 = AtomicU8::new(0);
/// Whether SIGPIPE was not ignored.
static HAD_PIPE_SIGNAL: AtomicBool = AtomicBool::new(false);

/// Records the state and makes it what Rust's code expects: the standard descriptors are open, and SIGPIPE is
/// ignored. `main` calls it first.
pub fn take_over() {
    for fd in 0..3 {
        // SAFETY: it is borrowed for one system call that reads its flags.
        if fcntl(unsafe { BorrowedFd::borrow_raw(fd) }, FcntlArg::F_GETFD).is_err() {
            CLOSED.fetch_or(1 << fd, Ordering::Relaxed);
            // This gets the lowest free number, which is this one.
            let _ = open("/dev/null", OFlag::O_RDWR, Mode::empty()).map(OwnedFd::into_raw_fd);
        }
    }
    let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
    // SAFETY: this runs no handler.
    let before = unsafe { sigaction(Signal::SIGPIPE, &ignore) };
    let was_ignored = before.is_ok_and(|before| matches!(before.handler(), SigHandler::SigIgn));
    HAD_PIPE_SIGNAL.store(!was_ignored, Ordering::Relaxed);
}

/// Whether a signal is ignored now.
pub(super) fn is_ignored(signal: Signal) -> bool {
    handler(signal as libc::c_int) == libc::SIG_IGN
}

/// Whether this standard descriptor was closed at the start.
pub(crate) fn was_closed(fd: RawFd) -> bool {
    CLOSED.load(Ordering::Relaxed) & (1 << fd) != 0
}

/// The inherited descriptors other than the standard ones, in ascending order.
static DESCRIPTORS: OnceLock<Vec<RawFd>> = OnceLock::new();

/// Notes the inherited descriptors. They are without close-on-exec, which all of the sidecar's own have.
/// Libraries that resolve names may open others without it, so it is called before that. Otherwise the time
/// for it is after the worker's start.
pub(crate) fn note_descriptors() -> &'static [RawFd] {
    DESCRIPTORS.get_or_init(|| {
        let mut numbers: Vec<RawFd> = match fs::read_dir("/proc/self/fd") {
            Ok(entries) => {
                entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
            }
            // Without /proc, try the first ones.
            Err(_) => (3..1024).collect(),
        };
        numbers.retain(|fd| {
            // SAFETY: it is borrowed for one system call that reads its flags.
            let flags = fcntl(unsafe { BorrowedFd::borrow_raw(*fd) }, FcntlArg::F_GETFD);
            *fd > 2 && flags.is_ok_and(|flags| flags & libc::FD_CLOEXEC == 0)
        });
        numbers.sort_unstable();
        numbers
    })
}

/// Closes the inherited descriptors other than the standard ones.
pub(crate) fn close_inherited() {
    for fd in note_descriptors() {
        let _ = close(*fd);
    }
}

/// Makes the worker inherit no descriptor that this process did not. It is called in the child, and is
/// async-signal-safe. Before Linux 5.11 it has no effect.
pub(super) fn keep_others_from_worker() {
    // If they were not noted, no library has opened any.
    let Some(noted) = DESCRIPTORS.get() else { return };
    let mut first = 3;
    for fd in noted.iter().copied().chain([RawFd::MAX]) {
        if first < fd {
            // SAFETY: it takes integers. The descriptors stay open until the worker is executed.
            unsafe { libc::syscall(libc::SYS_close_range, first, fd - 1, libc::CLOSE_RANGE_CLOEXEC) };
        }
        first = fd.saturating_add(1);
    }
}

/// Restores the disposition of SIGPIPE. Async-signal-safe.
///
/// # Errors
///
/// Those of the system call.
pub(super) fn restore_dispositions() -> nix::Result<()> {
    if HAD_PIPE_SIGNAL.load(Ordering::Relaxed) {
        let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
        // SAFETY: the default action runs no handler.
        unsafe { sigaction(Signal::SIGPIPE, &default) }?;
    }
    Ok(())
}

/// Signals that do nothing by default, and those with which the kernel reports what a process uses.
const WITHOUT_EFFECT: [libc::c_int; 8] = [
    libc::SIGCHLD,
    libc::SIGCONT,
    libc::SIGURG,
    libc::SIGWINCH,
    libc::SIGPROF,
    libc::SIGVTALRM,
    libc::SIGXCPU,
    libc::SIGXFSZ,
];

/// The signal mask and the disposition of SIGCHLD that this process was started with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inherited {
    mask: Mask,
    child: SigAction,
}

impl Inherited {
    /// Blocks all signals and sets SIGCHLD to its default, and returns how both were.
    ///
    /// # Errors
    ///
    /// Those of the system calls.
    pub(super) fn take() -> nix::Result<Self> {
        let mask = mask::change(SigmaskHow::SIG_BLOCK, mask::ALL)?;
        // If the parent ignores it, children leave no status to wait for.
        let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
        // SAFETY: the default action runs no handler.
        let child = unsafe { sigaction(Signal::SIGCHLD, &default) }?;
        Ok(Self { mask, child })
    }

    /// The signals that have an effect on this process while it starts: those that end or stop it by default,
    /// and were neither ignored nor blocked.
    pub(super) fn effective_signals(&self) -> SigSet {
        let has_effect = |signal: &libc::c_int| {
            handler(*signal) == libc::SIG_DFL
                && (mask::ALL & !self.mask) & bit(*signal) != 0
                && !WITHOUT_EFFECT.contains(signal)
        };
        mask::set((1..=libc::SIGRTMAX()).filter(has_effect).fold(0, |mask, signal| mask | bit(signal)))
    }

    /// Restores the state at the start, including standard descriptors that were closed. It is called in the
    /// child, and is async-signal-safe.
    ///
    /// # Errors
    ///
    /// Those of the system calls.
    pub(super) fn restore(&self) -> nix::Result<()> {
        // SAFETY: the system has reported this action.
        unsafe { sigaction(Signal::SIGCHLD, &self.child) }?;
        restore_dispositions()?;
        for fd in [0, 1] {
            if was_closed(fd) {
                let _ = close(fd);
            }
        }
        mask::change(SigmaskHow::SIG_SETMASK, self.mask).map(drop)
    }
}
