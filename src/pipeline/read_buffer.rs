//! The bytes that were read and are not finished yet, with room behind them for the next read.

/// The size of a page of memory, or a part of it.
const PAGE_BYTES: usize = 4096;

/// The C library maps memory for allocations of more than 128 KiB, and clears smaller ones itself.
const MAPPED_BYTES: usize = 128 * 1024 + PAGE_BYTES;

/// A buffer whose front is cut off as lines are finished.
#[derive(Debug, Default)]
pub(super) struct ReadBuffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl ReadBuffer {
    /// Room for a read of `size` bytes, to be followed by [`add`](Self::add).
    pub(super) fn spare(&mut self, size: usize) -> &mut [u8] {
        let kept = self.end - self.start;
        if kept == 0 && self.bytes.len() > 4 * (size + PAGE_BYTES).max(MAPPED_BYTES) {
            // Free the memory that a long line needed.
            *self = Self::default();
        }
        if self.bytes.is_empty() {
            // Zeroed by the system: pages that no read touches cost nothing.
            self.bytes = vec![0; (size + 2 * PAGE_BYTES).max(MAPPED_BYTES)];
        }
        // Moving what is kept only when it is the smaller part keeps the cost of long lines linear.
        let end = self.page_at_or_after(kept);
        if self.start >= kept && end <= self.bytes.len() {
            self.bytes.copy_within(self.start..self.end, end - kept);
            (self.start, self.end) = (end - kept, end);
        }
        let needed = self.end + size;
        if self.bytes.len() < needed {
            self.bytes.resize(needed.max(self.end + kept), 0);
        }
        self.bytes.get_mut(self.end..needed).unwrap_or_default()
    }

    /// Adds `count` bytes that were read into the [spare room](Self::spare), and returns them.
    pub(super) fn add(&mut self, count: usize) -> &[u8] {
        let from = self.end;
        self.end = self.bytes.len().min(from + count);
        self.bytes.get(from..self.end).unwrap_or_default()
    }

    /// The bytes that were added and not removed.
    pub(super) fn unfinished(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    /// The last of them.
    pub(super) fn last(&self, count: usize) -> &[u8] {
        let unfinished = self.unfinished();
        unfinished.get(unfinished.len().saturating_sub(count)..).unwrap_or_default()
    }

    /// Removes `count` bytes at the front.
    pub(super) fn remove(&mut self, count: usize) {
        self.start = self.end.min(self.start + count);
    }

    /// The first index in the buffer, `least` or above, at which a page starts.
    ///
    /// A pipe's bytes lie in pages. Some processors (AMD's Zen) need twice the time to copy to a place a few
    /// bytes further into its page than the source, because every load seems to depend on the store before.
    fn page_at_or_after(&self, least: usize) -> usize {
        let first = self.bytes.as_ptr().align_offset(PAGE_BYTES);
        first + least.saturating_sub(first).next_multiple_of(PAGE_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unfinished_bytes_survive_moves_and_growth_and_memory_is_freed_afterwards() {
        let mut buffer = ReadBuffer::default();
        let mut expected = Vec::new();
        for round in 0..200_u8 {
            let size = 1 + usize::from(round) * 1037;
            buffer.spare(size).fill(round);
            assert_eq!(buffer.add(size), vec![round; size]);
            expected.extend(vec![round; size]);
            let finished = expected.len() / if round % 2 == 0 { 3 } else { 50 };
            buffer.remove(finished);
            expected.drain(..finished);
            assert_eq!(buffer.unfinished(), expected);
        }
        buffer.remove(expected.len());
        assert!(buffer.unfinished().is_empty());
        buffer.spare(1);
        assert!(buffer.bytes.len() <= MAPPED_BYTES);
    }
}
