//! Counts of the last seconds: rates and their course.

use crate::exporter::digest::{Digest, Operation};
use std::collections::VecDeque;

/// How many seconds a rate is the mean of: with fewer, rare events would make it jump.
const RATE_SECONDS: usize = 5;

/// How many seconds of the course are kept.
const COURSE_SECONDS: usize = 60;

/// A counter that is looked at each second.
#[derive(Debug, Clone, Default)]
pub(super) struct Window {
    last: Option<u64>,
    /// The increases of the last seconds, oldest first.
    increases: VecDeque<f64>,
}

impl Window {
    /// The count now, `seconds` after the last one. The first one is where it starts.
    #[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
    pub(super) fn add(&mut self, count: u64, seconds: f64) {
        let last = self.last.replace(count);
        if let Some(last) = last.filter(|_| seconds > 0.0) {
            self.add_rate(count.saturating_sub(last) as f64 / seconds);
        }
    }

    /// The increase of the last second.
    pub(super) fn add_rate(&mut self, rate: f64) {
        if self.increases.len() >= COURSE_SECONDS {
            self.increases.pop_front();
        }
        self.increases.push_back(rate);
    }

    /// The increase each second; none before there are two counts.
    #[allow(clippy::cast_precision_loss, reason = "it is a small number")]
    pub(super) fn rate(&self) -> Option<f64> {
        let seconds = self.increases.len().min(RATE_SECONDS);
        let sum: f64 = self.increases.iter().rev().take(RATE_SECONDS).sum();
        (seconds > 0).then(|| sum / seconds as f64)
    }

    /// The rates of the last seconds, oldest first.
    pub(super) fn course(&self) -> Vec<f64> {
        self.increases.iter().copied().collect()
    }
}

/// The rates of a digest's operations.
#[derive(Debug, Clone, Default)]
pub(super) struct Rates {
    /// In the order of the operations, which a digest only adds to.
    windows: Vec<Window>,
}

impl Rates {
    pub(super) fn tick(&mut self, digest: &Digest, seconds: f64) {
        let is_first = self.windows.is_empty();
        for (at, operation) in digest.operations().iter().enumerate() {
            if self.windows.len() <= at {
                let mut window = Window::default();
                // An operation that was not there before has started at 0.
                if !is_first {
                    window.add(0, seconds);
                }
                self.windows.push(window);
            }
            if let Some(window) = self.windows.get_mut(at) {
                window.add(operation.count(), seconds);
            }
        }
    }

    /// The rate of an operation of this digest.
    pub(super) fn of(&self, digest: &Digest, operation: &Operation) -> Option<f64> {
        let at = digest.operations().iter().position(|known| std::ptr::eq(known, operation))?;
        self.windows.get(at)?.rate()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_the_mean_of_the_last_seconds() {
        let mut window = Window::default();
        window.add(1_000, 1.0);
        assert_eq!(window.rate(), None);
        window.add(1_010, 1.0);
        assert_eq!(window.rate(), Some(10.0));
        window.add(1_010, 1.0);
        assert_eq!(window.rate(), Some(5.0));
        for _ in 0..100 {
            window.add(2_000, 2.0);
        }
        assert_eq!((window.rate(), window.course().len()), (Some(0.0), COURSE_SECONDS));
        // A counter that starts again.
        window.add(0, 1.0);
        assert_eq!(window.rate(), Some(0.0));
    }
}
