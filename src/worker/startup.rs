//! Records the state in which this process was started, before anything changes it.
//!
//! Before `main` runs, Rust's runtime opens `/dev/null` for closed standard descriptors, ignores SIGPIPE and
//! handles SIGSEGV and SIGBUS. The worker is started in the original state, so a function that the C library
//! calls earlier records it.

use nix::{
    fcntl::{FcntlArg, fcntl},
    libc,
    sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, pthread_sigmask, sigaction},
    unistd::close,
};
use std::{
    fs,
    mem::MaybeUninit,
    os::fd::{BorrowedFd, RawFd},
    ptr,
    sync::atomic::{AtomicU8, Ordering},
};

// All of them are written before there is a second thread, and threads see what was written before their
// start: relaxed is enough.

/// A bit for each standard descriptor that was closed.
static CLOSED: AtomicU8 = AtomicU8::new(0);
/// The signals whose disposition Rust's runtime changes: it ignores the first, and handles the others to
/// report stack overflows.
const CHANGED: [Signal; 3] = [Signal::SIGPIPE, Signal::SIGSEGV, Signal::SIGBUS];
/// A bit for each of them that was ignored.
static IGNORED: AtomicU8 = AtomicU8::new(0);

#[used]
// SAFETY: the section is a list of functions with C calling convention that the C library calls at the start.
#[unsafe(link_section = ".init_array")]
static NOTE: extern "C" fn() = note;

/// Runs before Rust's runtime is set up: system calls and atomics only.
extern "C" fn note() {
    for fd in 0..3 {
        // SAFETY: asking for the flags of any number is allowed.
        if unsafe { libc::fcntl(fd, libc::F_GETFD) } == -1 {
            CLOSED.fetch_or(1 << fd, Ordering::Relaxed);
        }
    }
    for (index, signal) in CHANGED.into_iter().enumerate() {
        if is_ignored(signal) {
            IGNORED.fetch_or(1 << index, Ordering::Relaxed);
        }
    }
}

/// Whether a signal is ignored now. It only makes a system call, so it may run before Rust's runtime does.
pub(super) fn is_ignored(signal: Signal) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: without a new action sigaction only writes the present one through the pointer, which is valid
    // for that. Zeroes are a valid action in any case.
    let handler = unsafe {
        libc::sigaction(signal as libc::c_int, ptr::null(), action.as_mut_ptr());
        action.assume_init().sa_sigaction
    };
    handler == libc::SIG_IGN
}

/// Whether this standard descriptor was closed at the start.
pub(crate) fn was_closed(fd: RawFd) -> bool {
    CLOSED.load(Ordering::Relaxed) & (1 << fd) != 0
}

/// Closes the inherited descriptors other than the standard ones. Those are without close-on-exec, which all
/// of the sidecar's own have.
pub(crate) fn close_inherited() {
    let numbers: Vec<RawFd> = match fs::read_dir("/proc/self/fd") {
        Ok(entries) => entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect(),
        // Without /proc, try the first ones.
        Err(_) => (3..1024).collect(),
    };
    for fd in numbers.into_iter().filter(|fd| *fd > 2) {
        // SAFETY: it is borrowed for one system call that reads its flags.
        let flags = fcntl(unsafe { BorrowedFd::borrow_raw(fd) }, FcntlArg::F_GETFD);
        if flags.is_ok_and(|flags| flags & libc::FD_CLOEXEC == 0) {
            let _ = close(fd);
        }
    }
}

/// The signal mask and the disposition of SIGCHLD that this process was started with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inherited {
    mask: SigSet,
    child: SigAction,
}

impl Inherited {
    /// Blocks all signals and sets SIGCHLD to its default, and returns how both were.
    ///
    /// # Errors
    ///
    /// Those of the system calls.
    pub(super) fn take() -> nix::Result<Self> {
        let mut mask = SigSet::empty();
        pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&SigSet::all()), Some(&mut mask))?;
        // If the parent ignores it, children leave no status to wait for.
        let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
        // SAFETY: the default action runs no handler.
        let child = unsafe { sigaction(Signal::SIGCHLD, &default) }?;
        Ok(Self { mask, child })
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
        for (index, signal) in CHANGED.into_iter().enumerate() {
            let ignored = IGNORED.load(Ordering::Relaxed) & (1 << index) != 0;
            let handler = if ignored { SigHandler::SigIgn } else { SigHandler::SigDfl };
            // SAFETY: neither runs a handler.
            unsafe { sigaction(signal, &SigAction::new(handler, SaFlags::empty(), SigSet::empty())) }?;
        }
        for fd in [0, 1] {
            if was_closed(fd) {
                let _ = close(fd);
            }
        }
        pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&self.mask), None)
    }
}
