//! Telling a signal to the whole process group from one to the sidecar alone.
//!
//! A group's signal, as Snakepit, supervisors and systemd send, reaches the worker on its own: passed on as well,
//! it would arrive twice. What the kernel tells of a signal is the same in both cases. So a second process of the
//! sidecar's, the witness, sits in the same group with all signals blocked. A signal that is pending there, too,
//! was sent to all. Looking is done from here, in `/proc`: pending is set when the signal is sent, so the witness
//! does not even have to run, however busy the machine is.
//!
//! systemd kills every process of a unit in turn, and the witness may come some time before or after the sidecar:
//! whoever asks has to wait for a while before the answer is no, and the witness forgets what was meant for it
//! alone after a second.

use super::helper::fork_with;
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigSet, Signal, kill},
        signalfd::{SfdFlags, SignalFd},
        wait::waitpid,
    },
    unistd::{Pid, pipe2, read, write},
};
use std::{
    fs,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

/// How long the witness keeps what nobody asked about, in milliseconds: longer than anybody waits for an answer.
const FORGET_AFTER_MS: u16 = 1000;

/// How long to wait for the witness to say that it has forgotten, in milliseconds.
const ANSWER_MS: u16 = 1000;

/// The witness, as the sidecar sees it. It ends when this is dropped, or the sidecar is killed.
#[derive(Debug)]
pub struct Witness {
    pid: Pid,
    /// Whether it has been waited for: the number may be another process's by now.
    gone: bool,
    ask: OwnedFd,
    answer: OwnedFd,
}

impl Witness {
    /// Starts the process.
    ///
    /// # Errors
    ///
    /// If the system refuses one.
    pub fn start() -> nix::Result<Self> {
        let (their_ask, ask) = pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
        let (answer, their_answer) = pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
        // SAFETY: `watch` makes system calls only.
        let pid = unsafe { fork_with(their_ask, their_answer, c"sidecar-witness", watch) }?;
        Ok(Self { pid, gone: false, ask, answer })
    }

    /// Whether this is its process.
    pub fn is(&self, pid: Pid) -> bool {
        self.pid == pid
    }

    /// Lets go of a witness that has ended and has been waited for.
    pub fn bury(mut self) {
        self.gone = true;
    }

    /// The signals that are pending there: bit n-1 for signal n. None if there is no telling.
    pub fn pending(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        let pending = status.lines().find_map(|line| line.strip_prefix("ShdPnd:"));
        pending.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
    }

    /// Has it forget what is pending, so that the next signal is a new one.
    pub fn forget(&self) {
        if write(&self.ask, &[0]).is_ok() {
            let mut fds = [PollFd::new(self.answer.as_fd(), PollFlags::POLLIN)];
            if poll(&mut fds, ANSWER_MS).is_ok_and(|ready| ready > 0) {
                let _ = read(&self.answer, &mut [0]);
            }
        }
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        if !self.gone {
            // Not every init reaps what is left to it.
            let _ = kill(self.pid, Signal::SIGKILL);
            let _ = waitpid(self.pid, None);
        }
    }
}

/// The witness's whole life: questions come at 0, answers go to 1, and the end of questions is its end.
fn watch() {
    // SAFETY: both are open as long as this process is.
    let (questions, answers) = unsafe { (BorrowedFd::borrow_raw(0), BorrowedFd::borrow_raw(1)) };
    let Ok(signals) = SignalFd::with_flags(&SigSet::all(), SfdFlags::SFD_NONBLOCK) else { return };
    loop {
        let mut fds =
            [PollFd::new(questions, PollFlags::POLLIN), PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        let _ = poll(&mut fds, PollTimeout::NONE);
        // Somebody may want to know, before it is forgotten.
        let asked = poll(&mut fds[..1], FORGET_AFTER_MS).is_ok_and(|ready| ready > 0);
        if asked && !matches!(read(questions, &mut [0]), Ok(1)) {
            return;
        }
        while let Ok(Some(_)) = signals.read_signal() {}
        if asked {
            let _ = write(answers, &[0]);
        }
    }
}
