//! Retries a request until it succeeds, it cannot succeed any more, or the time limit is reached.

use super::answer::{Accepted, Failure, Retry};
use crate::system::{backoff::Backoff, log};
use std::time::Duration;
use thiserror::Error;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// The first pause between two attempts.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause, unless the server asks for a longer one.
const MAX_PAUSE: Duration = Duration::from_secs(8);

/// Why a request is not sent again.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GivenUp {
    /// The time limit was reached during an attempt.
    #[error("no answer in time")]
    NoAnswer,
    /// The last attempt failed, for this reason.
    #[error("{0}")]
    Failed(String),
    /// The task that sent it has panicked.
    #[error("internal error")]
    Panicked,
}

/// The result of a request.
#[derive(Debug)]
pub struct Outcome {
    /// The response of the server that accepted it, or the last error.
    pub result: Result<Accepted, GivenUp>,
    /// The number of retries.
    pub retries: u64,
}

/// Sends a request of a signal until it is accepted, fails for good, or `limit` is over. `send` makes one
/// attempt. On `shutdown` one pause is cut short, unless the server has asked for it.
pub async fn deliver<F: Future<Output = Result<Accepted, Failure>>>(
    signal: &str,
    send: impl Fn() -> F,
    limit: Option<Duration>,
    shutdown: &CancellationToken,
) -> Outcome {
    let began = Instant::now();
    let left = || limit.map(|limit| limit.saturating_sub(began.elapsed()));
    let mut backoff = Backoff::new(FIRST_PAUSE, MAX_PAUSE);
    let mut cut_short = shutdown.is_cancelled();
    let mut retries = 0;
    loop {
        let result = match left() {
            None => send().await,
            Some(left) => {
                let Ok(result) = timeout(left, send()).await else {
                    return Outcome { result: Err(GivenUp::NoAnswer), retries };
                };
                result
            }
        };
        let failure = match result {
            Ok(accepted) => return Outcome { result: Ok(accepted), retries },
            Err(failure) => failure,
        };
        let own = backoff.pause();
        let pause = match failure.retry {
            Retry::Soon => Some(own),
            // A server that asks for no pause at all must not be flooded with requests.
            Retry::After(asked) => Some(asked.max(own)),
            Retry::Never => None,
        };
        let Some(pause) = pause.filter(|pause| left().is_none_or(|left| *pause < left)) else {
            return Outcome { result: Err(GivenUp::Failed(failure.why)), retries };
        };
        log::limited!(INFO, "otlp: {signal}: will be sent again: {}", failure.why);
        tokio::select! {
            () = sleep(pause) => {}
            () = shutdown.cancelled(), if failure.retry == Retry::Soon && !cut_short => cut_short = true,
        }
        retries += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    /// Sends to a server that always gives the same answer, or none: the times of the attempts, the outcome,
    /// and the time of the outcome.
    async fn ask(
        answer: Option<Retry>,
        limit: Option<u64>,
        shutdown_at: Option<u64>,
    ) -> (Vec<Duration>, Outcome, Duration) {
        let start = Instant::now();
        let asked = RefCell::new(Vec::new());
        let send = || async {
            asked.borrow_mut().push(start.elapsed());
            match answer {
                Some(retry) => Err(Failure { why: "no".into(), retry }),
                None => std::future::pending().await,
            }
        };
        let shutdown = CancellationToken::new();
        let shutting_down = async {
            if let Some(at) = shutdown_at {
                sleep(Duration::from_secs(at)).await;
                shutdown.cancel();
            }
            std::future::pending().await
        };
        let limit = limit.map(Duration::from_secs);
        let outcome = tokio::select! {
            outcome = deliver("traces", send, limit, &shutdown) => outcome,
            never = shutting_down => never,
        };
        let ended = start.elapsed();
        (asked.into_inner(), outcome, ended)
    }

    #[tokio::test(start_paused = true)]
    async fn retries_continue_as_long_as_the_next_one_is_within_the_limit() {
        for _ in 0..20 {
            let (asked, outcome, ended) = ask(Some(Retry::Soon), Some(30), None).await;
            // Five pauses are at most 23 seconds, and ten at least 31.5.
            assert!((6..=10).contains(&asked.len()), "{asked:?}");
            assert_eq!(outcome.retries, asked.len() as u64 - 1);
            // It does not wait for an attempt that would be too late.
            assert_eq!(asked.last(), Some(&ended));
        }
        let (asked, _, ended) = ask(None, Some(30), None).await;
        assert_eq!((asked.len(), ended.as_secs()), (1, 30));
        let (asked, _, ended) = ask(Some(Retry::Never), None, None).await;
        assert_eq!((asked.len(), ended), (1, Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn shutdown_cuts_short_one_pause_but_none_that_the_server_asked_for() {
        // After 8 seconds it is in the fourth pause or the fifth, and the one after that is at least 4
        // seconds long.
        let (asked, ..) = ask(Some(Retry::Soon), Some(30), Some(8)).await;
        let cut_short = asked.iter().position(|at| at.as_secs() == 8).expect("a try at once");
        assert!(asked[cut_short + 1].as_secs() >= 12, "{asked:?}");
        let asked_for = Some(Retry::After(Duration::from_secs(12)));
        let (asked, ..) = ask(asked_for, Some(30), Some(5)).await;
        assert_eq!(asked.iter().map(Duration::as_secs).collect::<Vec<_>>(), [0, 12, 24]);
    }
}
