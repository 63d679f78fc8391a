//! The witness's own process: its requests, and its main loop.

use super::mask::{self, Mask, bit};
use nix::{
    errno::Errno,
    fcntl::{OFlag, open},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        prctl,
        signal::{Signal, kill},
        signalfd::{SfdFlags, SignalFd},
        stat::Mode,
    },
    unistd::{getppid, read, write},
};
use std::{
    ffi::CStr,
    io::Write as _,
    os::fd::{AsFd as _, BorrowedFd},
};

/// Time after which the witness discards a signal without a request, in milliseconds: longer than the sidecar
/// waits for a signal to appear.
const DISCARD_AFTER_MS: u16 = 1000;

/// Interval of looking whether the worker still is stopped, in milliseconds.
const LOOK_MS: u16 = 20;

/// A request to the witness: the process id of a worker that has stopped, or one of the constants.
pub(super) type Request = i32;

/// Discard what is pending, and answer what it was.
pub(super) const DISCARD: Request = 0;

/// The sidecar is running again.
pub(super) const CONTINUED: Request = -1;

/// The main loop of the witness. It reads requests from 0, writes answers to 1, and returns when requests
/// end.
pub(super) fn watch() {
    // The end of requests suffices unless the witness is stopped.
    let _ = prctl::set_pdeathsig(Signal::SIGKILL);
    let sidecar = getppid();
    // SAFETY: both are open as long as this process exists.
    let (requests, answers) = unsafe { (BorrowedFd::borrow_raw(0), BorrowedFd::borrow_raw(1)) };
    let Ok(signals) = SignalFd::with_flags(&mask::set(mask::ALL), SfdFlags::SFD_NONBLOCK) else { return };
    // It has started.
    let _ = write(answers, &Mask::to_ne_bytes(0));
    let mut stopped_worker = None;
    loop {
        if let Some(worker) = stopped_worker {
            // The sidecar is stopped and cannot ask, so nothing is discarded.
            if !ready(requests, LOOK_MS.into()) {
                if !is_stopped(worker) && getppid() == sidecar {
                    let _ = kill(sidecar, Signal::SIGCONT);
                }
                continue;
            }
        } else {
            let mut fds =
                [PollFd::new(requests, PollFlags::POLLIN), PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
            let _ = poll(&mut fds, PollTimeout::NONE);
        }
        // The sidecar may ask about a signal before it is discarded.
        let is_requested = ready(requests, DISCARD_AFTER_MS.into());
        let mut request = DISCARD.to_ne_bytes();
        if is_requested && read(requests, &mut request) != Ok(request.len()) {
            return;
        }
        match Request::from_ne_bytes(request) {
            DISCARD => {
                let mut mask: Mask = 0;
                while let Ok(Some(signal)) = signals.read_signal() {
                    mask |= bit(signal.ssi_signo.cast_signed());
                }
                if is_requested {
                    let _ = write(answers, &mask.to_ne_bytes());
                }
            }
            CONTINUED => stopped_worker = None,
            worker => stopped_worker = Some(worker),
        }
    }
}

/// Whether a process is stopped, or that cannot be seen. A process that has ended is not.
fn is_stopped(process: i32) -> bool {
    // No allocation: this is a forked process.
    let (mut path, mut stat) = ([0; 32], [0; 128]);
    let _ = write!(&mut path[..], "/proc/{process}/stat");
    let opened = CStr::from_bytes_until_nul(&path)
        .map_err(|_| Errno::EINVAL)
        .and_then(|path| open(path, OFlag::O_RDONLY, Mode::empty()));
    let count = match opened.and_then(|stat_file| read(&stat_file, &mut stat)) {
        Ok(count) => count,
        Err(error) => return error != Errno::ENOENT && error != Errno::ESRCH,
    };
    // The name in parentheses may contain anything and has at most 15 bytes; the state is behind it.
    let state = stat.get(..count).unwrap_or_default().rsplit(|byte| *byte == b')').next();
    state.is_some_and(|state| state.starts_with(b" T") || state.starts_with(b" t"))
}

/// Whether there is something to read within this time, or the other end is closed.
pub(super) fn ready(fd: BorrowedFd<'_>, timeout: PollTimeout) -> bool {
    poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], timeout).is_ok_and(|count| count > 0)
}
