//! Distinguishes a signal to the whole process group from one to the sidecar alone.
//!
//! A signal to the group (from Snakepit, a supervisor or systemd) reaches the worker directly. If the sidecar
//! passed it on as well, the worker would get it twice. The kernel reports both kinds of signal alike. So the
//! sidecar forks a second process, the witness, which stays in the same group with all signals blocked. A
//! signal that is pending there was sent to both. The sidecar reads this from `/proc`: a signal is pending
//! from the moment at which it is sent, so the answer does not depend on when the witness is scheduled.
//!
//! systemd signals the processes of a unit one after the other, and the witness may get a signal some time
//! before or after the sidecar. So the sidecar waits for a while before it concludes that a signal was sent
//! to it alone, and the witness discards after a second what the sidecar did not ask about.
//!
//! The witness is forked before any thread and before the worker. So a group's signal that the worker got was
//! sent when the witness was there, too.

use super::{helper::fork_with, number::Number};
use nix::{
    fcntl::{OFlag, open},
    libc::off_t,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        prctl,
        signal::{SigSet, Signal, kill},
        signalfd::{SfdFlags, SignalFd},
        stat::Mode,
        uio::pread,
        wait::waitpid,
    },
    unistd::{Pid, pipe2, read, write},
};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

/// Time after which the witness discards a signal without a request, in milliseconds: longer than the sidecar
/// waits for a signal to appear.
const DISCARD_AFTER_MS: u16 = 1000;

/// Time within which the witness has to answer, in milliseconds.
const ANSWER_MS: u16 = 1000;

/// The start of the line in `/proc/PID/status` with the signals that are pending for the whole process.
const PENDING: &[u8] = b"\nShdPnd:\t";

/// A set of signals: bit n-1 for signal n.
pub(super) type Mask = u64;

/// The witness process, seen from the sidecar. It is killed when this is dropped, and ends with the sidecar.
#[derive(Debug)]
pub(crate) struct Witness {
    pid: Pid,
    /// Once it has been waited for, the number may belong to another process.
    reaped: bool,
    /// Open from the start, so that it refers to this process only and clients cannot use up the descriptors
    /// first.
    status: OwnedFd,
    requests: OwnedFd,
    answers: OwnedFd,
}

impl Witness {
    /// Forks the process. All signals have to be blocked, and there must be no other thread and no worker
    /// yet.
    ///
    /// # Errors
    ///
    /// Those of the system calls. Without a witness every signal is passed on.
    pub(crate) fn start() -> nix::Result<Self> {
        let (their_requests, requests) = pipe2(OFlag::O_CLOEXEC)?;
        let (answers, their_answers) = pipe2(OFlag::O_CLOEXEC)?;
        // SAFETY: `watch` makes system calls only.
        let pid = unsafe { fork_with(their_requests, their_answers, c"sidecar-witness", watch) }?;
        let status = format!("/proc/{pid}/status");
        let status = open(status.as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
            .inspect_err(|_| end(pid))?;
        Ok(Self { pid, reaped: false, status, requests, answers })
    }

    /// Waits until the witness has closed the descriptors that it inherited; false if it fails to. The
    /// worker's peers have to see end-of-file and EPIPE when the worker closes its descriptors, so this comes
    /// before its start.
    pub(super) fn has_started(&self) -> bool {
        self.answer().is_some()
    }

    /// Whether this is its process.
    pub(super) fn is(&self, pid: Pid) -> bool {
        self.pid == pid
    }

    /// Drops a witness that has ended and has been waited for.
    pub(super) fn mark_reaped(mut self) {
        self.reaped = true;
    }

    /// The signals that are pending for it: an empty mask if that cannot be read, as after its end.
    ///
    /// It does not allocate and is async-signal-safe.
    pub(super) fn pending(&self) -> Mask {
        let mut line = PendingLine::default();
        let mut chunk = [0; 2048];
        let mut offset = 0;
        loop {
            let count = pread(&self.status, &mut chunk, offset).unwrap_or(0);
            match line.read(chunk.get(..count).unwrap_or_default()) {
                Some(mask) => return mask,
                None if count == 0 => return 0,
                None => offset += off_t::try_from(count).unwrap_or(0),
            }
        }
    }

    /// Discards what is pending for it, so that the next signal of the same number is recognised as a new
    /// one. Returns what was pending, which includes signals that came after the last look.
    pub(super) fn discard(&self) -> Mask {
        let mut late = 0;
        // An answer that came too late would be taken for the next one.
        while ready(self.answers.as_fd(), PollTimeout::ZERO) {
            match self.answer() {
                Some(mask) => late |= mask,
                None => return late,
            }
        }
        match write(&self.requests, &[0]) {
            Ok(_) => late | self.answer().unwrap_or(0),
            Err(_) => late,
        }
    }

    /// The next answer; none if the witness has ended, or is stopped.
    fn answer(&self) -> Option<Mask> {
        let mut mask = [0; size_of::<Mask>()];
        let is_read =
            ready(self.answers.as_fd(), ANSWER_MS.into()) && read(&self.answers, &mut mask) == Ok(mask.len());
        is_read.then(|| Mask::from_ne_bytes(mask))
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        if !self.reaped {
            end(self.pid);
        }
    }
}

/// Kills the process and waits for it: not every init reaps processes that it inherits.
fn end(pid: Pid) {
    let _ = kill(pid, Signal::SIGKILL);
    let _ = waitpid(pid, None);
}

/// Whether there is something to read within this time, or the other end is closed.
fn ready(fd: BorrowedFd<'_>, timeout: PollTimeout) -> bool {
    poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], timeout).is_ok_and(|count| count > 0)
}

/// The main loop of the witness. It reads requests from 0, writes answers to 1, and returns when requests
/// end.
fn watch() {
    // The end of requests suffices unless the witness is stopped.
    let _ = prctl::set_pdeathsig(Signal::SIGKILL);
    // SAFETY: both are open as long as this process exists.
    let (requests, answers) = unsafe { (BorrowedFd::borrow_raw(0), BorrowedFd::borrow_raw(1)) };
    let Ok(signals) = SignalFd::with_flags(&SigSet::all(), SfdFlags::SFD_NONBLOCK) else { return };
    // It has started.
    let _ = write(answers, &Mask::to_ne_bytes(0));
    loop {
        let mut fds =
            [PollFd::new(requests, PollFlags::POLLIN), PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        let _ = poll(&mut fds, PollTimeout::NONE);
        // The sidecar may ask about a signal before it is discarded.
        let is_requested = ready(requests, DISCARD_AFTER_MS.into());
        if is_requested && !matches!(read(requests, &mut [0]), Ok(1)) {
            return;
        }
        let mut mask: Mask = 0;
        while let Ok(Some(signal)) = signals.read_signal() {
            mask |= bit(Number(signal.ssi_signo.cast_signed()));
        }
        if is_requested {
            let _ = write(answers, &mask.to_ne_bytes());
        }
    }
}

/// The bit of a signal in a mask.
pub(super) fn bit(signal: Number) -> Mask {
    1u64.wrapping_shl(signal.0.cast_unsigned().wrapping_sub(1))
}

/// Finds the pending signals in `/proc/PID/status`, which comes in parts: a user's groups can make it long.
#[derive(Default)]
struct PendingLine {
    /// How much of [`PENDING`] the last bytes are.
    matched: usize,
    mask: Mask,
}

impl PendingLine {
    /// The mask, once its line has ended.
    fn read(&mut self, part: &[u8]) -> Option<Mask> {
        for byte in part {
            match PENDING.get(self.matched) {
                Some(expected) if byte == expected => self.matched += 1,
                // Only its first byte is a line feed.
                Some(_) => self.matched = usize::from(*byte == b'\n'),
                None => match char::from(*byte).to_digit(16) {
                    Some(digit) => self.mask = self.mask << 4 | Mask::from(digit),
                    None => return Some(self.mask),
                },
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pending_signals_are_found_however_the_status_is_divided() {
        let status = b"Name:\tx\n\nSigPnd:\t0000000000000001\nShdPnd:\t80000000f0004002\nSigBlk:\tffff\n";
        for first in 0..status.len() {
            let (head, tail) = status.split_at(first);
            let mut line = PendingLine::default();
            assert_eq!(line.read(head).or_else(|| line.read(tail)), Some(0x8000_0000_f000_4002), "{first}");
        }
    }

    #[test]
    fn a_status_without_the_line_has_no_pending_signals() {
        assert_eq!(PendingLine::default().read(b"Name:\tShdPnd:\t1\nShdPn:\t1\n"), None);
    }
}
