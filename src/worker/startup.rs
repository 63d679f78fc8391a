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
    sync::{
        OnceLock,
        atomic::{AtomicU8, Ordering},
    },
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
    handler(signal as libc::c_int) == libc::SIG_IGN
}

/// What is done with a signal now.
fn handler(signal: libc::c_int) -> libc::sighandler_t {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: without a new action sigaction only writes the present one through the pointer, which is valid
    // for that. Zeroes are a valid action in any case.
    unsafe {
        libc::sigaction(signal, ptr::null(), action.as_mut_ptr());
        action.assume_init().sa_sigaction
    }
}

/// Whether this standard descriptor was closed at the start.
pub(crate) fn was_closed(fd: RawFd) -> bool {
    CLOSED.load(Ordering::Relaxed) & (1 << fd) != 0
}

/// The inherited descriptors other than the standard ones, in ascending order.
static DESCRIPTORS: OnceLock<Vec<RawFd>> = OnceLock::new();

/// Notes the inherited descriptors. They are without close-on-exec, which all of the sidecar's own have. It
/// is called first, since libraries that resolve names may open others without it.
pub(crate) fn note_descriptors() {
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
    });
}

fn descriptors() -> &'static [RawFd] {
    DESCRIPTORS.get().map_or(&[], Vec::as_slice)
}

/// Closes the inherited descriptors other than the standard ones.
pub(crate) fn close_inherited() {
    for fd in descriptors() {
        let _ = close(*fd);
    }
}

/// Makes the worker inherit no descriptor that this process did not. It is called in the child, and is
/// async-signal-safe. Before Linux 5.11 it has no effect.
pub(super) fn keep_others_from_worker() {
    let mut first = 3;
    for fd in descriptors().iter().copied().chain([RawFd::MAX]) {
        if first < fd {
            // SAFETY: it takes integers. The descriptors stay open until the worker is executed.
            unsafe { libc::syscall(libc::SYS_close_range, first, fd - 1, libc::CLOSE_RANGE_CLOEXEC) };
        }
        first = fd.saturating_add(1);
    }
}

/// Restores the dispositions that Rust's runtime has changed. Async-signal-safe.
///
/// # Errors
///
/// Those of the system calls.
pub(super) fn restore_dispositions() -> nix::Result<()> {
    for (index, signal) in CHANGED.into_iter().enumerate() {
        let ignored = IGNORED.load(Ordering::Relaxed) & (1 << index) != 0;
        let handler = if ignored { SigHandler::SigIgn } else { SigHandler::SigDfl };
        // SAFETY: neither runs a handler.
        unsafe { sigaction(signal, &SigAction::new(handler, SaFlags::empty(), SigSet::empty())) }?;
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

    /// The signals that have an effect on this process while it starts: those that end or stop it by default,
    /// and were neither ignored nor blocked.
    pub(super) fn effective_signals(&self) -> SigSet {
        let mut set = MaybeUninit::uninit();
        // SAFETY: sigemptyset initialises the set, and the others take it, or one that exists, and integers.
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            for signal in 1..=libc::SIGRTMAX() {
                if handler(signal) == libc::SIG_DFL
                    && libc::sigismember(self.mask.as_ref(), signal) == 0
                    && !WITHOUT_EFFECT.contains(&signal)
                {
                    libc::sigaddset(set.as_mut_ptr(), signal);
                }
            }
            SigSet::from_sigset_t_unchecked(set.assume_init())
        }
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
        pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&self.mask), None)
    }
}
