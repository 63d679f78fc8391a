//! Reads whose lines are processed later.
//!
//! Between two flushes an event can wait for its consumers or in the buffer. Decoding events one by one costs
//! more: each time, other programs have displaced the decoder from the processor's caches.

use std::time::{Duration, Instant};

/// How many bytes are deferred at most. With more, little is gained, and the worker's pipe would fill.
const MAX_BYTES: usize = 16 * 1024;

/// How long bytes are deferred at most. A telemetry line that does not decode waits, too, and then passes.
const MAX_TIME: Duration = Duration::from_millis(5);

/// What was read and not processed.
#[derive(Debug, Default)]
pub(super) struct Deferred {
    bytes: usize,
    /// The end of each read among these bytes, and its time in nanoseconds since the Unix epoch.
    reads: Vec<(usize, i64)>,
    /// When they are to be processed.
    due: Option<Instant>,
}

impl Deferred {
    /// The number of bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// When they are to be processed, if there are any.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether another read of this size can be deferred.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.bytes + bytes <= MAX_BYTES
    }

    /// Adds a read.
    pub(super) fn add(&mut self, bytes: usize, now: Instant, now_ns: i64) {
        self.bytes += bytes;
        self.reads.push((self.bytes, now_ns));
        self.due = self.due.or_else(|| now.checked_add(MAX_TIME));
    }

    /// Forgets them: they are processed.
    pub(super) fn clear(&mut self) {
        (self.bytes, self.due) = (0, None);
        self.reads.clear();
    }

    /// When the byte at this offset was read, if it was deferred.
    pub(super) fn read_ns(&self, offset: usize) -> Option<i64> {
        let read = self.reads.partition_point(|(end, _)| *end <= offset);
        self.reads.get(read).map(|(_, now_ns)| *now_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_has_the_time_of_its_read_and_the_first_read_sets_the_deadline() {
        let start = Instant::now();
        let mut deferred = Deferred::default();
        assert_eq!((deferred.bytes(), deferred.due(), deferred.read_ns(0)), (0, None, None));
        for (milliseconds, bytes) in [(0, 10), (1, 5)] {
            let now = start + Duration::from_millis(milliseconds);
            deferred.add(bytes, now, i64::try_from(milliseconds).unwrap());
        }
        assert_eq!((deferred.bytes(), deferred.due()), (15, Some(start + MAX_TIME)));
        let times = [0, 9, 10, 14, 15].map(|offset| deferred.read_ns(offset));
        assert_eq!(times, [Some(0), Some(0), Some(1), Some(1), None]);
        assert!(deferred.has_room(MAX_BYTES - 15) && !deferred.has_room(MAX_BYTES - 14));
        deferred.clear();
        assert_eq!((deferred.bytes(), deferred.due(), deferred.read_ns(0)), (0, None, None));
    }
}
