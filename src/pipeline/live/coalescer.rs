//! Reads that follow one another closely are read together.

use std::time::{Duration, Instant};

/// Reads that follow one another within this time are coalesced.
const COALESCE_WINDOW: Duration = Duration::from_micros(400);

/// Decides which waits are replaced by the coalesce delay.
#[derive(Default)]
pub(super) struct ReadCoalescer {
    last_read: Option<Instant>,
    /// Whether the last two reads followed one another closely, so that the next one probably will, too.
    delays_next: bool,
}

impl ReadCoalescer {
    pub(super) fn note_read(&mut self, now: Instant) {
        let last = self.last_read.replace(now);
        self.delays_next = last.is_some_and(|last| now - last < COALESCE_WINDOW);
    }

    /// True once for each read that followed closely: after a delay without bytes the reader waits for the
    /// next ones.
    pub(super) fn take_delay(&mut self) -> bool {
        std::mem::take(&mut self.delays_next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_read_within_the_coalesce_window_causes_one_delay() {
        let mut coalescer = ReadCoalescer::default();
        let mut now = Instant::now();
        let mut delays_after = |pause| {
            now += pause;
            coalescer.note_read(now);
            (coalescer.take_delay(), coalescer.take_delay())
        };
        assert_eq!(delays_after(Duration::ZERO), (false, false), "the first");
        assert_eq!(delays_after(COALESCE_WINDOW / 2), (true, false));
        assert_eq!(delays_after(Duration::ZERO), (true, false));
        assert_eq!(delays_after(COALESCE_WINDOW), (false, false));
        assert_eq!(delays_after(COALESCE_WINDOW / 2), (true, false));
    }
}
