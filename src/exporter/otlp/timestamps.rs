//! Finds timestamps that a worker cannot have meant.

use crate::exporter::event::Event;
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

    /// How many events have a timestamp more than a day from now.
    pub fn odd(&mut self, events: &[Event], now: SystemTime) -> u64 {
        if !self.is_live {
            return 0;
        }
        let now_ns = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let now_ns = i64::try_from(now_ns).unwrap_or(i64::MAX);
        let is_odd = |event: &&Event| event.event.timestamp_ns.abs_diff(now_ns) > MOST_NS;
        let mut odd = events.iter().filter(is_odd).peekable();
        if let Some(first) = odd.peek()
            && !self.is_logged
        {
            self.is_logged = true;
            log_odd(first, now_ns);
        }
        odd.count() as u64
    }
}

fn log_odd(event: &Event, now_ns: i64) {
    let (name, seen) = (event.name(), event.event.timestamp_ns);
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
        let events: Vec<Event> =
            [NOW_NS - DAY_NS, NOW_NS + DAY_NS, 1_700_000_000, NOW_NS + DAY_NS + 1, i64::MIN]
                .map(|timestamp_ns| {
                    let event_parts = vec!["a".into(), "stop".into()];
                    TelemetryEvent { event_parts, timestamp_ns, ..TelemetryEvent::default() }.into()
                })
                .into();
        capture::take();
        let mut timestamps = Timestamps::new(true);
        assert_eq!((timestamps.odd(&events, now), timestamps.odd(&events, now)), (3, 3));
        assert_eq!(
            capture::take(),
            ["telemetry-sidecar: otlp: a.stop: timestamp_ns is 1700000000, more than a day from now \
              (1700000000000000000); expected nanoseconds since 1970. Such events are counted as \
              timestamps_odd\n"]
        );
        assert_eq!(Timestamps::new(false).odd(&events, now), 0);
    }
}
