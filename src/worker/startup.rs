//! What this process was started with, noted before anything changes it.
//!
//! Rust's runtime opens `/dev/null` in the place of closed standard descriptors, ignores SIGPIPE and handles SIGSEGV
//! and SIGBUS before `main` runs. The worker is to be started as the sidecar was, so the truth is noted earlier: by a function that the C
//! library calls before it calls the program.

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

// All of them are written before there is a second thread, and threads see what was written before their start: relaxed
// is enough.

/// A bit for each standard descriptor that was closed.
static CLOSED: AtomicU8 = AtomicU8::new(0);
/// The signals whose disposition Rust's runtime changes: it ignores the first, and handles the others to tell of a
/// stack overflow.
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

/// Whether a signal is ignored at this moment. A system call and nothing else, so it may run before Rust's runtime does.
pub(super) fn is_ignored(signal: Signal) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: with no new action sigaction only writes the present one through the pointer, which is valid for that; zeroes
    // are a valid action in any case.
    let handler = unsafe {
        libc::sigaction(signal as libc::c_int, ptr::null(), action.as_mut_ptr());
        action.assume_init().sa_sigaction
    };
    handler == libc::SIG_IGN
}

/// Whether a standard descriptor was closed.
pub fn was_closed(fd: RawFd) -> bool {
    CLOSED.load(Ordering::Relaxed) & (1 << fd) != 0
}

/// Closes the descriptors beyond the standard ones that were inherited. They are the ones that are not closed on exec,
/// or they would not be here; all of the sidecar's own are.
pub fn close_inherited() {
    let numbers: Vec<RawFd> = match fs::read_dir("/proc/self/fd") {
        Ok(entries) => entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect(),
        // No /proc: look at the first ones.
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

/// How signals and standard descriptors were, for the worker to be started with.
#[derive(Debug, Clone, Copy)]
pub struct Inherited {
    mask: SigSet,
    child: SigAction,
}

impl Inherited {
    /// Blocks all signals, makes SIGCHLD ours, and notes how both were.
    ///
    /// # Errors
    ///
    /// Those of the system calls.
    pub fn take() -> nix::Result<Self> {
        let mut mask = SigSet::empty();
        pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&SigSet::all()), Some(&mut mask))?;
        // A parent may have it ignored, and then there would be no status to wait for.
        let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
        // SAFETY: the default action is no handler that could do anything unsafe.
        let child = unsafe { sigaction(Signal::SIGCHLD, &default) }?;
        Ok(Self { mask, child })
    }

    /// Sets everything as it was. To be called in the child: it makes system calls on values that are there
    /// already, so it is async-signal-safe.
    ///
    /// # Errors
    ///
    /// Those of the system calls.
    pub fn restore(&self) -> nix::Result<()> {
        // SAFETY: what the system itself reported.
        unsafe { sigaction(Signal::SIGCHLD, &self.child) }?;
        for (index, signal) in CHANGED.into_iter().enumerate() {
            let ignored = IGNORED.load(Ordering::Relaxed) & (1 << index) != 0;
            let handler = if ignored { SigHandler::SigIgn } else { SigHandler::SigDfl };
            // SAFETY: neither is a handler that could do anything unsafe.
            unsafe { sigaction(signal, &SigAction::new(handler, SaFlags::empty(), SigSet::empty())) }?;
        }
        for fd in [0, 1] {
            if was_closed(fd) {
                // If it is closed, all the better.
                let _ = close(fd);
            }
        }
        pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&self.mask), None)
    }
}
