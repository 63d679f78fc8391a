//! Signals after the worker's end: which of them end the drain.
//!
//! HUP, INT and TERM do, except the copy of a signal to the whole unit that ended the worker: it may reach
//! the sidecar after the worker, and is not a second signal. Nor is the same signal sent again at once, as
//! when a terminal is closed: its shell signals its jobs and exits, upon which the kernel signals the group.

use super::{Exit, mask::Mask, number::Number, signals::Signals, supervisor::GROUP_SPREAD, witness::Witness};
use std::{
    os::fd::{AsFd, BorrowedFd},
    time::{Duration, Instant},
};

/// The longest time between a signal's arrival at the worker and at the sidecar, if the worker died of it.
const AFTER_DEATH: Duration = Duration::from_secs(1);

/// The same if the worker exited, perhaps because of the signal.
const AFTER_EXIT: Duration = Duration::from_millis(100);

/// Interval of looking at the witness until it is known whose signal it was.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// Whether the drain is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EndRequest {
    No,
    /// That is not known yet, or a change of this process's state is due: ask again after this time.
    NotYet(Duration),
    Yes,
}

/// The signals that came shortly before the worker's end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Recent(Mask, Instant);

impl Recent {
    pub(super) fn none() -> Self {
        Self(0, Instant::now())
    }

    pub(super) fn add(&mut self, signal: Number, now: Instant) {
        let before = if now < self.1 { self.0 } else { 0 };
        *self = Self(before | signal.bit(), now + AFTER_DEATH);
    }
}

/// Reads signals during the drain.
#[derive(Debug)]
pub(crate) struct DrainSignals<'a> {
    signals: &'a Signals,
    witness: Option<Witness>,
    exit: Exit,
    began: Instant,
    /// Signals that have come already: the next one is the operator's, unless it comes [at once](at_once).
    received: Mask,
    /// Signals that the witness discarded shortly before.
    discarded: Mask,
    /// Possible copies of the unit's signal, and until when the witness may still get its own.
    undecided: Vec<(Number, Instant)>,
    is_ended: bool,
}

impl<'a> DrainSignals<'a> {
    pub(super) fn new(
        signals: &'a Signals,
        witness: Option<Witness>,
        exit: Exit,
        recent: Recent,
        discarded: Mask,
    ) -> Self {
        let began = Instant::now();
        let received = if began < recent.1 { recent.0 } else { 0 };
        let undecided = Vec::new();
        Self { signals, witness, exit, began, received, discarded, undecided, is_ended: false }
    }

    /// Ends the witness. It is waited for when this is dropped, and ends while the sidecar does other things.
    pub(crate) fn end(&self) {
        if let Some(witness) = &self.witness {
            witness.end();
        }
    }

    /// Reads the signals that have come, and decides.
    pub(crate) fn end_request(&mut self) -> EndRequest {
        let now = Instant::now();
        while let Some(event) = self.signals.next() {
            let Some(signal) = event.ending() else { continue };
            let is_repeated = self.received & signal.bit() != 0;
            let window = match self.exit {
                _ if is_repeated => at_once(signal),
                Exit::Signal(number) if number == signal.0 => AFTER_DEATH,
                _ => AFTER_EXIT,
            };
            if now >= self.began + window {
                self.is_ended = true;
            } else if !is_repeated {
                // Without a witness that stays unknown. It ends the drain, but leaves it some time.
                let spread = if self.witness.is_some() { GROUP_SPREAD } else { AFTER_DEATH };
                self.undecided.push((signal, now + spread));
            }
            self.received |= signal.bit();
        }
        if !self.undecided.is_empty() {
            // The unit's signal reaches the witness as well.
            let seen = self.witness.as_ref().map_or(0, |witness| witness.pending() | self.discarded);
            self.undecided.retain(|(signal, deadline)| {
                let is_units = seen & signal.bit() != 0;
                self.is_ended |= !is_units && now >= *deadline;
                !is_units
            });
        }
        let left = (self.began + AFTER_DEATH).saturating_duration_since(now);
        if self.is_ended {
            EndRequest::Yes
        } else if !self.undecided.is_empty() {
            EndRequest::NotYet(LOOK_INTERVAL)
        } else if !left.is_zero() && self.witness.is_some() {
            EndRequest::NotYet(left)
        } else {
            // Every signal from now on is the operator's.
            self.witness = None;
            EndRequest::No
        }
    }
}

/// How long after the worker's end a signal that has come before may come again for the same reason. The
/// witness cannot decide that: its copies are merged.
fn at_once(signal: Number) -> Duration {
    // No person repeats a hang-up, and a shell may take some time to exit.
    if signal == Number::HUP { AFTER_DEATH } else { AFTER_EXIT }
}

impl AsFd for DrainSignals<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.signals.as_fd()
    }
}
