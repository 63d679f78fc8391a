//! `--record`: the worker's raw stderr, appended to a file by a thread of its own.
//!
//! It never slows the worker. If the file cannot be written, or the disk is slower than the worker for longer
//! than a bounded buffer lasts, recording stops for good: a recording with a hole would replay lines that
//! were never written.

use super::output::Loss;
use crate::{
    event::stats::RecordingCounters,
    system::{
        fd::{PartialWrite, write_all},
        thread,
        value::counted,
    },
};
use std::{
    fmt,
    fs::File,
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Instant,
};

/// The buffer's size in bytes.
const MAX_WAITING_BYTES: usize = 8 * 1024 * 1024;

/// At most this much memory is kept for each of two chunks while nothing is to be written.
const KEPT_BYTES: usize = 256 * 1024;

/// The largest write. The bytes of one that does not return before the exit count as lost.
const WRITE_BYTES: usize = 256 * 1024;

/// A running recording.
#[derive(Debug)]
pub struct Recorder {
    shared: Arc<Shared>,
}

/// Each side changes the state under the lock and notifies after that; each waits for a condition that it
/// looks at under the lock, again after every waking. So no wake-up is lost, and one too many does no harm.
#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    counters: Arc<RecordingCounters>,
    /// Why recording has stopped.
    stopped: OnceLock<String>,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    /// The memory for the next bytes, while the thread writes the last ones.
    spare: Vec<u8>,
    /// Bytes taken by the thread and not yet written.
    writing: usize,
    ended: bool,
    /// Whether what was not written counts as lost already.
    abandoned: bool,
}

impl State {
    fn unwritten(&self) -> usize {
        self.writing + self.waiting.len()
    }

    /// Keeps the memory of a chunk for the next one, but gives back that of a burst when it is over.
    fn take_back(&mut self, mut chunk: Vec<u8>) {
        chunk.clear();
        if self.waiting.is_empty() {
            chunk.shrink_to(KEPT_BYTES);
            self.waiting.shrink_to(KEPT_BYTES);
        }
        self.spare = chunk;
    }
}

/// Why recording stops for good.
enum Stop {
    /// The disk is slower than the worker for longer than the buffer lasts.
    BufferFull,
    /// The file cannot be written.
    WriteFailed(io::Error),
    /// Not everything was written before the exit.
    DrainTimeout,
}

impl fmt::Display for Stop {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BufferFull => formatter.write_str("the file is written more slowly than the worker writes"),
            Self::WriteFailed(error) => error.fmt(formatter),
            Self::DrainTimeout => formatter.write_str("the drain timeout expired before all was written"),
        }
    }
}

impl Shared {
    /// Stops recording: one log line and its counters.
    fn stop(&self, cause: &Stop, bytes_lost: usize) {
        if self.counters.stop() {
            tracing::info!("--record: recording stops: {cause}");
            // Set once: `stop` is true the first time only.
            let _ = self.stopped.set(cause.to_string());
        }
        self.counters.add_lost(bytes_lost);
    }

    /// Counts the result of writing a piece of what is being written. Returns whether to go on.
    fn count(&self, piece: &[u8], result: Result<(), PartialWrite>) -> bool {
        let mut state = self.lock();
        if state.abandoned {
            return false;
        }
        let (written, error) = match result {
            Ok(()) => (piece.len(), None),
            Err(PartialWrite { written, error }) => (written, Some(error)),
        };
        state.writing -= written;
        self.counters.add_written(written);
        let Some(error) = error else { return true };
        let lost = state.unwritten();
        state.writing = 0;
        state.waiting = Vec::new();
        self.stop(&Stop::WriteFailed(error), lost);
        false
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recorder {
    /// Starts the thread that writes to `file`.
    ///
    /// # Errors
    ///
    /// If the system refuses a thread.
    pub fn start(file: File) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let writer = Arc::clone(&shared);
        thread::spawn("record", move || write(&writer, &file))?;
        Ok(Self { shared })
    }

    /// Appends bytes to the buffer, or stops the recording if it is full.
    pub fn record(&self, bytes: &[u8]) {
        let mut state = self.shared.lock();
        if self.shared.counters.is_stopped() {
            self.shared.counters.add_lost(bytes.len());
        } else if state.waiting.len() + bytes.len() > MAX_WAITING_BYTES {
            // The buffer is still written: it continues the recording without a gap.
            self.shared.stop(&Stop::BufferFull, bytes.len());
        } else {
            state.waiting.extend_from_slice(bytes);
            drop(state);
            self.shared.changed.notify_all();
        }
    }

    /// Waits until everything is written, up to the deadline if there is one. What is not written by then
    /// counts as lost.
    pub fn finish(&self, deadline: Option<Instant>) {
        let mut state = self.shared.lock();
        state.ended = true;
        self.shared.changed.notify_all();
        let busy = |state: &mut State| state.unwritten() > 0;
        let Some(deadline) = deadline else {
            drop(self.shared.changed.wait_while(state, busy));
            return;
        };
        let limit = deadline.saturating_duration_since(Instant::now());
        let waited = self.shared.changed.wait_timeout_while(state, limit, busy);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let lost = state.unwritten();
        if lost > 0 {
            state.abandoned = true;
            state.waiting = Vec::new();
            self.shared.stop(&Stop::DrainTimeout, lost);
        }
    }

    /// The loss, if recording has stopped.
    pub fn loss(&self) -> Option<Loss> {
        let cause = self.shared.stopped.get()?;
        let lost = counted(self.shared.counters.stats().bytes_lost, "byte");
        Some(Loss::Failed(format!("recording stopped, {lost} not recorded: {cause}")))
    }

    /// The counters, which stay readable after the recording has ended.
    pub fn counters(&self) -> &Arc<RecordingCounters> {
        &self.shared.counters
    }
}

fn write(shared: &Shared, file: &File) {
    loop {
        let idle = |state: &mut State| state.waiting.is_empty() && !state.ended;
        let mut state =
            shared.changed.wait_while(shared.lock(), idle).unwrap_or_else(PoisonError::into_inner);
        if state.waiting.is_empty() {
            return;
        }
        let spare = std::mem::take(&mut state.spare);
        let chunk = std::mem::replace(&mut state.waiting, spare);
        state.writing = chunk.len();
        drop(state);

        chunk.chunks(WRITE_BYTES).all(|piece| shared.count(piece, write_all(file, piece)));

        shared.lock().take_back(chunk);
        shared.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{PipeReader, pipe};

    /// A recorder whose file is a pipe.
    fn recorder() -> (Recorder, PipeReader) {
        let (reader, writer) = pipe().unwrap();
        (Recorder::start(File::from(std::os::fd::OwnedFd::from(writer))).unwrap(), reader)
    }

    #[test]
    fn what_is_not_written_at_the_deadline_is_lost() {
        let (recorder, _reader) = recorder();
        for _ in 0..4 {
            recorder.record(&vec![b'x'; 1_000_000]);
        }
        recorder.finish(Some(Instant::now()));
        let stats = recorder.counters().stats();
        assert_eq!(stats.bytes_written + stats.bytes_lost, 4_000_000, "{stats:?}");
        assert!(stats.stopped && stats.bytes_lost > 3_000_000, "{stats:?}");
    }

    #[test]
    fn the_memory_of_a_burst_is_given_back() {
        let recorder = Recorder::start(tempfile::tempfile().unwrap()).unwrap();
        for _ in 0..3 {
            recorder.record(&vec![b'x'; MAX_WAITING_BYTES / 2]);
            // The thread has its memory while it writes.
            let wait = |state: &mut State| state.unwritten() > 0 || state.spare.capacity() == 0;
            drop(recorder.shared.changed.wait_while(recorder.shared.lock(), wait).unwrap());
        }
        let state = recorder.shared.lock();
        assert!(state.waiting.capacity() + state.spare.capacity() <= 2 * KEPT_BYTES);
        assert_eq!(recorder.counters().stats().bytes_written, 3 * MAX_WAITING_BYTES as u64 / 2);
    }
}
