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
//! sent when the witness was there, too. It is forked before the command line is parsed, when this process
//! has used hardly any memory: every page that was written by then is copied when the sidecar writes it
//! again, which takes more time than the fork, and the witness keeps the old page as long as it runs.

use super::{
    helper::fork_with,
    mask::{self, Mask},
    number::Number,
    watch::{CONTINUED, DISCARD, Request, ready, watch},
};
use crate::system::data;
use nix::{
    fcntl::{OFlag, open},
    libc::off_t,
    poll::PollTimeout,
    sys::{
        signal::{SigmaskHow, Signal, kill},
        stat::Mode,
        uio::pread,
        wait::waitpid,
    },
    unistd::{Pid, getpgrp, pipe2, read, setpgid, write},
};
use std::os::fd::{AsFd as _, OwnedFd};

/// Time within which the witness has to answer, in milliseconds.
const ANSWER_MS: u16 = 1000;

/// Time after which a witness that does not answer is continued, since it may be stopped, in milliseconds.
const STOPPED_AFTER_MS: u16 = 100;

/// The start of the line in `/proc/PID/status` with the signals that are pending for the whole process.
const PENDING: &[u8] = b"\nShdPnd:\t";

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
    /// Forks the process. There must be no other thread and no worker yet. All signals are blocked in it, and
    /// in this process as before.
    ///
    /// # Errors
    ///
    /// Those of the system calls. Without a witness every signal is passed on.
    pub(crate) fn start() -> nix::Result<Self> {
        let (their_requests, requests) = pipe2(OFlag::O_CLOEXEC)?;
        let (answers, their_answers) = pipe2(OFlag::O_CLOEXEC)?;
        let before = mask::change(SigmaskHow::SIG_BLOCK, mask::ALL)?;
        let run = || {
            // SAFETY: this process has one thread, and `watch` makes system calls only.
            unsafe { data::release() };
            watch();
        };
        // SAFETY: as before.
        let forked = unsafe { fork_with(their_requests, their_answers, c"sidecar-witness", run) };
        mask::change(SigmaskHow::SIG_SETMASK, before)?;
        let pid = forked?;
        let status = format!("/proc/{pid}/status");
        let status = open(status.as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
            .inspect_err(|_| end(pid))?;
        Ok(Self { pid, reaped: false, status, requests, answers })
    }

    /// Moves the witness into this process's group, which may have changed since the fork. None if that is
    /// refused.
    pub(crate) fn in_own_group(self) -> Option<Self> {
        setpgid(self.pid, getpgrp()).is_ok().then_some(self)
    }

    /// Waits until the witness has closed the descriptors that it inherited; false if it fails to. The
    /// worker's peers have to see end-of-file and EPIPE when the worker closes its descriptors, so this comes
    /// before its start.
    pub(super) fn has_started(&self) -> bool {
        self.answer(ANSWER_MS).is_some()
    }

    /// Its process id.
    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// Whether this is its process.
    pub(super) fn is(&self, pid: Pid) -> bool {
        self.pid == pid
    }

    /// Kills it. It is waited for when this is dropped.
    pub(super) fn end(&self) {
        let _ = kill(self.pid, Signal::SIGKILL);
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
    /// one. Returns what was pending, which includes signals that came after the last look; none if the
    /// witness does not answer. One that was stopped is continued.
    pub(super) fn discard(&self) -> Option<Mask> {
        // An answer that came too late would be taken for the next one.
        let mut late = 0;
        while ready(self.answers.as_fd(), PollTimeout::ZERO) {
            late |= self.answer(ANSWER_MS)?;
        }
        self.request(DISCARD).ok()?;
        if let Some(mask) = self.answer(STOPPED_AFTER_MS) {
            return Some(late | mask);
        }
        let _ = kill(self.pid, Signal::SIGCONT);
        self.answer(ANSWER_MS).map(|mask| (late | mask) & !Number::CONT.bit())
    }

    /// Continues the witness, which may have been stopped with the sidecar. False if it does not answer.
    pub(super) fn resume(&self) -> bool {
        let _ = kill(self.pid, Signal::SIGCONT);
        self.discard().is_some()
    }

    /// Makes the witness continue the sidecar once this worker, which has stopped, is running or has ended.
    pub(super) fn watch(&self, worker: Pid) {
        let _ = self.request(worker.as_raw());
    }

    /// Ends that: the sidecar is running again.
    pub(super) fn unwatch(&self) {
        let _ = self.request(CONTINUED);
    }

    fn request(&self, request: Request) -> nix::Result<usize> {
        write(&self.requests, &request.to_ne_bytes())
    }

    /// The next answer; none if the witness has ended, or is stopped.
    fn answer(&self, limit_ms: u16) -> Option<Mask> {
        let mut mask = [0; size_of::<Mask>()];
        let is_read =
            ready(self.answers.as_fd(), limit_ms.into()) && read(&self.answers, &mut mask) == Ok(mask.len());
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
