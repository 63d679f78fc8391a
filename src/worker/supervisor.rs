//! Passes signals on to the worker, stops and continues with it, reaps children and notices the worker's end.

mod decision;

use super::{
    Exit, Usage,
    children::{ended, reap, stop_of},
    drain::{DrainSignals, Recent},
    mask::Mask,
    number::Number,
    parent::Parent,
    pty::Window,
    signals::{Event, Signals},
    spawn::{Command, SpawnError, spawn},
    witness::Witness,
};
use decision::Undecided;
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::{Signal, killpg},
    unistd::{Pid, getpgrp},
};
use std::{
    iter, mem,
    os::fd::AsFd as _,
    time::{Duration, Instant},
};

/// The longest time between the first and the last process of a group getting the same signal: systemd
/// signals the processes of a unit one after the other. A signal that was sent to the sidecar alone is
/// delayed by this.
pub(super) const GROUP_SPREAD: Duration = Duration::from_millis(50);

/// Interval of looking at the witness during that time, in milliseconds.
const LOOK_MS: u16 = 2;

/// Interval of looking at the parent's process id where the system does not report its end, in milliseconds.
const PARENT_MS: u16 = 200;

/// Looks at the worker while it is there.
pub(crate) trait Looks {
    /// Is called at least after each of the times that it returns. It must not take long: signals wait.
    fn while_running(&mut self, worker: Pid) -> Option<Duration>;

    /// The worker has ended, and `/proc` still has it.
    fn at_end(&mut self, worker: Pid);
}

/// The supervisor of a running worker.
#[derive(Debug)]
pub(crate) struct Supervisor<'a> {
    worker: Pid,
    signals: &'a Signals,
    witness: Option<Witness>,
    /// What had been read before the worker was started.
    early: Vec<Event>,
    /// Signals in the queue at the worker's start that it did not get, though they were sent to the group.
    missed: Mask,
    undecided: Vec<Undecided>,
    /// Signals that the witness discarded before the sidecar had read its own copy, and until when they
    /// count.
    discarded: (Mask, Instant),
    recent: Recent,
    /// Until when a SIGCONT that is pending in the witness may be the copy of one that was passed on.
    continued_until: Instant,
    parent: Option<Parent>,
    /// The size of the worker's stderr if that is a pseudo-terminal.
    window: Option<Window>,
}

impl<'a> Supervisor<'a> {
    /// Starts the worker. Without a witness every signal is passed on.
    ///
    /// The worker is killed when the calling thread ends, so this is called from the one that lives as long
    /// as the process.
    ///
    /// # Errors
    ///
    /// If the worker could not be started. Nothing runs then.
    pub(crate) fn start(
        command: Command<'_>,
        signals: &'a Signals,
        witness: Option<Witness>,
    ) -> Result<Self, SpawnError> {
        let witness = witness.filter(Witness::has_started);
        let early: Vec<_> = iter::from_fn(|| signals.next()).collect();
        // Only after the sidecar's own signals have been read: a signal that comes in between stays in the
        // queue and is unknown to the witness, so it is passed on. The other way round a stale one would
        // remain in the witness.
        let witness = witness.filter(|witness| witness.pending() == 0 || witness.discard().is_some());
        let (worker, missed) = spawn(command, signals.inherited(), witness.as_ref())?;
        let now = Instant::now();
        Ok(Self {
            worker,
            signals,
            witness,
            early,
            missed,
            undecided: Vec::new(),
            discarded: (0, now),
            recent: Recent::none(),
            continued_until: now,
            parent: None,
            window: None,
        })
    }

    /// Makes the worker get a signal when this process has ended, if there is one to watch.
    pub(crate) fn stops_with(&mut self, parent: Option<Parent>) {
        self.parent = parent;
    }

    /// Passes the size of the terminal on from now on, if the worker has one.
    pub(crate) fn passes_size(&mut self, window: Option<Window>) {
        self.window = window;
    }

    /// The worker's process id.
    pub(crate) fn worker(&self) -> Pid {
        self.worker
    }

    /// The process id of the sidecar's other process, if there is one.
    pub(crate) fn helper(&self) -> Option<Pid> {
        self.witness.as_ref().map(Witness::pid)
    }

    /// Runs until the worker has ended, and returns how, and what it has used.
    pub(crate) fn run(&mut self, looks: &mut impl Looks) -> (Exit, Usage) {
        self.pass_on_early();
        loop {
            self.take_signals();
            // As PID 1, orphans of other processes are among the children.
            while let Some(pid) = ended() {
                if pid == self.worker {
                    looks.at_end(pid);
                }
                match reap(pid) {
                    Some(end) if pid == self.worker => return end,
                    Some(_) => self.mark_reaped(pid),
                    None => break,
                }
            }
            self.decide();
            self.stop_too();
            self.stop_with_parent();
            self.wait(looks.while_running(self.worker));
        }
    }

    /// Waits until something may have happened, for this time at most.
    fn wait(&self, limit: Option<Duration>) {
        let parent = self.parent.as_ref();
        let descriptor = parent.and_then(Parent::descriptor);
        let timeout = if !self.undecided.is_empty() {
            LOOK_MS.into()
        } else if parent.is_some() && descriptor.is_none() {
            PARENT_MS.into()
        } else {
            limit.map_or(PollTimeout::NONE, |limit| limit.try_into().unwrap_or(PollTimeout::MAX))
        };
        // Without a parent, the same descriptor twice.
        let signals = self.signals.as_fd();
        let mut fds = [signals, descriptor.unwrap_or(signals)].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        let _ = poll(&mut fds, timeout);
    }

    /// Sends the worker the signal of `--stop-with-parent`, once.
    fn stop_with_parent(&mut self) {
        if let Some(signal) = self.parent.as_ref().and_then(Parent::signal_at_end) {
            let _ = signal.send(self.worker);
            self.parent = None;
        }
    }

    /// Reads signals from now on, after the worker's end.
    pub(crate) fn drain(self, exit: Exit) -> DrainSignals<'a> {
        let (discarded, until) = self.discarded;
        let discarded = if Instant::now() < until { discarded } else { 0 };
        DrainSignals::new(self.signals, self.witness, exit, self.recent, discarded)
    }

    /// Passes on what was sent before the worker existed, even to the whole group: what had been read by
    /// then, and of what is in the queue the first of each that the worker missed.
    fn pass_on_early(&mut self) {
        for event in mem::take(&mut self.early) {
            self.note(event, true);
        }
        let missed = mem::take(&mut self.missed);
        let mut expected = missed;
        while let Some(event) = self.signals.next() {
            let bit = event.sent().map_or(0, |sent| sent.number.bit());
            self.note(event, expected & bit != 0);
            expected &= !bit;
        }
        self.decide();
        if missed != 0 {
            // The next ones are new, and the worker gets them.
            self.discard(missed);
        }
    }

    /// The witness may be killed like any process. Then every signal is passed on: twice is better than
    /// never.
    fn mark_reaped(&mut self, ended: Pid) {
        if let Some(witness) = self.witness.take_if(|witness| witness.is(ended)) {
            witness.mark_reaped();
        }
    }

    /// Reads the signals that have come.
    fn take_signals(&mut self) {
        while let Some(event) = self.signals.next() {
            self.note(event, false);
        }
    }

    /// Takes a signal for [`Self::decide`].
    fn note(&mut self, event: Event, is_early: bool) {
        if let Some(sent) = event.sent() {
            if matches!(sent.number, Number::WINCH | Number::CONT) {
                self.pass_size_on();
            }
            if sent.number == Number::CONT {
                self.forget_stops();
                // The witness has continued the sidecar because the worker is running again.
                if self.witness.as_ref().is_some_and(|witness| sent.is_from(witness.pid())) {
                    return;
                }
            }
            if sent.number.stops() {
                self.forget_continue(sent.number);
            }
            // The worker has got it. The kernel's next one may have been merged into it.
            if self.window.is_some() && sent.number == Number::WINCH && sent.is_from(Pid::this()) {
                return;
            }
            let now = Instant::now();
            self.recent.add(sent.number, now);
            self.undecided.push(Undecided { sent, is_early, deadline: now + GROUP_SPREAD });
        }
    }

    /// Passes a new size of the terminal on. The kernel has signalled the group before, and its processes may
    /// have asked for the size too early, so they are signalled once more.
    fn pass_size_on(&mut self) {
        if self.window.as_mut().is_some_and(Window::update) {
            let _ = killpg(getpgrp(), Signal::SIGWINCH);
        }
    }

    /// Stops the sidecar if the worker has stopped, so that its parent sees it.
    fn stop_too(&mut self) {
        if self.is_to_be_continued() || stop_of(self.worker).is_none() {
            return;
        }
        // The signal that stopped the worker is pending in the witness only until the group is continued.
        self.decide();
        if let Some(witness) = &self.witness {
            witness.watch(self.worker);
        }
        let stop = stop_of(self.worker);
        // A SIGCONT that has come continues the worker, or has done so. This look is the last step before the
        // stop, which discards a pending SIGCONT.
        self.take_signals();
        if let Some(stop) = stop.filter(|_| !self.is_to_be_continued()) {
            stop.take_default_action();
        }
        if let Some(witness) = &self.witness {
            witness.unwatch();
        }
    }

    /// Whether a SIGCONT has come that may have to be passed on.
    fn is_to_be_continued(&self) -> bool {
        self.undecided.iter().any(|undecided| undecided.sent.number == Number::CONT)
    }

    /// A stop signal discards a pending SIGCONT (POSIX, 2.4.1), also in the witness, so that it is not known
    /// any more whether the worker got that. It has continued the worker in any case, unless another signal
    /// had stopped that and still does. Passed on later, it would undo the stop.
    fn forget_continue(&mut self, stop: Number) {
        if !self.is_to_be_continued() {
            return;
        }
        self.undecided.retain(|undecided| undecided.sent.number != Number::CONT);
        if stop_of(self.worker).is_some_and(|stopped_by| stopped_by != stop) {
            let _ = Number::CONT.send(self.worker);
        }
    }

    /// A SIGCONT discards pending stop signals (POSIX, 2.4.1). Passed on afterwards, one would stop the
    /// worker again.
    fn forget_stops(&mut self) {
        self.undecided.retain(|undecided| !undecided.sent.number.stops());
    }
}
