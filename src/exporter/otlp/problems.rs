//! What goes wrong, told to an operator who wants to know, and not over and over.

use crate::system::log::Log;
use std::{
    fmt::Display,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// How much time is between two lines at least. A server that is away is away for many requests.
const PAUSE: Duration = Duration::from_secs(10);

/// Tells of problems; clones share the pauses.
#[derive(Clone)]
pub struct Problems {
    log: Log,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    last: Option<Instant>,
    untold: u64,
}

impl Problems {
    /// Nothing told yet.
    pub fn new(log: Log) -> Self {
        Self { log, state: Arc::default() }
    }

    /// Tells of a problem, unless another one was told just now.
    pub fn tell(&self, problem: impl Display) {
        let untold = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.last.is_some_and(|last| last.elapsed() < PAUSE) {
                state.untold += 1;
                return;
            }
            state.last = Some(Instant::now());
            std::mem::take(&mut state.untold)
        };
        if untold == 0 {
            self.log.info(format_args!("otlp: {problem}"));
        } else {
            self.log.info(format_args!("otlp: {problem} ({untold} other problems since the last one)"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::log::Verbosity;

    #[tokio::test(start_paused = true)]
    async fn the_first_problem_is_told_and_those_right_after_are_counted() {
        let log = Log::new(Verbosity::Info, || {});
        let problems = Problems::new(log.clone());
        problems.tell("one");
        tokio::time::advance(PAUSE / 2).await;
        problems.clone().tell("two");
        assert_eq!(log.take(), ["telemetry-sidecar: otlp: one\n"]);
        tokio::time::advance(PAUSE / 2).await;
        problems.tell("three");
        assert_eq!(log.take(), ["telemetry-sidecar: otlp: three (1 other problems since the last one)\n"]);
    }
}
