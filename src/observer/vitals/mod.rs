//! `--vitals`: memory, processor time, threads, descriptors and processes of the worker and its descendants.
//!
//! A thread of its own reads `/proc` at an interval, publishes events and keeps the latest sample for
//! exporters. It starts after the worker. If it cannot, or cannot read `/proc`, the worker runs without it.
//!
//! ```text
//! proc (stat) → tree → account          processor time
//!        │        └──→ sampler → events, WorkerState::vitals
//!        └───────────────┘              memory, threads, descriptors
//! ```

mod account;
mod events;
mod pace;
mod proc;
mod sampler;
mod source;
mod stat;
mod tree;

use super::Observer;
use crate::{
    system::thread::{self, lower_priority},
    worker::{
        state::WorkerState,
        vitals::{CpuTime, Sample},
    },
};
use events::Naming;
use nix::{
    sys::stat::fstat,
    unistd::{Pid, getsid},
};
use pace::thread_time;
use proc::Proc;
use sampler::Sampler;
use source::FileId;
use std::{
    os::fd::AsFd,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    time::{Duration, Instant},
};
use tree::Surroundings;

/// A sample takes at most one part of this many of the time: with thousands of processes the interval
/// becomes longer.
const MOST_OF_TIME: u32 = 20;

/// How long the last sample may delay the end of the stream.
const LAST_SAMPLE: Duration = Duration::from_millis(500);

/// A worker's shorter life says little about its load: processor time is counted in hundredths of a second.
const LEAST_MEASURED: Duration = Duration::from_millis(50);

/// What to sample.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// The time between two samples.
    pub interval: Duration,
    /// Whether events have the names and keys that Snakepit knows.
    pub is_snakepit: bool,
}

/// Samples that can be started.
#[derive(Debug)]
pub struct Vitals {
    settings: Settings,
    worker: Arc<WorkerState>,
    observer: Observer,
    stderr: Option<FileId>,
    end: Receiver<()>,
    /// Dropped when there are no more samples.
    _done: Sender<()>,
}

/// Ends the samples.
#[derive(Debug)]
pub struct VitalsEnd {
    end: Sender<()>,
    done: Receiver<()>,
}

impl VitalsEnd {
    /// Ends the samples with a last one, after the worker's end. Returns at once if there are none, and after
    /// half a second in any case.
    pub fn finish(self) {
        drop(self.end);
        // Nothing is sent: the other end is dropped.
        let _ = self.done.recv_timeout(LAST_SAMPLE);
    }
}

impl Vitals {
    /// The samples of a worker with this stderr, if there are to be any, and their end. Exporters have
    /// metrics of them if the worker's state has [vitals](WorkerState::vitals).
    pub fn new(
        settings: Option<Settings>,
        worker: &Arc<WorkerState>,
        stderr: impl AsFd,
        observer: &Observer,
    ) -> Option<(Self, VitalsEnd)> {
        let (end, ended) = channel();
        let (done, is_done) = channel();
        let (worker, observer) = (Arc::clone(worker), observer.clone());
        let stderr = fstat(stderr).ok().map(|file| (file.st_dev, file.st_ino));
        let vitals = Self { settings: settings?, worker, observer, stderr, end: ended, _done: done };
        Some((vitals, VitalsEnd { end, done: is_done }))
    }

    /// Starts the samples of a worker that has been started, if there are to be any. The sidecar's other
    /// process does not belong to the worker.
    pub fn start(this: Option<Self>, helper: Option<Pid>) {
        let Some(this) = this else { return };
        if let Err(error) = thread::spawn("vitals", move || this.run(helper)) {
            tracing::info!("vitals: cannot start a thread, so there are no samples: {error}");
        }
    }

    fn run(self, helper: Option<Pid>) {
        lower_priority();
        let Some(source) = Proc::new() else {
            tracing::info!(
                "vitals: cannot read the /proc of this PID namespace, so there are no samples (mount it)"
            );
            return;
        };
        let Some(pid) = self.worker.pid() else { return };
        let mut sampler = Sampler::new(source, pid, surroundings(helper, self.stderr));
        let mut last: Option<(Sample, Instant)> = None;
        loop {
            let (now, start) = (Instant::now(), thread_time());
            // Once it has ended the last sample follows.
            if let Some(sample) = sampler.sample(now)
                && sample.usage.is_some()
            {
                let percent = last.map(|(last, then)| cpu_percent(last.cpu, sample.cpu, now - then));
                self.publish(pid, sample, percent);
                last = Some((sample, now));
            }
            let cost = thread_time().saturating_sub(start);
            let interval = self.settings.interval.max(cost.saturating_mul(MOST_OF_TIME));
            let rest = interval.saturating_sub(now.elapsed());
            if self.end.recv_timeout(rest) != Err(RecvTimeoutError::Timeout) {
                break;
            }
        }
        let cpu = self.worker.usage().map(|usage| CpuTime { user: usage.user, system: usage.system });
        let sample = sampler.last(cpu);
        let (before, then) = last.map_or_else(|| (CpuTime::default(), None), |(s, t)| (s.cpu, Some(t)));
        let time = then.map_or_else(|| self.worker.run_time(), |then| then.elapsed());
        let least = if then.is_some() { self.settings.interval / 2 } else { LEAST_MEASURED };
        let percent = (time >= least).then(|| cpu_percent(before, sample.cpu, time));
        self.publish(pid, sample, percent);
    }

    fn publish(&self, pid: u32, sample: Sample, cpu_percent: Option<f64>) {
        if let Some(vitals) = self.worker.vitals() {
            vitals.set(sample);
        }
        let naming = if self.settings.is_snakepit { Naming::Snakepit } else { Naming::Own };
        self.observer.publish_samples(naming.events(pid, sample.usage.as_ref(), cpu_percent));
    }
}

/// The processes around the worker.
fn surroundings(helper: Option<Pid>, stderr: Option<FileId>) -> Surroundings {
    let sidecar = std::process::id();
    let number = |pid: Pid| pid.as_raw().unsigned_abs();
    let session = getsid(None).ok().map(number).filter(|session| *session != sidecar);
    Surroundings { sidecar, helper: helper.map(number), session, stderr }
}

/// Processor time used in a time, in percent of a core.
fn cpu_percent(before: CpuTime, after: CpuTime, time: Duration) -> f64 {
    let used = after.total().saturating_sub(before.total()).as_secs_f64();
    if time.is_zero() { 0.0 } else { 100.0 * used / time.as_secs_f64() }
}
