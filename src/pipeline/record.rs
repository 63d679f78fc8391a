//! `--record`: the worker's raw stderr, appended to a file by a thread of its own.
//!
//! It never slows the worker. If the file cannot be written, or the disk is slower than the worker for longer
//! than a bounded buffer lasts, recording stops for good: a recording with a hole would replay lines that
//! were never written.

use crate::{
    event::stats::RecordingCounters,
    system::fd::{PartialWrite, write_all},
};
use std::{
    fmt,
    fs::File,
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Instant,
};

/// The buffer's size in bytes.
const MAX_WAITING_BYTES: usize = 8 * 1024 * 1024;

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
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    /// Bytes taken by the thread and not yet written.
    writing: usize,
    ended: bool,
}

/// Why recording stops for good.
enum Stop {
    /// The disk is slower than the worker for longer than the buffer lasts.
    BufferFull,
    /// The file cannot be written.
    WriteFailed(io::Error),
}

impl fmt::Display for Stop {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BufferFull => formatter.write_str("the file is written more slowly than the worker writes"),
            Self::WriteFailed(error) => error.fmt(formatter),
        }
    }
}

impl Shared {
    /// Stops recording: one log line and its counters.
    fn stop(&self, cause: &Stop, bytes_lost: usize) {
        if self.counters.stop() {
            tracing::info!("--record: recording stops: {cause}");
        }
        self.counters.add_lost(bytes_lost);
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
        thread::Builder::new().name("record".into()).spawn(move || write(&writer, &file))?;
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

    /// Waits until everything is written, up to the deadline if there is one.
    pub fn finish(&self, deadline: Option<Instant>) {
        let mut state = self.shared.lock();
        state.ended = true;
        self.shared.changed.notify_all();
        let busy = |state: &mut State| state.writing > 0 || !state.waiting.is_empty();
        if let Some(deadline) = deadline {
            let limit = deadline.saturating_duration_since(Instant::now());
            drop(self.shared.changed.wait_timeout_while(state, limit, busy));
        } else {
            drop(self.shared.changed.wait_while(state, busy));
        }
    }

    /// The counters, which stay readable after the recording has ended.
    pub fn counters(&self) -> &Arc<RecordingCounters> {
        &self.shared.counters
    }
}

fn write(shared: &Shared, file: &File) {
    let mut chunk = Vec::new();
    loop {
        let idle = |state: &mut State| state.waiting.is_empty() && !state.ended;
        let mut state =
            shared.changed.wait_while(shared.lock(), idle).unwrap_or_else(PoisonError::into_inner);
        if state.waiting.is_empty() {
            return;
        }
        chunk.clear();
        std::mem::swap(&mut chunk, &mut state.waiting);
        state.writing = chunk.len();
        drop(state);

        let result = write_all(file, &chunk);

        let mut state = shared.lock();
        state.writing = 0;
        let written = match result {
            Ok(()) => chunk.len(),
            Err(PartialWrite { written, error }) => {
                let waiting = std::mem::take(&mut state.waiting);
                shared.stop(&Stop::WriteFailed(error), chunk.len() - written + waiting.len());
                written
            }
        };
        shared.counters.add_written(written);
        drop(state);
        shared.changed.notify_all();
    }
}
