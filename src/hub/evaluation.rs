//! Evaluates batches by consumers' controls. None of it needs the hub's lock.

use super::state::State;
use crate::{
    control::{Controls, Outcome},
    event::batch::Batch,
    system::sync::MutexGuard,
};
use std::{collections::VecDeque, ops::Range, sync::Arc};

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

/// The evaluations of one batch for all consumers that need one, by the controls in force at one moment.
#[derive(Debug)]
pub(super) struct Plan {
    /// [`State::version`] of that moment.
    version: u64,
    /// The consumers registered by then. Those without an evaluation keep every event.
    registered: u64,
    evaluations: Vec<(u64, Evaluation)>,
}

impl Plan {
    /// Evaluates a batch by the controls in force now. It releases the lock for that if any consumer needs
    /// it; `relock` acquires it again.
    pub(super) fn make<'a>(
        state: MutexGuard<'a, State>,
        relock: impl FnOnce() -> MutexGuard<'a, State>,
        batch: &Batch,
        events: &Range<usize>,
    ) -> (Self, MutexGuard<'a, State>) {
        let (version, registered) = (state.version, state.registered);
        // Collecting nothing does not allocate.
        let controls: Vec<_> = state.controls_to_evaluate().collect();
        if controls.is_empty() {
            return (Self { version, registered, evaluations: Vec::new() }, state);
        }
        drop(state);
        let evaluate = |(key, controls)| (key, Evaluation::new(&controls, batch, events.clone()));
        let evaluations = controls.into_iter().map(evaluate).collect();
        (Self { version, registered, evaluations }, relock())
    }

    /// Whether controls and consumers are still those that the plan was made for.
    pub(super) fn is_current(&self, state: &State) -> bool {
        self.version == state.version
    }

    /// Whether the consumer was registered when the plan was made.
    pub(super) fn covers(&self, key: u64) -> bool {
        key <= self.registered
    }

    pub(super) fn evaluation(&self, key: u64) -> Option<&Evaluation> {
        self.evaluations.iter().find(|(consumer, _)| *consumer == key).map(|(_, evaluation)| evaluation)
    }
}

/// Evaluations of the backlog, in its order. By the time they are used the oldest events may have been
/// dropped, and newer ones added.
#[derive(Debug, Default)]
pub(super) struct BacklogEvaluations(VecDeque<(Arc<Batch>, Evaluation)>);

impl BacklogEvaluations {
    pub(super) fn new(controls: &Controls, runs: Vec<(Arc<Batch>, Range<usize>)>) -> Self {
        let evaluate = |(batch, events): (Arc<Batch>, _)| {
            let evaluation = Evaluation::new(controls, &batch, events);
            (batch, evaluation)
        };
        Self(runs.into_iter().map(evaluate).collect())
    }

    /// The evaluation of the next run of the backlog, if there is one that covers it.
    pub(super) fn next(&mut self, batch: &Arc<Batch>, events: &Range<usize>) -> Option<Evaluation> {
        let covers = |(evaluated, evaluation): &(Arc<Batch>, Evaluation)| {
            Arc::ptr_eq(evaluated, batch) && evaluation.of(events).is_some()
        };
        let index = self.0.iter().position(covers)?;
        self.0.drain(..=index).next_back().map(|(_, evaluation)| evaluation)
    }
}
