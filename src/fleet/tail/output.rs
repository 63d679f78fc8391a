//! Standard output, written by a thread of its own: connections stay alive while a pager that reads it is
//! paused, and the lines that come while one write goes on are written together by the next one.
//!
//! Another thread waits for the reader to go away, which a program that has nothing to write does not notice
//! otherwise.

use crate::{
    system::{fd::wait_for_hangup, thread},
    terminal::standard_output,
};
use std::{
    io, mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::Notify;

/// As many bytes may wait, and as many are being written; a single event may exceed it.
const MAX_WAITING: usize = 256 * 1024;

/// With this many bytes it is written without waiting for a pause.
const WRITE_AT: usize = 32 * 1024;

/// The writing end. Clones write to the same.
#[derive(Clone)]
pub struct Output(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Wakes the writer.
    due: Condvar,
    /// Notifies tasks after each write, and of a failure.
    changed: Notify,
}

#[derive(Default)]
struct State {
    waiting: Vec<u8>,
    /// Whether the writer is to write what waits.
    due: bool,
    writing: bool,
    /// Why nothing is written any more.
    failed: Option<io::Error>,
}

impl Output {
    /// Starts the threads.
    ///
    /// # Errors
    ///
    /// If standard output is closed, or a thread cannot be started.
    pub fn start() -> io::Result<Self> {
        standard_output::require_open()?;
        let shared = Arc::<Shared>::default();
        let (writer, watcher) = (Arc::clone(&shared), Arc::clone(&shared));
        thread::spawn("stdout", move || writer.write_all(standard_output::write))?;
        thread::spawn("stdout-hangup", move || {
            wait_for_hangup(io::stdout());
            watcher.fail(io::ErrorKind::BrokenPipe.into());
        })?;
        Ok(Self(shared))
    }

    /// Adds lines. They are written when there are many, or at the next [flush](Self::flush).
    pub fn push(&self, lines: &[u8]) {
        let mut state = self.0.lock();
        if state.failed.is_none() {
            state.waiting.extend_from_slice(lines);
            if state.waiting.len() >= WRITE_AT {
                self.0.wake(state);
            }
        }
    }

    /// Has everything written.
    pub fn flush(&self) {
        let state = self.0.lock();
        if !state.waiting.is_empty() {
            self.0.wake(state);
        }
    }

    /// Waits until there is room for more.
    pub async fn room(&self) {
        self.until(|state| state.waiting.len() < MAX_WAITING || state.failed.is_some()).await;
    }

    /// Waits until everything is written, or nothing can be written any more.
    pub async fn written(&self) {
        self.flush();
        let is_written = |state: &mut State| state.waiting.is_empty() && !state.writing;
        self.until(|state| is_written(state) || state.failed.is_some()).await;
    }

    /// Waits until nothing can be written any more: the error, which is a broken pipe if the reader has gone.
    pub async fn failed(&self) -> io::Error {
        self.until(|state| state.failed.is_some()).await;
        // Others may ask, too.
        let kind = io::ErrorKind::BrokenPipe;
        self.0.lock().failed.replace(kind.into()).unwrap_or(kind.into())
    }

    async fn until(&self, condition: impl Fn(&mut State) -> bool) {
        loop {
            let changed = self.0.changed.notified();
            if condition(&mut self.0.lock()) {
                return;
            }
            changed.await;
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self, mut state: MutexGuard<'_, State>) {
        if !mem::replace(&mut state.due, true) {
            drop(state);
            self.due.notify_one();
        }
    }

    /// Writes until that fails.
    fn write_all(&self, mut write: impl FnMut(&[u8]) -> io::Result<()>) {
        let mut lines = Vec::new();
        loop {
            let mut state = self.lock();
            while !state.due {
                state = self.due.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            mem::swap(&mut state.waiting, &mut lines);
            (state.due, state.writing) = (false, true);
            drop(state);
            self.changed.notify_waiters();
            let written = write(&lines);
            // A very long line does not stay in memory.
            lines.clear();
            lines.shrink_to(MAX_WAITING);
            self.lock().writing = false;
            if let Err(error) = written {
                return self.fail(error);
            }
            self.changed.notify_waiters();
        }
    }

    fn fail(&self, error: io::Error) {
        let mut state = self.lock();
        state.failed.get_or_insert(error);
        state.waiting = Vec::new();
        drop(state);
        self.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// An output whose writes are sent, and wait until they are received.
    fn output() -> (Output, mpsc::Receiver<Vec<u8>>) {
        let (sender, receiver) = mpsc::sync_channel(0);
        let output = Output(Arc::default());
        let shared = Arc::clone(&output.0);
        std::thread::spawn(move || {
            shared.write_all(|lines| {
                sender.send(lines.to_vec()).map_err(|_| io::Error::other("nobody receives"))
            });
        });
        (output, receiver)
    }

    async fn pends(future: impl Future) -> bool {
        tokio::select! {
            biased;
            _ = future => false,
            () = tokio::task::yield_now() => true,
        }
    }

    #[tokio::test]
    async fn lines_are_written_at_a_flush_and_together_while_a_write_goes_on() {
        let (output, writes) = output();
        output.push(b"a\n");
        output.flush();
        output.room().await;
        // Until the writer has taken it, others would be added to the same write.
        while output.0.lock().due {
            std::thread::yield_now();
        }
        output.push(b"b\n");
        output.push(b"c\n");
        assert!(pends(output.written()).await);
        assert_eq!(writes.recv().unwrap(), b"a\n");
        assert_eq!(writes.recv().unwrap(), b"b\nc\n");
        output.written().await;
    }

    #[tokio::test]
    async fn what_waits_is_bounded() {
        let (output, writes) = output();
        let line = vec![b'x'; MAX_WAITING];
        output.push(&line);
        while output.0.lock().due {
            std::thread::yield_now();
        }
        output.room().await;
        output.push(&line);
        assert!(pends(output.room()).await);
        assert_eq!(writes.recv().unwrap(), line);
        output.room().await;
        assert_eq!(writes.recv().unwrap(), line);
    }

    #[tokio::test]
    async fn a_failure_ends_every_wait_and_is_reported_once() {
        let (output, writes) = output();
        drop(writes);
        output.push(&vec![b'x'; MAX_WAITING]);
        output.written().await;
        output.room().await;
        assert_eq!(output.failed().await.to_string(), "nobody receives");
        assert_eq!(output.failed().await.kind(), io::ErrorKind::BrokenPipe);
        output.push(b"nothing");
        output.written().await;
    }
}
