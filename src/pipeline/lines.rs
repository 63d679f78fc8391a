//! A copy of the ordinary bytes for the output that makes log records of them.
//!
//! The thread that reads the worker's stderr copies the bytes of each read once, whether or not stderr takes
//! them, into a bounded queue. It never waits there for a live worker: whole lines for which there is no room
//! are dropped and counted (`writer`). In a replay it waits.
//!
//! # Order among events
//!
//! Events go to the same output through the hub. So each piece of the copy has its [`Position`] among them,
//! and comes before the events that follow it. Bytes are copied before the events of the same read are
//! published. So the copy of what stood before an event is there when the event arrives, and the events that
//! stood before a [`Chunk`] have arrived when [`LineReader::published`] has reached its number and nothing is
//! left in the hub's queue.

mod writer;

pub use writer::{LineWriter, Read};

use crate::system::log::PRINT_INTERVAL;
use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

/// The most memory that the copy may take until it has been worked through: a second of a worker that logs
/// thousands of long lines.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// What a chunk takes besides its bytes and pieces, at most.
const OVERHEAD_BYTES: usize = 160;

/// How long the reader lets bytes collect, unless the queue is half full. One wake-up serves all these lines.
const COLLECT: Duration = Duration::from_millis(100);

/// A place in the worker's stream, by the events before it: the largest timestamp, and how many events there
/// are from the first one that has it. So an event with an earlier timestamp than the one before it, as
/// threads write them now and then, is a step as well. Timestamps are nanoseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    timestamp_ns: i64,
    count: usize,
}

impl Default for Position {
    fn default() -> Self {
        Self { timestamp_ns: i64::MIN, count: 0 }
    }
}

impl Position {
    /// The place after another event.
    #[must_use]
    pub fn after(self, timestamp_ns: i64) -> Self {
        if timestamp_ns > self.timestamp_ns {
            Self { timestamp_ns, count: 1 }
        } else {
            Self { count: self.count.saturating_add(1), ..self }
        }
    }

    /// Whether a reader that has come to `other` has taken all events before this place. It may have taken
    /// them even if not: where it does not get all events, or others are between them.
    pub fn is_reached_at(self, other: Self) -> bool {
        self.timestamp_ns == other.timestamp_ns && self.count <= other.count
    }

    /// Whether it is before an event with this timestamp, of which the reader has seen `seen` in a row.
    pub fn is_before(self, timestamp_ns: i64, seen: usize) -> bool {
        self.timestamp_ns < timestamp_ns || (self.timestamp_ns == timestamp_ns && self.count <= seen)
    }
}

/// The copy of the ordinary bytes of one read.
#[derive(Debug)]
pub struct Chunk {
    /// The bytes. Where lines were dropped an unfinished one before them was given its newline.
    pub bytes: Vec<u8>,
    /// The ends of pieces in `bytes`, each with the position of the piece among events.
    pub pieces: Vec<(usize, Position)>,
    /// When they were read, in nanoseconds since the Unix epoch.
    pub read_ns: i64,
    /// Later chunks have higher numbers.
    pub number: u64,
}

impl Chunk {
    /// The memory that it takes, in bytes.
    pub fn memory(&self) -> usize {
        self.bytes.capacity() + self.pieces.capacity() * size_of::<(usize, Position)>() + OVERHEAD_BYTES
    }
}

/// What was not copied.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Missed {
    /// Whole lines, without blank ones.
    pub lines: u64,
    /// Bytes at the end of lines whose start was copied.
    pub cut_bytes: u64,
}

/// A bounded queue of ordinary bytes, from one thread to one output.
#[derive(Debug)]
pub struct LineTap {
    state: Mutex<State>,
    /// There is room again, or the reader has ended.
    room: Condvar,
    /// There is something to read, or the queue is half full.
    filled: Notify,
    /// Whether the writer waits for room instead of dropping lines.
    lossless: bool,
}

#[derive(Debug, Default)]
struct State {
    chunks: VecDeque<Chunk>,
    /// The memory of what the reader has not yet worked through, in bytes.
    used: usize,
    /// The number of the last chunk whose events were published.
    published: u64,
    missed: Missed,
    closed: bool,
}

impl State {
    fn has_room(&self, bytes: usize) -> bool {
        self.used == 0 || self.used + bytes <= MAX_BYTES
    }
}

impl LineTap {
    /// An empty queue. With `lossless` the writer waits for room.
    pub fn new(lossless: bool) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), room: Condvar::new(), filled: Notify::new(), lossless })
    }

    /// The end for the output. Without it nothing may wait for room.
    pub fn reader(self: &Arc<Self>) -> LineReader {
        LineReader { tap: Arc::clone(self), since: None }
    }

    /// Adds a chunk, for which there must be room.
    fn push(&self, chunk: Chunk) {
        let mut state = self.lock();
        let (was_empty, before) = (state.chunks.is_empty(), state.used);
        state.used += chunk.memory();
        state.chunks.push_back(chunk);
        let is_half_full = before < MAX_BYTES / 2 && state.used >= MAX_BYTES / 2;
        drop(state);
        if was_empty || is_half_full {
            self.filled.notify_one();
        }
    }

    /// Waits for room, or for the reader's end. Meanwhile it calls `idle` several times a second.
    fn wait_for_room(&self, bytes: usize, idle: &mut dyn FnMut()) {
        let mut state = self.lock();
        while !state.closed && !state.has_room(bytes) {
            let (locked, timeout) =
                self.room.wait_timeout(state, PRINT_INTERVAL).unwrap_or_else(PoisonError::into_inner);
            state = locked;
            if timeout.timed_out() {
                drop(state);
                idle();
                state = self.lock();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The output's end. When it is dropped nothing more is copied.
#[derive(Debug)]
pub struct LineReader {
    tap: Arc<LineTap>,
    /// Since when there is something to read.
    since: Option<Instant>,
}

impl LineReader {
    /// Waits until there is something to read, and then until the bytes have collected for a tenth of a
    /// second or the queue is half full. Nothing is lost if the future is dropped.
    pub async fn collected(&mut self) {
        loop {
            let (is_empty, is_half_full) = {
                let state = self.tap.lock();
                (state.chunks.is_empty(), state.used >= MAX_BYTES / 2)
            };
            if is_empty {
                self.since = None;
                self.tap.filled.notified().await;
                continue;
            }
            let since = *self.since.get_or_insert_with(Instant::now);
            if is_half_full {
                break;
            }
            tokio::select! {
                () = sleep_until(since + COLLECT) => break,
                () = self.tap.filled.notified() => {}
            }
        }
        self.since = None;
    }

    /// Whether there is nothing to [take](Self::take).
    pub fn is_empty(&self) -> bool {
        self.tap.lock().chunks.is_empty()
    }

    /// The number of the last chunk whose events were published.
    pub fn published(&self) -> u64 {
        self.tap.lock().published
    }

    /// Takes all chunks. They take up room until they are [released](Self::release).
    pub fn take(&self) -> VecDeque<Chunk> {
        std::mem::take(&mut self.tap.lock().chunks)
    }

    /// Gives back the [memory](Chunk::memory) of a chunk that was worked through, in bytes.
    pub fn release(&self, memory: usize) {
        let mut state = self.tap.lock();
        state.used = state.used.saturating_sub(memory);
        drop(state);
        if self.tap.lossless {
            self.tap.room.notify_one();
        }
    }

    /// What was not copied since the last call.
    pub fn take_missed(&self) -> Missed {
        std::mem::take(&mut self.tap.lock().missed)
    }
}

impl Drop for LineReader {
    fn drop(&mut self) {
        let mut state = self.tap.lock();
        state.closed = true;
        state.chunks = VecDeque::new();
        drop(state);
        self.tap.room.notify_one();
    }
}

#[cfg(test)]
mod tests;
