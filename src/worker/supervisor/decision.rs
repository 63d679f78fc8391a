//! Which signals the worker has got already, by way of the group, and which are to be passed on.

use super::{
    super::{children::stop_of, mask::Mask, number::Number, signals::Sent, witness::Witness},
    GROUP_SPREAD, Supervisor,
};
use nix::unistd::{getpgid, getpgrp};
use std::time::{Duration, Instant};

/// The witness discards a signal by itself after a second.
const CONTINUED_FOR: Duration = Duration::from_secs(2);

/// A signal of which it is not known yet whether the worker got it, too.
#[derive(Debug)]
pub(super) struct Undecided {
    pub(super) sent: Sent,
    /// Whether it was sent before the worker existed.
    pub(super) is_early: bool,
    /// When to stop waiting for the witness.
    pub(super) deadline: Instant,
}

impl Supervisor<'_> {
    /// Passes on what was sent to the sidecar alone, and forgets what was sent to the whole group.
    pub(super) fn decide(&mut self) {
        if self.undecided.is_empty() {
            return;
        }
        let now = Instant::now();
        let pending = self.witness.as_ref().map_or(0, Witness::pending);
        let (discarded, until) = self.discarded;
        let seen = if now < until { pending | discarded } else { pending };
        // A worker in a group of its own gets nothing that is sent to this group.
        let shares_group = getpgid(Some(self.worker)) == Ok(getpgrp());
        let (mut matched, mut is_continued) = (0, false);
        self.undecided.retain(|Undecided { sent, is_early, deadline }| {
            // A terminal signals its foreground group only. A worker in another group is not meant to get
            // that.
            let may_know = !is_early && (shares_group || sent.is_from_kernel());
            let is_seen = !is_early && seen & sent.number.bit() != 0;
            if is_seen {
                matched |= sent.number.bit();
            }
            // The witness may have got its copy of a SIGCONT long after the sidecar had passed on its own.
            let is_stopped =
                sent.number == Number::CONT && now < self.continued_until && stop_of(self.worker).is_some();
            let is_known = is_seen && may_know && !is_stopped;
            let wait = !is_known && may_know && self.witness.is_some() && now < *deadline;
            if !is_known && !wait {
                // A worker that has just ended has not been waited for, so the number is still its own.
                let _ = sent.pass_on(self.worker);
                is_continued |= sent.number == Number::CONT;
            }
            wait
        });
        if is_continued {
            self.continued_until = now + CONTINUED_FOR;
            // The witness may have been stopped with the sidecar, and was not continued.
            self.witness.take_if(|witness| !witness.resume());
        }
        self.discarded.0 &= !matched;
        if pending & matched != 0 {
            self.discard(matched);
        }
    }

    /// Makes the witness discard what is pending. What comes while it does so is kept here, apart from
    /// `known`. A witness that does not answer is dropped: what stays pending there would be taken for new.
    pub(super) fn discard(&mut self, known: Mask) {
        let Some(witness) = &self.witness else { return };
        let Some(pending) = witness.discard() else {
            self.witness = None;
            return;
        };
        let now = Instant::now();
        let (kept, until) = self.discarded;
        let kept = if now < until { kept } else { 0 };
        self.discarded = (kept | pending & !known, now + GROUP_SPREAD);
    }
}
