//! The worker's state, written by its supervisor and read by status and metrics.

use super::{End, Exit, Usage, spawn::SpawnError, vitals::Vitals};
use std::{
    ffi::OsStr,
    path::Path,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

/// The worker's program, process id and exit status.
///
/// The process id is written before the exit status, each once, so a reader of the exit status sees the
/// process id, too. A report that contains both reads the exit status once, because the worker may end
/// meanwhile.
#[derive(Debug)]
pub struct WorkerState {
    program: String,
    /// 0 before the worker is started.
    pid: AtomicU32,
    start: OnceLock<Instant>,
    /// The start by the system's clock.
    started_at: OnceLock<SystemTime>,
    ended_at: OnceLock<Instant>,
    end: OnceLock<End>,
    start_failure: OnceLock<SpawnError>,
    vitals: Option<Vitals>,
}

impl WorkerState {
    /// The state before the start of this program, a name or a path.
    pub fn new(program: &OsStr) -> Self {
        let name = Path::new(program).file_name().unwrap_or(program).to_string_lossy().into_owned();
        let (start, started_at, ended_at, end, start_failure) = Default::default();
        let (pid, vitals) = (AtomicU32::new(0), None);
        Self { program: name, pid, start, started_at, ended_at, end, start_failure, vitals }
    }

    /// The same, for a worker whose vitals are sampled or not.
    #[must_use]
    pub fn with_vitals(self, are_sampled: bool) -> Self {
        Self { vitals: are_sampled.then(Vitals::new), ..self }
    }

    /// The program's name, without the path.
    pub fn program(&self) -> &str {
        &self.program
    }

    /// The process id; none before the start.
    pub fn pid(&self) -> Option<u32> {
        Some(self.pid.load(Ordering::Relaxed)).filter(|pid| *pid != 0)
    }

    /// What it uses, if that is sampled.
    pub fn vitals(&self) -> Option<&Vitals> {
        self.vitals.as_ref()
    }

    /// Records that the worker is being started: it may end before its start returns here.
    pub fn starting(&self) {
        let _ = self.start.set(Instant::now());
        let _ = self.started_at.set(SystemTime::now());
    }

    /// Records that the worker has been started.
    pub fn started(&self, pid: u32) {
        self.pid.store(pid, Ordering::Relaxed);
    }

    /// Records when the worker has ended, which is now.
    pub fn ending(&self) {
        let _ = self.ended_at.set(Instant::now());
    }

    /// Records that the worker could not be started.
    pub(crate) fn failed_to_start(&self, error: SpawnError) {
        self.ending();
        // It is called only once.
        let _ = self.start_failure.set(error);
    }

    /// Records how the worker has ended.
    pub fn ended(&self, end: End) {
        self.ending();
        // It is called only once.
        let _ = self.end.set(end);
    }

    /// Why the worker could not be started.
    pub(crate) fn start_failure(&self) -> Option<SpawnError> {
        self.start_failure.get().copied()
    }

    /// When it was started, by the system's clock; none before the start.
    pub fn started_at(&self) -> Option<SystemTime> {
        self.started_at.get().copied()
    }

    /// The exit status; none before the worker has ended.
    pub fn exit(&self) -> Option<Exit> {
        self.end().map(|end| end.exit)
    }

    /// What it has used; none before it has ended.
    pub fn usage(&self) -> Option<Usage> {
        self.end().map(|end| end.usage)
    }

    /// How it has ended, and what it has used with the children that it waited for; none before its end.
    pub fn end(&self) -> Option<End> {
        self.end.get().copied()
    }

    /// How long it has run; up to now if it has not ended, and nothing before the start.
    pub fn run_time(&self) -> Duration {
        let Some(start) = self.start.get() else { return Duration::ZERO };
        self.ended_at.get().map_or_else(|| start.elapsed(), |end| end.saturating_duration_since(*start))
    }

    /// Whether it has been started and has not ended, given the exit status that was read.
    pub fn is_running(&self, exit: Option<Exit>) -> bool {
        self.pid().is_some() && exit.is_none()
    }
}
