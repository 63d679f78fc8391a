//! How often something is done that takes long.

use nix::time::{ClockId, clock_gettime};
use std::time::{Duration, Instant};

/// Limits how often something is done: it takes one part in two thousand of the time at most, on average.
#[derive(Debug)]
pub(super) struct Pace {
    /// The least time between two starts.
    interval: Duration,
    next: Option<Instant>,
}

impl Pace {
    /// How much longer than it takes it is not done again.
    const REST: u32 = 2000;

    /// Not more often than at this interval.
    pub(super) fn new(interval: Duration) -> Self {
        Self { interval, next: None }
    }

    /// Whether it is time to do it.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.next.is_none_or(|next| now >= next)
    }

    /// Records that it was started at this time and took this long.
    pub(super) fn done(&mut self, now: Instant, cost: Duration) {
        self.next = now.checked_add(self.interval.max(cost.saturating_mul(Self::REST)));
    }
}

/// Processor time of this thread.
pub(super) fn thread_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_longer_is_done_less_often() {
        let mut pace = Pace::new(Duration::from_secs(10));
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        assert!(pace.is_due(start));
        pace.done(start, Duration::from_millis(1));
        assert!(!pace.is_due(after(9)) && pace.is_due(after(10)));
        pace.done(after(10), Duration::from_millis(10));
        assert!(!pace.is_due(after(29)) && pace.is_due(after(30)));
    }

    #[test]
    fn the_time_of_this_thread_passes() {
        let start = thread_time();
        while thread_time() == start {}
        assert!(thread_time() > start);
    }
}
