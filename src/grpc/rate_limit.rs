//! A rate limiter.

use std::time::{Duration, Instant};

/// The burst that is allowed after an idle time, as the time in which it would arrive at the steady rate.
const BURST: Duration = Duration::from_secs(1);

/// A token bucket, represented by the time at which it will be full.
#[derive(Debug)]
pub struct Throttle {
    each: Duration,
    full_at: Instant,
}

impl Throttle {
    /// A full bucket that holds the permits of one second, at least one.
    pub fn per_second(count: u32, now: Instant) -> Self {
        Self { each: Duration::from_secs(1) / count.max(1), full_at: now }
    }

    /// Takes `count` permits and returns how long to wait before using them. The balance may become negative,
    /// so that a request larger than the bucket passes; the next requests wait for it.
    pub fn take(&mut self, count: u32, now: Instant) -> Duration {
        let full_at = self.full_at.max(now);
        self.full_at = full_at + self.each * count;
        full_at.saturating_duration_since(now + BURST)
    }

    /// Takes `count` permits if they may be used at once, else none.
    pub fn take_at_once(&mut self, count: u32, now: Instant) -> bool {
        let before = self.full_at;
        let at_once = self.take(count, now).is_zero();
        if !at_once {
            self.full_at = before;
        }
        at_once
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_permits_of_one_second_are_available_at_once_and_then_at_the_rate() {
        let start = Instant::now();
        let mut throttle = Throttle::per_second(10, start);
        let waits: Vec<_> = (0..13).map(|_| throttle.take(1, start).as_millis()).collect();
        assert_eq!(waits, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 100, 200]);
        // After a long idle time the bucket is full, and not more than full.
        let later = start + Duration::from_secs(60);
        let waits: Vec<_> = (0..12).map(|_| throttle.take(1, later).as_millis()).collect();
        assert_eq!((waits[10], waits[11]), (0, 100));
    }

    #[test]
    fn permits_that_may_not_be_used_at_once_are_left() {
        let start = Instant::now();
        let mut throttle = Throttle::per_second(10, start);
        let taken: Vec<_> = (0..13).filter(|_| throttle.take_at_once(1, start)).collect();
        assert_eq!(taken.len(), 11);
        assert_eq!(throttle.take(1, start).as_millis(), 100);
    }

    #[test]
    fn a_request_larger_than_the_bucket_passes_and_delays_the_next() {
        let start = Instant::now();
        let mut throttle = Throttle::per_second(100, start);
        assert_eq!(throttle.take(1_024, start), Duration::ZERO);
        assert_eq!(throttle.take(1, start), Duration::from_millis(9_240));
    }
}
