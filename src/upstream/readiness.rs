//! The ready file of a worker that a pool started. The worker gets a path of its own, beside the pool's. What
//! it writes there is the port at which calls are relayed.

use crate::{system::value::Period, worker::state::WorkerState};
use nix::fcntl::OFlag;
use std::{
    fs::{self, OpenOptions},
    io::Read as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};
use thiserror::Error;

/// The interval between looks at the file. A pool looks every 50 ms.
pub(super) const INTERVAL: Duration = Duration::from_millis(10);

/// As much of the file as is read: a port has five digits.
const MAX_BYTES: u64 = 64;

/// Why there is no port.
#[derive(Debug, Clone, Error)]
pub enum NotReady {
    /// The worker has not written it so far.
    #[error("it has not written its port to SNAKEPIT_READY_FILE yet")]
    NotYet,
    /// The file did not appear.
    #[error("it did not write its port to SNAKEPIT_READY_FILE within {0} (--upstream-timeout)")]
    Missing(Period),
    /// The file has something else.
    #[error("it wrote '{0}' to SNAKEPIT_READY_FILE, which does not begin with a port")]
    NoPort(String),
    /// The worker has exited.
    #[error("it has exited without writing its port to SNAKEPIT_READY_FILE")]
    Exited,
}

/// What the user learns of a pool that waits in vain.
pub fn no_port(error: &NotReady) -> String {
    format!("--snakepit: the pool gets no port: {error}; a worker without gRPC needs --snakepit=alone")
}

/// Between the name of a pool's file and what makes the name of the worker's one unpredictable.
const MARK: &str = ".telemetry-sidecar-";

/// How many letters and digits follow.
const RANDOM_CHARACTERS: usize = 16;

/// A file that only the worker writes. It is removed when its port was read, and when this is dropped: a
/// worker may write it too late.
#[derive(Debug)]
pub struct WorkerFile(PathBuf);

impl WorkerFile {
    /// A file beside a pool's: where the worker could have written that one it can write this one. Others
    /// cannot predict its name, so they cannot make it before the worker does.
    pub fn beside(pool_file: &Path) -> Self {
        let mut path = pool_file.as_os_str().to_owned();
        path.push(MARK);
        path.push((0..RANDOM_CHARACTERS).map(|_| fastrand::alphanumeric()).collect::<String>());
        Self(path.into())
    }

    /// Whether a path is that of such a file. What a worker starts inherits it.
    pub fn is_path_of_one(path: &Path) -> bool {
        path.file_name().is_some_and(|name| name.to_string_lossy().contains(MARK))
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Waits up to `limit` until the worker has written its port, and removes the file.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub fn wait(&self, limit: Period, worker: &WorkerState) -> Result<u16, NotReady> {
        let start = Instant::now();
        let mut before = None;
        loop {
            // Looked at first, because a worker may write the port and exit.
            let has_exited = worker.exit().is_some();
            let content = self.read();
            // A worker may write it in parts, although pools do not expect that.
            let is_complete =
                |text: &&str| has_exited || text.ends_with('\n') || before.as_deref() == Some(*text);
            if let Some(port) = content.as_deref().filter(is_complete).and_then(port) {
                self.remove();
                return Ok(port);
            }
            if has_exited {
                return Err(NotReady::Exited);
            }
            if start.elapsed() >= limit.0 {
                self.remove();
                return Err(content.map_or(NotReady::Missing(limit), |content| {
                    NotReady::NoPort(content.escape_debug().to_string())
                }));
            }
            before = content;
            thread::sleep(INTERVAL);
        }
    }

    fn remove(&self) {
        // It was removed already, or was never written.
        let _ = fs::remove_file(&self.0);
    }

    fn read(&self) -> Option<String> {
        // Opening a FIFO must not wait for its writer.
        let file = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(&self.0).ok()?;
        let mut content = Vec::new();
        file.take(MAX_BYTES).read_to_end(&mut content).ok()?;
        Some(String::from_utf8_lossy(&content).into_owned())
    }
}

impl Drop for WorkerFile {
    fn drop(&mut self) {
        self.remove();
    }
}

/// The number that a file begins with, as a pool reads it.
fn port(content: &str) -> Option<u16> {
    let content = content.trim_start();
    let end = content.find(|character: char| !character.is_ascii_digit()).unwrap_or(content.len());
    content.get(..end)?.parse().ok().filter(|port| *port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::{End, Exit, Usage};
    use std::ffi::OsStr;

    const HOUR: Period = Period(Duration::from_secs(3600));
    const NO_TIME: Period = Period(Duration::ZERO);

    fn worker() -> WorkerState {
        WorkerState::new(OsStr::new("worker"))
    }

    #[test]
    fn a_port_is_read_as_a_pool_reads_it() {
        for (content, expected) in [
            ("40001", Some(40001)),
            ("40001\n", Some(40001)),
            (" \n40001\nprometheus 9\n", Some(40001)),
            ("", None),
            ("0\n", None),
            ("65536\n", None),
            ("port 1", None),
        ] {
            assert_eq!(port(content), expected, "{content:?}");
        }
    }

    #[test]
    fn the_file_is_removed_when_the_port_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = WorkerFile::beside(&dir.path().join("ready"));
        assert!(WorkerFile::is_path_of_one(file.path()));
        let path = file.path().to_owned();
        let waiting = thread::spawn(move || file.wait(HOUR, &worker()));
        fs::write(path.with_extension("tmp"), "40001\n").unwrap();
        fs::rename(path.with_extension("tmp"), &path).unwrap();
        assert_eq!(waiting.join().unwrap().unwrap(), 40001);
        assert!(fs::read_dir(dir.path()).unwrap().next().is_none());
    }

    #[test]
    fn without_a_port_the_reason_is_reported() {
        let dir = tempfile::tempdir().unwrap();
        let file = || WorkerFile::beside(&dir.path().join("ready"));
        let error = file().wait(NO_TIME, &worker()).unwrap_err().to_string();
        let expected = "it did not write its port to SNAKEPIT_READY_FILE within 0s (--upstream-timeout)";
        assert_eq!(error, expected);

        let file_with_text = file();
        fs::write(file_with_text.path(), "no\u{7}").unwrap();
        let error = file_with_text.wait(NO_TIME, &worker()).unwrap_err().to_string();
        let expected = "it wrote 'no\\u{7}' to SNAKEPIT_READY_FILE, which does not begin with a port";
        assert_eq!(error, expected);

        let exited = worker();
        exited.ended(End::new(Exit::Code(0), Usage::default()));
        let error = file().wait(HOUR, &exited).unwrap_err();
        assert!(matches!(error, NotReady::Exited), "{error}");
    }
}
