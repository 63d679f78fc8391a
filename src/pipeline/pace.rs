//! `replay --pace`: keeps the recorded time between events.

use crate::system::log::PRINT_INTERVAL;
use std::{
    thread,
    time::{Duration, Instant},
};

/// Maps recorded time to real time, starting with the first event.
#[derive(Debug, Default)]
pub struct Pace {
    start: Option<(Instant, i64)>,
}

impl Pace {
    /// Sleeps until an event recorded at `timestamp_ns` is due, and calls `idle` several times a second.
    pub fn wait_for(&mut self, timestamp_ns: i64, idle: &mut dyn FnMut()) {
        loop {
            let left = self.wait(timestamp_ns, Instant::now());
            thread::sleep(left.min(PRINT_INTERVAL));
            if left <= PRINT_INTERVAL {
                return;
            }
            idle();
        }
    }

    /// The time until then.
    fn wait(&mut self, timestamp_ns: i64, now: Instant) -> Duration {
        let (started, first_ns) = *self.start.get_or_insert((now, timestamp_ns));
        // An event recorded before the first one is due at once.
        let after = u64::try_from(timestamp_ns.saturating_sub(first_ns)).unwrap_or(0);
        (started + Duration::from_nanos(after)).saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_due_at_their_recorded_distance_from_the_first() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut pace = Pace::default();
        let mut wait = |timestamp_s: i64, now| pace.wait(timestamp_s.saturating_mul(1_000_000_000), now);
        assert_eq!(wait(1_000, start), Duration::ZERO);
        assert_eq!(wait(1_003, start), 3 * second);
        // Elapsed time counts, and late events are due at once.
        assert_eq!(wait(1_005, start + 4 * second), second);
        assert_eq!(wait(1_006, start + 9 * second), Duration::ZERO);
        // Recorded before the first event: the clock was set back, or another file starts.
        assert_eq!(wait(7, start), Duration::ZERO);
        assert_eq!(wait(i64::MIN, start), Duration::ZERO);
        assert!(wait(i64::MAX, start) > 3_600 * second);
    }
}
