//! How often something may happen.

use std::time::{Duration, Instant};

/// What may come at once when nothing has come for a while, as the time in which it would come evenly.
const BURST: Duration = Duration::from_secs(1);

/// A bucket that fills evenly, kept as the time at which it will be full.
#[derive(Debug)]
pub struct Throttle {
    each: Duration,
    full_at: Instant,
}

impl Throttle {
    /// A full bucket that holds one second's worth; at least 1.
    pub fn per_second(count: u32, now: Instant) -> Self {
        Self { each: Duration::from_secs(1) / count.max(1), full_at: now }
    }

    /// Takes so many, and tells how long to wait before they may be used. It may run into debt, which those who come
    /// next wait for: something larger than the bucket passes as well.
    pub fn take(&mut self, count: u32, now: Instant) -> Duration {
        let full_at = self.full_at.max(now);
        self.full_at = full_at + self.each * count;
        full_at.saturating_duration_since(now + BURST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seconds_worth_at_once_and_then_evenly() {
        let start = Instant::now();
        let mut throttle = Throttle::per_second(10, start);
        let waits: Vec<_> = (0..13).map(|_| throttle.take(1, start).as_millis()).collect();
        assert_eq!(waits, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 100, 200]);
        // Idle for long, it is full again, and no fuller.
        let later = start + Duration::from_secs(60);
        let waits: Vec<_> = (0..12).map(|_| throttle.take(1, later).as_millis()).collect();
        assert_eq!((waits[10], waits[11]), (0, 100));
    }

    #[test]
    fn a_large_one_passes_and_the_next_one_waits_for_it() {
        let start = Instant::now();
        let mut throttle = Throttle::per_second(100, start);
        assert_eq!(throttle.take(1_024, start), Duration::ZERO);
        assert_eq!(throttle.take(1, start), Duration::from_millis(9_240));
    }
}
