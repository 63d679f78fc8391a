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
        let (started, first_ns) = *self.start.get_or_insert_with(|| (Instant::now(), timestamp_ns));
        // One recorded earlier than the first is late already.
        let after = u64::try_from(timestamp_ns.saturating_sub(first_ns)).unwrap_or(0);
        thread::sleep((started + Duration::from_nanos(after)).saturating_duration_since(Instant::now()));
    }
}
