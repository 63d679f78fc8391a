//! Start times of processes.

use super::process::ticks_per_second;
use std::{
    fs,
    time::{Duration, SystemTime},
};

/// Converts start times.
pub(super) struct Clock {
    now: SystemTime,
    since_boot: Duration,
    ticks_per_second: u64,
}

impl Clock {
    pub(super) fn read() -> Self {
        let since_boot = fs::read_to_string("/proc/uptime").unwrap_or_default();
        let seconds = since_boot.split(' ').next().and_then(|seconds| seconds.parse().ok()).unwrap_or(0.0);
        Self {
            now: SystemTime::now(),
            since_boot: Duration::try_from_secs_f64(seconds).unwrap_or_default(),
            ticks_per_second: ticks_per_second(),
        }
    }

    /// The time of this many ticks after the boot.
    pub(super) fn time(&self, ticks: u64) -> SystemTime {
        let start = Duration::from_millis(ticks.saturating_mul(1000) / self.ticks_per_second.max(1));
        self.now.checked_sub(self.since_boot.saturating_sub(start)).unwrap_or(self.now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_time_is_counted_from_the_boot() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let clock = Clock { now, since_boot: Duration::from_secs(100), ticks_per_second: 100 };
        assert_eq!(clock.time(9_000), now - Duration::from_secs(10));
        assert_eq!(clock.time(u64::MAX), now);
    }
}
