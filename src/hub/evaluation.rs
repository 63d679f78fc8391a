//! Evaluates batches by consumers' controls. None of it needs the hub's lock.

use super::state::State;
use crate::{
    control::{Controls, Outcome},
    event::batch::Batch,
    system::sync::MutexGuard,
};
use std::{ops::Range, sync::Arc};

/// The outcomes of some events of a batch under one consumer's controls.
#[derive(Debug)]
pub(super) struct Evaluation {
    first: usize,
    outcomes: Vec<Outcome>,
}

impl Evaluation {
    pub(super) fn new(controls: &Controls, batch: &Batch, events: Range<usize>) -> Self {
        // Each name is evaluated once. A single event needs no table for that.
        let mut by_name = vec![None; if events.len() > 1 { batch.name_count() } else { 0 }];
        let mut outcome = |index| {
            let number = batch.name_number(index)?;
            let name = || Some(controls.evaluate(batch.name(number)?));
            let outcome = match by_name.get_mut(number) {
                Some(Some(known)) => *known,
                Some(unknown) => *unknown.insert(name()?),
                None => name()?,
            };
            Some(outcome.of_event(batch.correlation_id(index)?))
        };
        // Every event of a batch has a name.
        let outcomes = events.clone().map(|index| outcome(index).unwrap_or(Outcome::Keep)).collect();
        Self { first: events.start, outcomes }
    }

    /// The outcomes of these events, if all of them were evaluated.
    pub(super) fn of(&self, events: &Range<usize>) -> Option<&[Outcome]> {
        let start = events.start.checked_sub(self.first)?;
        self.outcomes.get(start..start + events.len())
    }
}

/// Events of a batch with the evaluation by a consumer's controls; without one all of them are kept.
#[derive(Debug)]
pub(super) struct Evaluated {
    pub(super) batch: Arc<Batch>,
    pub(super) events: Range<usize>,
    pub(super) evaluation: Option<Evaluation>,
}

impl Evaluated {
    pub(super) fn new(controls: &Controls, batch: Arc<Batch>, events: Range<usize>) -> Self {
        let evaluation = (!controls.keeps_all()).then(|| Evaluation::new(controls, &batch, events.clone()));
        Self { batch, events, evaluation }
    }
}

/// The evaluations of one batch for all consumers that need one, by the controls in force at one moment.
#[derive(Debug)]
pub(super) struct Plan {
    /// [`State::version`] of that moment.
    version: u64,
    /// The consumers registered by then. Those without an evaluation keep every event.
    registered: u64,
    /// A consumer that registered later and is offered the batch in place of the backlog.
    successor: Option<u64>,
    /// By key.
    evaluations: Vec<(u64, Evaluation)>,
}

impl Plan {
    /// Evaluates a batch by the controls in force now. It releases the lock for that if any consumer needs
    /// it; `relock` acquires it again.
    ///
    /// A consumer that registers meanwhile is offered the next batch first. Only if no subscriber is left of
    /// those of before, the first one that has come since is evaluated as well: it was given the backlog, so
    /// this batch is the next for it.
    pub(super) fn make<'a>(
        state: MutexGuard<'a, State>,
        relock: impl Fn() -> MutexGuard<'a, State>,
        batch: &Batch,
        events: &Range<usize>,
    ) -> (Self, MutexGuard<'a, State>) {
        let (version, registered) = (state.version, state.registered);
        // Collecting nothing does not allocate.
        let controls: Vec<_> = state.controls_to_evaluate().collect();
        let mut plan = Self { version, registered, successor: None, evaluations: Vec::new() };
        if controls.is_empty() {
            return (plan, state);
        }
        drop(state);
        let evaluate = |(key, controls)| (key, Evaluation::new(&controls, batch, events.clone()));
        plan.evaluations = controls.into_iter().map(evaluate).collect();
        let mut state = relock();
        if let Some(successor) = state.successor(&plan) {
            plan.successor = Some(successor.key);
            if let Some(controls) = successor.controls_to_evaluate().cloned() {
                let key = successor.key;
                drop(state);
                plan.evaluations.push(evaluate((key, controls)));
                state = relock();
            }
        }
        (plan, state)
    }

    /// Whether controls and consumers are still those that the plan was made for.
    pub(super) fn is_current(&self, state: &State) -> bool {
        self.version == state.version
    }

    /// Whether the plan says what the consumer is offered.
    pub(super) fn covers(&self, key: u64) -> bool {
        key <= self.registered || self.successor == Some(key)
    }

    pub(super) fn evaluation(&self, key: u64) -> Option<&Evaluation> {
        let found = self.evaluations.binary_search_by_key(&key, |(consumer, _)| *consumer).ok()?;
        self.evaluations.get(found).map(|(_, evaluation)| evaluation)
    }
}
