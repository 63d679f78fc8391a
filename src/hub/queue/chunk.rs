//! How events leave a queue: in chunks of whole frames.

use super::{Queue, SMALL_RUN_BYTES};
use crate::event::batch::{FrameSlice, Frames};
use std::{ops::Range, sync::Arc};

impl Queue<Frames> {
    /// Takes whole frames, as many as fit `most` bytes and at least one.
    pub(in crate::hub) fn take(&mut self, most: usize) -> Option<FrameSlice> {
        let small = self.small_runs(most);
        if small.count < 2 {
            return self.take_run(most).map(|(frames, events)| FrameSlice::new(frames, events));
        }
        // The consumer may still have the last one.
        let unused = self.copied.take().filter(|last| Arc::strong_count(last) == 1);
        let mut copied = unused.unwrap_or_default();
        let chunk = Arc::get_mut(&mut copied)?;
        chunk.clear();
        chunk.reserve(small.bytes, small.events);
        for _ in 0..small.count {
            let (frames, events) = self.take_run(usize::MAX)?;
            chunk.append(&frames, events);
        }
        self.copied = Some(Arc::clone(&copied));
        Some(FrameSlice::new(copied, 0..small.events))
    }

    /// The small runs at the front that fit `most` bytes together.
    fn small_runs(&self, most: usize) -> SmallRuns {
        let mut small = SmallRuns::default();
        for run in &self.runs {
            let bytes = run.bytes();
            if bytes > SMALL_RUN_BYTES || small.bytes + bytes > most {
                break;
            }
            small.count += 1;
            small.bytes += bytes;
            small.events += run.events.len();
        }
        small
    }

    /// Takes frames of the oldest run, as many as fit `most` bytes and at least one.
    fn take_run(&mut self, most: usize) -> Option<(Arc<Frames>, Range<usize>)> {
        let run = self.runs.front()?;
        let fitting = run.stored.count_within(run.events.clone(), most).max(1);
        let events = run.events.start..run.events.end.min(run.events.start + fitting);
        let frames = Arc::clone(&run.stored);
        self.remove_oldest(events.len());
        Some((frames, events))
    }
}

/// Runs at the front of a queue.
#[derive(Default)]
struct SmallRuns {
    count: usize,
    bytes: usize,
    events: usize,
}
