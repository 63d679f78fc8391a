//! The ready file of a Snakepit pool: a pool polls it for the port of the worker that it has started.

use super::ready_file::{MAX_BYTES, Old, ReadyFile};
use crate::{
    system::{
        option::{Given, Origin},
        thread,
    },
    upstream::{
        Upstream,
        readiness::{WorkerFile, no_port},
    },
};
use std::{
    env, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    time::Duration,
};

/// The variable in which a pool names the file.
pub(super) const VARIABLE: &str = "SNAKEPIT_READY_FILE";

/// The path that a pool waits for; none if the variable is unset or empty. A pool sets it for workers only,
/// not when it asks the interpreter for its version.
///
/// A process that a worker starts may be wrapped as well, and inherits the worker's own path. No pool waits
/// for that.
pub(super) fn path() -> Option<Given<PathBuf>> {
    let value = env::var_os(VARIABLE).filter(|value| !value.is_empty())?;
    if WorkerFile::is_path_of_one(Path::new(&value)) {
        return None;
    }
    let origin = Origin::of_variable(VARIABLE, &value);
    Some(Given { value: value.into(), origin })
}

/// The file, checked before anything else is started.
#[derive(Debug)]
pub(super) struct PoolReadyFile(ReadyFile);

impl PoolReadyFile {
    /// Removes what an earlier worker has left at the path: the pool must not take it for this one's port.
    ///
    /// # Errors
    ///
    /// If something other than a port is there, or the directory is missing.
    pub(super) fn prepare(path: &Given<PathBuf>) -> Result<Self, String> {
        let old = Old { what: "a ready file", max_bytes: MAX_BYTES, is_one: is_port };
        ReadyFile::prepare_with(path, old).map(Self)
    }

    /// The file that the worker gets in its place.
    pub(super) fn for_worker(&self) -> Arc<WorkerFile> {
        Arc::new(WorkerFile::beside(self.0.path()))
    }

    /// Writes the port. It may be called from any thread. The worker runs by now, so an error is only logged:
    /// the pool gives up waiting and stops the worker.
    pub(super) fn write(self, port: u16) {
        match self.0.write_text(&format!("{port}\n")) {
            Ok(()) => tracing::info!("port {port} is written for the pool"),
            Err(error) => tracing::info!("the port cannot be written for the pool: {error}"),
        }
    }

    /// Starts a thread that writes the port when the worker has started and is ready, so that a file system
    /// that hangs delays no signal. It is started before the worker, because it may be refused.
    ///
    /// # Errors
    ///
    /// If the system refuses a thread.
    pub(super) fn write_after_start(
        self,
        port: u16,
        relayed: Option<(Arc<WorkerFile>, Arc<Upstream>)>,
    ) -> io::Result<Writing> {
        let ((started, start), (done, written)) = (channel::<()>(), channel::<()>());
        thread::spawn("pool", move || {
            let is_ready = || relayed.is_none_or(|(file, upstream)| is_located(&file, &upstream));
            if start.recv().is_ok() && is_ready() {
                self.write(port);
            }
            drop(done);
        })?;
        Ok(Writing { started, written })
    }
}

/// Waits until a worker that serves gRPC has written its port. False if it does not: then the pool gives up
/// waiting, and the worker goes on.
fn is_located(file: &WorkerFile, upstream: &Upstream) -> bool {
    match upstream.wait_for_port(file) {
        Ok(address) => tracing::info!("the worker serves gRPC at {address}"),
        Err(error) => {
            tracing::info!("{}", no_port(&error));
            return false;
        }
    }
    true
}

/// Waits for the worker's start, and then writes.
#[derive(Debug)]
pub(super) struct Writing {
    started: Sender<()>,
    written: Receiver<()>,
}

impl Writing {
    /// Writes the file now.
    pub(super) fn start(&self) {
        // The thread waits for this.
        let _ = self.started.send(());
    }

    /// Waits until the file is written, so that the exit leaves no temporary one.
    pub(super) fn finish(self, within: Duration) {
        let Self { started, written } = self;
        drop(started);
        let _ = written.recv_timeout(within);
    }
}

/// Whether it is what a worker writes: its port, with or without a newline.
fn is_port(content: &[u8]) -> bool {
    let digits = content.strip_suffix(b"\n").unwrap_or(content);
    matches!(digits.len(), 1..=5) && digits.iter().all(u8::is_ascii_digit)
}
