//! Sending until it works, it is clear that it never will, or there is no time left.

use super::{
    answer::{Accepted, Retry},
    client::Client,
    problems::Problems,
    request::Request,
};
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

/// Sends a request for at most so long. When it is to `hurry` there may be no later: it does not sit out a pause of its
/// own choice, once.
pub async fn deliver(
    client: &Client,
    request: &Request,
    limit: Option<Duration>,
    hurry: &CancellationToken,
    problems: &Problems,
) -> Outcome {
    let signal = client.destination.signal.name();
    let began = Instant::now();
    let left = || limit.map(|limit| limit.saturating_sub(began.elapsed()));
    let mut backoff = Backoff::default();
    let mut hurried = hurry.is_cancelled();
    let mut retries = 0;
    loop {
        let result = match left() {
            None => client.send(request).await,
            Some(left) => {
                let Ok(result) = timeout(left, client.send(request)).await else {
                    problems.tell(format_args!("{signal}: given up: no answer in time"));
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
            problems.tell(format_args!("{signal}: given up: {}", failure.why));
            return Outcome { accepted: None, retries };
        };
        problems.tell(format_args!("{signal}: will be sent again: {}", failure.why));
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
