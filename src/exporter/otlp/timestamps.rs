//! Finds timestamps that a worker cannot have meant.

use crate::event::view::View;
use std::time::{SystemTime, UNIX_EPOCH};

/// How far a timestamp may be from the sidecar's clock, in nanoseconds: a day. Clocks and time zones differ
/// by less, units by far more.
const MOST_NS: u64 = 24 * 60 * 60 * 1_000_000_000;

/// Checks timestamps and logs the first one that is odd.
#[derive(Debug)]
pub struct Timestamps {
    /// Recordings may be of any age.
    is_live: bool,
    is_logged: bool,
}

impl Timestamps {
    /// Checks the events of a worker, not those of a recording.
    pub fn new(is_live: bool) -> Self {
        Self { is_live, is_logged: false }
    }

    /// Whether an event has a timestamp more than a day from now.
    pub fn is_odd(&mut self, event: &View<'_>, now: SystemTime) -> bool {
        if !self.is_live {
            return false;
        }
        let now_ns = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let now_ns = i64::try_from(now_ns).unwrap_or(i64::MAX);
        let is_odd = event.timestamp_ns().abs_diff(now_ns) > MOST_NS;
        if is_odd && !self.is_logged {
            self.is_logged = true;
            log_odd(event, now_ns);
        }
        is_odd
    }
}

fn log_odd(event: &View<'_>, now_ns: i64) {
    let (name, seen) = (event.name(), event.timestamp_ns());
    tracing::info!(
        "otlp: {name}: timestamp_ns is {seen}, more than a day from now ({now_ns}); expected nanoseconds \
         since 1970. Such events are counted as timestamps_odd"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{event::proto::bridge::TelemetryEvent, system::log::capture};
    use std::time::Duration;

    #[test]
    fn timestamps_more_than_a_day_from_now_are_counted_and_logged_once() {
        const NOW_NS: i64 = 1_700_000_000_000_000_000;
        const DAY_NS: i64 = 86_400_000_000_000;
        let now = UNIX_EPOCH + Duration::from_nanos(NOW_NS.unsigned_abs());
        let event = |timestamp_ns| {
            let event_parts = vec!["a".into(), "stop".into()];
            TelemetryEvent { event_parts, timestamp_ns, ..TelemetryEvent::default() }
        };
        let odd = |timestamps: &mut Timestamps| {
            [NOW_NS - DAY_NS, NOW_NS + DAY_NS, 1_700_000_000, NOW_NS + DAY_NS + 1, i64::MIN]
                .map(|at| timestamps.is_odd(&View::from(&event(at)), now))
        };
        capture::take();
        let mut timestamps = Timestamps::new(true);
        let expected = [false, false, true, true, true];
        assert_eq!([odd(&mut timestamps), odd(&mut timestamps)], [expected; 2]);
        assert_eq!(
            capture::take(),
            ["telemetry-sidecar: otlp: a.stop: timestamp_ns is 1700000000, more than a day from now \
              (1700000000000000000); expected nanoseconds since 1970. Such events are counted as \
              timestamps_odd\n"]
        );
        assert_eq!(odd(&mut Timestamps::new(false)), [false; 5]);
    }
}
