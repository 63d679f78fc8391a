//! `replay --pace`: the recorded time between events.

use std::{
    thread,
    time::{Duration, Instant},
};

/// A clock that starts with the first event.
#[derive(Debug, Default)]
pub struct Pace {
    start: Option<(Instant, i64)>,
}

impl Pace {
    /// Sleeps until it is time for an event of this recorded time, in nanoseconds.
    pub fn wait_for(&mut self, timestamp_ns: i64) {
        thread::sleep(self.wait(timestamp_ns, Instant::now()));
    }

    /// How long it is until then.
    fn wait(&mut self, timestamp_ns: i64, now: Instant) -> Duration {
        let (started, first_ns) = *self.start.get_or_insert((now, timestamp_ns));
        // One recorded earlier than the first is late already.
        let after = u64::try_from(timestamp_ns.saturating_sub(first_ns)).unwrap_or(0);
        (started + Duration::from_nanos(after)).saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_runs_from_the_first_event_on() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut pace = Pace::default();
        let mut wait = |timestamp_s: i64, now| pace.wait(timestamp_s.saturating_mul(1_000_000_000), now);
        assert_eq!(wait(1_000, start), Duration::ZERO);
        assert_eq!(wait(1_003, start), 3 * second);
        // What took time meanwhile is not waited for again, and who is late catches up.
        assert_eq!(wait(1_005, start + 4 * second), second);
        assert_eq!(wait(1_006, start + 9 * second), Duration::ZERO);
        // Recorded before the first: the clock was set back, or another file begins.
        assert_eq!(wait(7, start), Duration::ZERO);
        assert_eq!(wait(i64::MIN, start), Duration::ZERO);
        assert!(wait(i64::MAX, start) > 3_600 * second);
    }
}
