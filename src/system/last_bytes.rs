//! The last bytes of a stream.

/// A ring of a fixed size.
#[derive(Debug)]
pub struct LastBytes {
    ring: Box<[u8]>,
    /// Where the next byte goes: the oldest one is there, once the ring is full.
    next: usize,
    /// Whether bytes were overwritten.
    is_cut: bool,
    is_full: bool,
}

impl LastBytes {
    /// Keeps this many bytes, at least 1.
    pub fn new(size: usize) -> Self {
        Self { ring: vec![0; size.max(1)].into(), next: 0, is_cut: false, is_full: false }
    }

    /// Adds the slices in order. Copies only the bytes that stay.
    pub fn add<'b>(&mut self, slices: impl Iterator<Item = &'b [u8]> + Clone) {
        let total: usize = slices.clone().map(<[u8]>::len).sum();
        let mut skipped = total.saturating_sub(self.ring.len());
        self.is_cut |= skipped > 0;
        for slice in slices {
            let kept = slice.get(skipped..).unwrap_or_default();
            skipped = skipped.saturating_sub(slice.len());
            self.copy(kept);
        }
    }

    /// Copies a slice that is no longer than the ring.
    fn copy(&mut self, slice: &[u8]) {
        self.is_cut |= self.is_full && !slice.is_empty();
        let room = self.ring.len() - self.next;
        let (end, start) = slice.split_at_checked(room).unwrap_or((slice, &[]));
        for (at, part) in [(self.next, end), (0, start)] {
            if let Some(target) = self.ring.get_mut(at..at + part.len()) {
                target.copy_from_slice(part);
            }
        }
        self.is_cut |= !start.is_empty();
        self.is_full |= slice.len() >= room;
        self.next = if slice.len() >= room { start.len() } else { self.next + slice.len() };
    }

    /// The bytes in order, and whether there were others before them.
    pub fn take(self) -> (Vec<u8>, bool) {
        let (start, end) = self.ring.split_at_checked(self.next).unwrap_or((&self.ring, &[]));
        let bytes = if self.is_full { [end, start].concat() } else { start.to_vec() };
        (bytes, self.is_cut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn keeps_the_end_however_it_comes(
            size in 1usize..20,
            writes in proptest::collection::vec(
                proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..30), 0..4), 0..6),
        ) {
            let mut last = LastBytes::new(size);
            for slices in &writes {
                last.add(slices.iter().map(Vec::as_slice));
            }
            let all = writes.concat().concat();
            let kept = all.len().saturating_sub(size);
            prop_assert_eq!(last.take(), (all[kept..].to_vec(), kept > 0));
        }
    }
}
