//! Living beside the worker: signals passed on once, stops shared, children reaped, the end noticed.

use super::{
    Exit,
    number::Number,
    signals::{Event, Sent, Signals},
    witness::Witness,
};
use nix::{
    libc,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    unistd::{Pid, getpgid, getpgrp},
};
use std::{
    os::{fd::AsFd as _, unix::process::ExitStatusExt as _},
    process::ExitStatus,
    time::{Duration, Instant},
};

/// How long it may take from the first process of a group to the last to be sent the same signal: systemd kills the
/// processes of a unit in turn. It delays a signal that was sent to the sidecar alone.
const GROUP_SPREAD: Duration = Duration::from_millis(50);

/// How often the witness is looked at in that time, in milliseconds.
const LOOK_MS: u16 = 2;

/// The worker's supervisor.
#[derive(Debug)]
pub struct Supervisor<'a> {
    worker: Pid,
    signals: &'a Signals,
    witness: Option<Witness>,
    /// Signals of which it is not known yet whether the worker got them, too, and when to give up asking.
    undecided: Vec<(Sent, Instant)>,
}

impl<'a> Supervisor<'a> {
    /// A supervisor of a worker that runs. Without a witness every signal is passed on.
    pub fn new(worker: Pid, signals: &'a Signals, witness: Option<Witness>) -> Self {
        Self { worker, signals, witness, undecided: Vec::new() }
    }

    /// Runs until the worker has ended.
    pub fn run(&mut self) -> Exit {
        loop {
            self.take_signals();
            // As PID 1, others' orphans are among the children.
            while let Some((pid, status)) = reap() {
                match status.stopped_signal() {
                    Some(stop) if pid == self.worker => self.stop_too(Number(stop)),
                    None if pid == self.worker => return status.into(),
                    None => self.bury(pid),
                    Some(_) => {}
                }
            }
            self.decide();
            let timeout = if self.undecided.is_empty() { PollTimeout::NONE } else { LOOK_MS.into() };
            let _ = poll(&mut [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)], timeout);
        }
    }

    /// The witness may be killed as any process may. Then every signal is passed on: twice is better than never.
    fn bury(&mut self, ended: Pid) {
        if let Some(witness) = self.witness.take_if(|witness| witness.is(ended)) {
            witness.bury();
        }
    }

    /// Notes the signals that have come. True if one of them lets a stopped process continue.
    fn take_signals(&mut self) -> bool {
        let mut continues = false;
        while let Some(event) = self.signals.next() {
            if let Event::Sent(sent) = event {
                if sent.number == Number::CONT {
                    continues = true;
                    self.forget_stops();
                }
                self.undecided.push((sent, Instant::now() + GROUP_SPREAD));
            }
        }
        continues
    }

    /// Passes on what was sent to the sidecar alone, and forgets what was sent to the whole group.
    fn decide(&mut self) {
        if self.undecided.is_empty() {
            return;
        }
        let seen = self.witness.as_ref().map_or(0, Witness::pending);
        // A worker in a group of its own gets nothing that is sent to this one.
        let shares_group = getpgid(Some(self.worker)) == Ok(getpgrp());
        let now = Instant::now();
        let mut forget = false;
        self.undecided.retain(|(sent, deadline)| {
            let sent_to_group = seen & 1u64.wrapping_shl(sent.number.0.cast_unsigned().wrapping_sub(1)) != 0;
            forget |= sent_to_group;
            // A terminal signals a group, and is meant to; without the sidecar the worker would not have got it.
            let worker_knows = sent_to_group && (shares_group || sent.is_from_kernel());
            let ask_again =
                self.witness.is_some() && (shares_group || sent.is_from_kernel()) && now < *deadline;
            if worker_knows {
                return false;
            }
            if !ask_again {
                // It may just have ended; it has not been waited for, so the number is still its own.
                let _ = sent.pass_on(self.worker);
            }
            ask_again
        });
        if let (true, Some(witness)) = (forget, &self.witness) {
            witness.forget();
        }
    }

    /// The worker has stopped, at the terminal's wish or its own: whoever waits for the sidecar is to see that.
    fn stop_too(&mut self, stop: Number) {
        // It may have been continued since, and then nobody would continue the sidecar.
        if !self.take_signals() {
            // The witness knows of the signal that stopped the worker only until the group is continued.
            self.decide();
            stop.take_default_action();
            self.forget_stops();
        }
    }

    /// A SIGCONT discards stop signals that are pending (POSIX, 2.4.1), so here as well: passed on now, one would stop the
    /// worker again.
    fn forget_stops(&mut self) {
        self.undecided.retain(|(sent, _)| !sent.number.stops());
    }
}

/// A child that has stopped or ended, if there is one.
fn reap() -> Option<(Pid, ExitStatus)> {
    let mut status = 0;
    // SAFETY: it writes one int through the pointer, which is valid for that.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG | libc::WUNTRACED) };
    (pid > 0).then(|| (Pid::from_raw(pid), ExitStatus::from_raw(status)))
}
