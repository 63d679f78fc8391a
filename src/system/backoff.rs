//! Pauses between attempts.

use std::time::Duration;

/// Pauses that double up to a bound. Each is shortened by up to a half at random, so that clients that failed
/// together do not retry together.
#[derive(Debug)]
pub(crate) struct Backoff {
    first: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    /// Pauses from `first` to `max`.
    pub(crate) fn new(first: Duration, max: Duration) -> Self {
        Self { first, max, next: first }
    }

    /// The next pause.
    pub(crate) fn pause(&mut self) -> Duration {
        let longest = self.next;
        self.next = (longest * 2).min(self.max);
        longest.mul_f64(1.0 - fastrand::f64() / 2.0)
    }

    /// Starts again with the first pause, after a success.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound_and_are_randomised() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(8));
        let mut pauses = || {
            backoff.reset();
            [(); 6].map(|()| backoff.pause())
        };
        let pauses: Vec<_> = (0..100).map(|_| pauses()).collect();
        for (step, longest) in [1, 2, 4, 8, 8, 8].into_iter().map(Duration::from_secs).enumerate() {
            let of_step: Vec<_> = pauses.iter().map(|pauses| pauses[step]).collect();
            assert!(of_step.iter().all(|pause| (longest / 2..=longest).contains(pause)), "{of_step:?}");
            assert!(of_step.iter().any(|pause| *pause != of_step[0]));
        }
    }
}
