//! `--lifecycle` and `--vitals` on the two threads that see what they report: the main thread sees the
//! worker's start and end, the reading thread its stderr.

use crate::{
    config::Wrap,
    observer::{
        Observer,
        lifecycle::Lifecycle,
        output,
        vitals::{Vitals, VitalsEnd},
    },
    system::last_bytes::LastBytes,
    worker::{
        End, Exit, Usage,
        memory_watch::{self, MemoryWatch},
        state::WorkerState,
        supervisor::Looks,
    },
};
use nix::unistd::Pid;
use std::{
    os::fd::AsFd,
    path::Path,
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    time::{Duration, Instant},
};

/// The main thread's side. It records the worker's state, whether or not that is reported.
pub(super) struct Watch {
    worker: Arc<WorkerState>,
    /// Gets a message when the worker has been started.
    started: Sender<()>,
    is_reported: bool,
    memory: Option<MemoryWatch>,
    /// When to look at the memory again.
    next: Instant,
    vitals: Option<Vitals>,
}

/// The reading thread's side.
pub(super) struct Reports {
    lifecycle: Option<Lifecycle>,
    started: Receiver<()>,
    has_output: bool,
    /// Ends the samples.
    vitals: Option<VitalsEnd>,
}

/// Both sides, for this worker and what it gets as stderr.
pub(super) fn observe(
    config: &Wrap,
    worker: &Arc<WorkerState>,
    stderr: impl AsFd,
    observer: &Observer,
) -> (Watch, Reports) {
    let (start, started) = channel();
    let lifecycle = config.lifecycle;
    let lifecycle = lifecycle.map(|settings| Lifecycle::new(settings, Arc::clone(worker), observer.clone()));
    let has_output = config.lifecycle.is_some_and(|settings| settings.has_output);
    let is_reported = lifecycle.is_some();
    let (vitals, vitals_end) = Vitals::new(config.vitals, worker, stderr, observer).unzip();
    let (worker, next) = (Arc::clone(worker), Instant::now());
    let watch = Watch { worker, started: start, is_reported, memory: None, next, vitals };
    (watch, Reports { lifecycle, started, has_output, vitals: vitals_end })
}

impl Watch {
    /// The worker is about to be started.
    pub(super) fn starting(&mut self) {
        self.memory = self.is_reported.then(|| MemoryWatch::start(Path::new("/")));
        self.next = Instant::now() + memory_watch::INTERVAL;
        self.worker.starting();
    }

    /// The worker has been started. `helper` is the sidecar's other process.
    pub(super) fn started(&mut self, worker: Pid, helper: Option<Pid>) {
        self.worker.started(worker.as_raw().unsigned_abs());
        // The other side is there as long as its thread.
        let _ = self.started.send(());
        Vitals::start(self.vitals.take(), helper);
    }

    /// The worker has been reaped.
    pub(super) fn ended(&self, exit: Exit, usage: Usage) {
        let end =
            self.memory.as_ref().map_or_else(|| End::new(exit, usage), |memory| memory.end(exit, usage));
        self.worker.ended(end);
    }
}

impl Looks for Watch {
    fn while_running(&mut self, worker: Pid) -> Option<Duration> {
        let memory = self.memory.as_mut()?;
        let now = Instant::now();
        if now >= self.next {
            memory.refresh(worker);
            self.next = now + memory_watch::INTERVAL;
        }
        Some(self.next - now)
    }

    fn at_end(&mut self, worker: Pid) {
        self.worker.ending();
        if let Some(memory) = &mut self.memory {
            memory.look(worker);
        }
    }
}

impl Reports {
    /// Room for the end of stderr, if that is to be reported.
    pub(super) fn last_bytes(&self) -> Option<LastBytes> {
        self.has_output.then(|| LastBytes::new(output::MAX_BYTES))
    }

    /// Waits for the worker's start and reports it. The worker's own events come later: they wait in the pipe
    /// meanwhile. Returns at once if the worker does not start: the other side is dropped then.
    pub(super) fn publish_start(&self) {
        if let Some(lifecycle) = &self.lifecycle
            && self.started.recv().is_ok()
        {
            lifecycle.publish_start();
        }
    }

    /// Reports the worker's end, with the end of its stderr.
    pub(super) fn publish_end(self, last_bytes: Option<LastBytes>) {
        if let Some(vitals) = self.vitals {
            vitals.finish();
        }
        if let Some(lifecycle) = self.lifecycle {
            lifecycle.publish_end(last_bytes);
        }
    }
}
