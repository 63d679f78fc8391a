//! What is known of the worker while it runs: shared by whoever runs it and whoever reports it.

use super::Exit;
use std::{
    ffi::OsStr,
    path::Path,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

/// What the status tells of the worker; written by whoever runs it.
///
/// Both are written once, the process id first: who sees the exit status sees that, too. Who tells of both asks for the
/// exit status once, since the worker may end meanwhile.
#[derive(Debug)]
pub struct WorkerState {
    program: String,
    /// 0 until it runs.
    pid: AtomicU32,
    exit: OnceLock<Exit>,
}

impl WorkerState {
    /// A worker that does not run yet, by its program's name or path.
    pub fn new(program: &OsStr) -> Self {
        let name = Path::new(program).file_name().unwrap_or(program).to_string_lossy().into_owned();
        Self { program: name, pid: AtomicU32::new(0), exit: OnceLock::new() }
    }

    /// The name of its program, without the path.
    pub fn program(&self) -> &str {
        &self.program
    }

    /// Its process id; none before it runs.
    pub fn pid(&self) -> Option<u32> {
        Some(self.pid.load(Ordering::Relaxed)).filter(|pid| *pid != 0)
    }

    /// The worker runs.
    pub fn started(&self, pid: u32) {
        self.pid.store(pid, Ordering::Relaxed);
    }

    /// The worker has ended.
    pub fn ended(&self, exit: Exit) {
        // It ends only once.
        let _ = self.exit.set(exit);
    }

    /// How it has ended, if it has.
    pub fn exit(&self) -> Option<Exit> {
        self.exit.get().copied()
    }

    /// Whether it was spawned and has not ended, of which this is what is known.
    pub fn is_running(&self, exit: Option<Exit>) -> bool {
        self.pid().is_some() && exit.is_none()
    }
}
