//! Sending until it works, it is clear that it never will, or there is no time left.

use super::answer::{Accepted, Failure, Retry};
use crate::system::log;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// The first pause between two tries.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause that is not asked for.
const MAX_PAUSE: Duration = Duration::from_secs(8);

/// Pauses that double, each shortened by up to a half at random: clients that failed together do not come back together.
#[derive(Debug)]
pub struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(FIRST_PAUSE)
    }
}

impl Backoff {
    /// The next pause.
    pub fn pause(&mut self) -> Duration {
        let longest = self.0;
        self.0 = (longest * 2).min(MAX_PAUSE);
        longest.mul_f64(1.0 - fastrand::f64() / 2.0)
    }
}

/// What became of a request.
#[derive(Debug)]
pub struct Outcome {
    /// What the server said when it took it; none if it did not.
    pub accepted: Option<Accepted>,
    /// How many times it was sent again.
    pub retries: u64,
}

/// Sends a request of a signal, by what tries once, for at most so long. When it is to `hurry` there may be no later: it does
/// not sit out a pause of its own choice, once.
pub async fn deliver<F: Future<Output = Result<Accepted, Failure>>>(
    signal: &str,
    send: impl Fn() -> F,
    limit: Option<Duration>,
    hurry: &CancellationToken,
) -> Outcome {
    let began = Instant::now();
    let left = || limit.map(|limit| limit.saturating_sub(began.elapsed()));
    let mut backoff = Backoff::default();
    let mut hurried = hurry.is_cancelled();
    let mut retries = 0;
    loop {
        let result = match left() {
            None => send().await,
            Some(left) => {
                let Ok(result) = timeout(left, send()).await else {
                    log::limited!(INFO, "otlp: {signal}: given up: no answer in time");
                    return Outcome { accepted: None, retries };
                };
                result
            }
        };
        let failure = match result {
            Ok(accepted) => return Outcome { accepted: Some(accepted), retries },
            Err(failure) => failure,
        };
        let own = backoff.pause();
        let pause = match failure.retry {
            Retry::Soon => Some(own),
            // A server that asks for no pause at all would be asked without end.
            Retry::After(asked) => Some(asked.max(own)),
            Retry::Never => None,
        };
        let Some(pause) = pause.filter(|pause| left().is_none_or(|left| *pause < left)) else {
            log::limited!(INFO, "otlp: {signal}: given up: {}", failure.why);
            return Outcome { accepted: None, retries };
        };
        log::limited!(INFO, "otlp: {signal}: will be sent again: {}", failure.why);
        tokio::select! {
            () = sleep(pause) => {}
            () = hurry.cancelled(), if failure.retry == Retry::Soon && !hurried => hurried = true,
        }
        retries += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    /// When a server that always answers the same, or nothing, was asked, what became of the request, and when.
    async fn ask(
        answer: Option<Retry>,
        limit: Option<u64>,
        hurry_at: Option<u64>,
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
        let hurry = CancellationToken::new();
        let hurrying = async {
            if let Some(at) = hurry_at {
                sleep(Duration::from_secs(at)).await;
                hurry.cancel();
            }
            std::future::pending().await
        };
        let limit = limit.map(Duration::from_secs);
        let outcome = tokio::select! {
            outcome = deliver("traces", send, limit, &hurry) => outcome,
            never = hurrying => never,
        };
        let ended = start.elapsed();
        (asked.into_inner(), outcome, ended)
    }

    #[tokio::test(start_paused = true)]
    async fn there_is_a_last_try_while_there_is_time() {
        for _ in 0..20 {
            let (asked, outcome, ended) = ask(Some(Retry::Soon), Some(30), None).await;
            // Five pauses are at most 23 seconds, and ten at least 31.5.
            assert!((6..=10).contains(&asked.len()), "{asked:?}");
            assert_eq!(outcome.retries, asked.len() as u64 - 1);
            // It does not wait for what is too late.
            assert_eq!(asked.last(), Some(&ended));
        }
        let (asked, _, ended) = ask(None, Some(30), None).await;
        assert_eq!((asked.len(), ended.as_secs()), (1, 30));
        let (asked, _, ended) = ask(Some(Retry::Never), None, None).await;
        assert_eq!((asked.len(), ended), (1, Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn a_hurry_cuts_short_one_pause_of_its_own_choice_and_none_that_was_asked_for() {
        // After 8 seconds it is in the fourth pause or the fifth, and the one after that is at least 4 seconds long.
        let (asked, ..) = ask(Some(Retry::Soon), Some(30), Some(8)).await;
        let hurried = asked.iter().position(|at| at.as_secs() == 8).expect("a try at once");
        assert!(asked[hurried + 1].as_secs() >= 12, "{asked:?}");
        let asked_for = Some(Retry::After(Duration::from_secs(12)));
        let (asked, ..) = ask(asked_for, Some(30), Some(5)).await;
        assert_eq!(asked.iter().map(Duration::as_secs).collect::<Vec<_>>(), [0, 12, 24]);
    }

    #[test]
    fn pauses_double_up_to_a_bound_and_are_not_all_the_same() {
        let pauses: Vec<Vec<Duration>> = (0..100)
            .map(|_| {
                let mut backoff = Backoff::default();
                (0..6).map(|_| backoff.pause()).collect()
            })
            .collect();
        for (step, longest) in [1, 2, 4, 8, 8, 8].into_iter().map(Duration::from_secs).enumerate() {
            let of_step: Vec<_> = pauses.iter().map(|pauses| pauses[step]).collect();
            assert!(of_step.iter().all(|pause| (longest / 2..=longest).contains(pause)), "{of_step:?}");
            assert!(of_step.iter().any(|pause| *pause != of_step[0]));
        }
    }
}
