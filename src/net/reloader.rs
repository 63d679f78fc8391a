//! Looks for changed files on a thread of its own: a network file system that hangs must not stop the thread
//! that serves.

use super::{
    reload::{Reloading, Source},
    source_file::SourceError,
};
use crate::system::thread;
use std::{
    io, iter,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    time::{Duration, Instant},
};
use thiserror::Error;
use tokio::{sync::oneshot, time::timeout};

/// How long a request waits for the check of its files. Later ones use the previous value until the check
/// returns.
const MAX_WAIT: Duration = Duration::from_millis(500);

/// How many requests may wait for one check. More of them use the previous value.
const MAX_WAITING: usize = 1024;

/// Why files cannot be used at the start.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The contents of a file.
    #[error(transparent)]
    File(#[from] SourceError),
    /// There is no thread for the checks.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

/// The value of some files, read again when they have changed.
pub struct Reloader<S: Source> {
    state: Arc<Mutex<State<S::Value>>>,
    requests: SyncSender<oneshot::Sender<()>>,
}

struct State<V> {
    value: Arc<V>,
    /// While files are checked: since when.
    checking_since: Option<Instant>,
}

impl<S> Reloader<S>
where
    S: Source + Send + 'static,
    S::Value: Send + Sync + 'static,
{
    /// Reads the files for the first time and starts the thread.
    ///
    /// # Errors
    ///
    /// The option, the path and what is wrong, in one line.
    pub fn load(source: S) -> Result<Self, LoadError> {
        let files = Reloading::load(source)?;
        let state = Arc::new(Mutex::new(State { value: files.current(), checking_since: None }));
        let (requests, received) = sync_channel(MAX_WAITING);
        let shared = Arc::clone(&state);
        thread::spawn("files", move || check_files(&files, &shared, &received)).map_err(LoadError::Thread)?;
        Ok(Self { state, requests })
    }

    /// The value of the files as they are now, or as they were when they could last be read.
    pub async fn current(&self) -> Arc<S::Value> {
        let stalled = lock(&self.state).checking_since.is_some_and(|since| since.elapsed() > MAX_WAIT);
        let (done, checked) = oneshot::channel();
        if !stalled && self.requests.try_send(done).is_ok() {
            let _ = timeout(MAX_WAIT, checked).await;
        }
        Arc::clone(&lock(&self.state).value)
    }
}

/// Checks the files whenever this is requested, until the other end is dropped.
fn check_files<S: Source>(
    files: &Reloading<S>,
    state: &Mutex<State<S::Value>>,
    requests: &Receiver<oneshot::Sender<()>>,
) {
    while let Ok(first) = requests.recv() {
        // A check answers only requests that came before it: those after it may be about a later change.
        let waiting: Vec<_> = iter::once(first).chain(requests.try_iter()).collect();
        lock(state).checking_since = Some(Instant::now());
        let value = files.current();
        *lock(state) = State { value, checking_since: None };
        for done in waiting {
            // The request may have been given up.
            let _ = done.send(());
        }
    }
}

fn lock<V>(state: &Mutex<State<V>>) -> MutexGuard<'_, State<V>> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::source_file::SourceFile;
    use std::fs;

    /// A file that takes as long to read as the test wants, after the first time.
    struct Slow {
        file: SourceFile,
        permits: Mutex<Receiver<()>>,
    }

    impl Source for Slow {
        type Value = Vec<u8>;

        fn files(&self) -> Vec<&SourceFile> {
            vec![&self.file]
        }

        fn load(&self) -> Result<Vec<u8>, SourceError> {
            let _ = self.permits.lock().unwrap().recv();
            self.file.read()
        }
    }

    #[tokio::test]
    async fn a_file_system_that_hangs_delays_one_request_and_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "1").unwrap();
        let (permit, permits) = sync_channel(1);
        permit.send(()).unwrap();
        let source = Slow { file: SourceFile::public("--file", path.clone()), permits: Mutex::new(permits) };
        let reloader = Reloader::load(source).unwrap();
        assert_eq!(*reloader.current().await, b"1");

        fs::write(&path, "22").unwrap();
        let start = Instant::now();
        assert_eq!(*reloader.current().await, b"1");
        assert!(start.elapsed() >= MAX_WAIT);
        // More requests than may wait, none of which does.
        let start = Instant::now();
        for _ in 0..2 * MAX_WAITING {
            assert_eq!(*reloader.current().await, b"1");
        }
        assert!(start.elapsed() < MAX_WAIT * 20, "{:?}", start.elapsed());

        permit.send(()).unwrap();
        while *reloader.current().await != b"22" {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        fs::write(&path, "333").unwrap();
        permit.send(()).unwrap();
        assert_eq!(*reloader.current().await, b"333");
    }
}
