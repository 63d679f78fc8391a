//! Rate limits for log lines that peers and servers can cause again and again.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// A limit for the messages of one call site that peers and servers can cause again and again.
#[derive(Debug)]
pub struct RateLimit {
    max_lines: u32,
    window: Mutex<Window>,
}

#[derive(Debug)]
struct Window {
    start: Option<Instant>,
    lines: u32,
    suppressed: u64,
}

impl RateLimit {
    /// How long a window is.
    const WINDOW: Duration = Duration::from_secs(10);
    /// Lines in a window at level INFO: for operators, who need to see that something fails, not each time.
    pub const INFO: u32 = 1;
    /// Lines in a window at level DEBUG: for those who look at single connections.
    pub const DEBUG: u32 = 10;

    /// A limit of `max_lines` in ten seconds.
    pub const fn new(max_lines: u32) -> Self {
        let window = Window { start: None, lines: 0, suppressed: 0 };
        Self { max_lines, window: Mutex::new(window) }
    }

    /// Whether a line may be logged now; if so, how many were suppressed since the last one.
    pub fn permit(&self, now: Instant) -> Option<u64> {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if window.start.is_none_or(|start| now.saturating_duration_since(start) >= Self::WINDOW) {
            window.start = Some(now);
            window.lines = 0;
        }
        if window.lines == self.max_lines {
            window.suppressed += 1;
            return None;
        }
        window.lines += 1;
        Some(std::mem::take(&mut window.suppressed))
    }
}

/// `limited!(INFO, "message")`: an event at this level, within the [`RateLimit`] of the call site. If events
/// were suppressed, the next one says how many.
macro_rules! limited {
    ($level:ident, $($event:tt)+) => {
        if tracing::enabled!(tracing::Level::$level) {
            use $crate::system::rate_limit::RateLimit;
            static LIMIT: RateLimit = RateLimit::new(RateLimit::$level);
            if let Some(suppressed) = LIMIT.permit(std::time::Instant::now()) {
                let suppressed = (suppressed > 0).then_some(suppressed);
                tracing::event!(tracing::Level::$level, suppressed, $($event)+);
            }
        }
    };
}
pub(crate) use limited;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::log::capture;

    #[test]
    fn a_rate_limit_counts_what_it_suppresses_until_the_next_window() {
        let limit = RateLimit::new(2);
        let start = Instant::now();
        let permit = |seconds| limit.permit(start + Duration::from_secs(seconds));
        assert_eq!([permit(0), permit(9), permit(9), permit(9)], [Some(0), Some(0), None, None]);
        assert_eq!([permit(10), permit(19), permit(19)], [Some(2), Some(0), None]);
        assert_eq!(permit(100), Some(1));
        // A time that another thread took before is no error.
        assert_eq!(permit(99), Some(0));
    }

    #[test]
    fn a_limited_event_is_logged_once_in_a_window() {
        capture::take();
        for number in 0..3 {
            limited!(INFO, number, "event");
        }
        assert_eq!(capture::take(), ["telemetry-sidecar: event number=0\n"]);
    }
}
