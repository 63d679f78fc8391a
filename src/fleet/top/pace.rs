//! The time that events are counted over.

use std::time::Duration;

/// What events are counted over.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Pace {
    /// The last seconds.
    Live,
    /// The mean over recordings that cover this many seconds, more than 0.
    Mean(f64),
    /// A recording that does not say when its events came.
    Unknown,
}

impl Pace {
    /// The mean over recordings with these first and last timestamps in nanoseconds, if all have them. Time
    /// that several of them cover counts once.
    pub(super) fn over(spans: impl IntoIterator<Item = Option<(i64, i64)>>) -> Self {
        let Some(mut spans) = spans.into_iter().collect::<Option<Vec<_>>>() else { return Self::Unknown };
        spans.sort_unstable();
        let mut covered = Duration::ZERO;
        let mut end = i64::MIN;
        for (first, last) in spans {
            covered = covered.saturating_add(Duration::from_nanos(last.abs_diff(first.max(end).min(last))));
            end = end.max(last);
        }
        if covered.is_zero() { Self::Unknown } else { Self::Mean(covered.as_secs_f64()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_that_several_recordings_cover_counts_once() {
        let seconds = |from: i64, to: i64| Some((from * 1_000_000_000, to * 1_000_000_000));
        assert_eq!(Pace::over([seconds(1, 8)]), Pace::Mean(7.0));
        assert_eq!(Pace::over([seconds(3, 8), seconds(1, 8), seconds(2, 3)]), Pace::Mean(7.0));
        assert_eq!(Pace::over([seconds(1, 8), seconds(5, 9)]), Pace::Mean(8.0));
        // Nothing was recorded between them.
        assert_eq!(Pace::over([seconds(101, 102), seconds(1, 8), seconds(4, 4)]), Pace::Mean(8.0));
        assert_eq!(Pace::over([Some((i64::MIN, i64::MAX))]), Pace::Mean(18_446_744_073.709_553));
        assert_eq!(Pace::over([seconds(1, 8), None]), Pace::Unknown);
        assert_eq!(Pace::over([seconds(3, 3)]), Pace::Unknown);
        assert_eq!(Pace::over([]), Pace::Unknown);
    }
}
