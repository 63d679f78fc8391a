//! A worker that runs, until it has ended and everything is delivered.

use super::{ending::Ending, observing::Watch, own_files::OwnFiles, pool::Writing, settling::Settling};
use crate::{
    cli::args::ServingArgs,
    config::Wrap,
    pipeline::{
        leftover::Leftover,
        output::{DrainEnd, ENDED_BY_SIGNAL},
        wake::Wake,
    },
    system::memory,
    upstream::readiness::WorkerFile,
    worker::{
        Exit, copier, drain::DrainSignals, exit::is_pid_1, pipe, program::is_node, startup::close_inherited,
        supervisor::Supervisor,
    },
};
use nix::{
    sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit},
    unistd::{dup2_stdin, dup2_stdout},
};
use std::{
    fs::OpenOptions,
    io,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

/// How much later than the reading thread the main thread gives up, in case that one hangs.
pub(super) const EXIT_MARGIN: Duration = Duration::from_secs(1);

/// The sidecar [settles](settle) even after the end of a worker that was too short for it, if the delivery
/// takes longer than this.
const SHORT_DELIVERY: Duration = Duration::from_millis(2);

/// The main thread's part of a sidecar whose worker runs.
pub(super) struct Running<'a> {
    pub(super) config: Box<Wrap>,
    pub(super) supervisor: Supervisor<'a>,
    pub(super) watch: Watch,
    pub(super) wake: Arc<Wake>,
    pub(super) delivery: Delivery,
    /// The worker's.
    pub(super) stderr: OwnedFd,
    pub(super) own_files: OwnFiles,
    pub(super) pool_file: Option<Writing>,
    /// Removed when this is dropped.
    pub(super) worker_file: Option<Arc<WorkerFile>>,
}

/// What delivers after the worker's end, and how it is ended.
pub(super) struct Delivery {
    pub(super) ending: Ending,
    pub(super) drain_end: DrainEnd,
    pub(super) leftover: Arc<Leftover>,
}

impl Running<'_> {
    /// Waits for the worker's end and for everything to be delivered.
    pub(super) fn run(self) -> Exit {
        let Self { config, mut supervisor, mut watch, wake, delivery, stderr, .. } = self;
        let Self { own_files, pool_file, worker_file, .. } = self;
        let mut settling = Settling::new(&mut watch, || settle(&config, &stderr));
        let (exit, usage) = supervisor.run(&mut settling);
        let rest = settling.rest();
        watch.ended(exit, usage);
        wake.worker_ended();
        if let Some(rest) = rest
            && !delivery.ending.is_over_within(SHORT_DELIVERY)
        {
            rest();
        }
        let mut signals = supervisor.drain(exit);
        delivery.wait(&config.serve.serving, &mut signals);
        signals.end();
        drop(own_files);
        if let Some(file) = pool_file {
            file.finish(EXIT_MARGIN);
        }
        drop(worker_file);
        copier::leave_behind(&stderr, io::stderr(), &delivery.leftover.take());
        exit
    }
}

impl Delivery {
    /// Waits until everything is delivered, or the time for that is over, or a signal ends it.
    fn wait(&self, serving: &ServingArgs, signals: &mut DrainSignals<'_>) {
        let limit = serving.linger.0.saturating_add(serving.drain_timeout.0).saturating_add(EXIT_MARGIN);
        self.ending.wait(limit, signals, || {
            // The end of PID 1 ends the copier as well.
            if !is_pid_1() {
                self.leftover.stop_waiting();
            }
            self.drain_end.end(ENDED_BY_SIGNAL);
        });
    }
}

/// Does what can wait until the worker has started. `pipe` is its stderr.
fn settle(config: &Wrap, pipe: impl AsFd) {
    give_up_descriptors();
    raise_cpu_limit();
    // Node writes to a pipe asynchronously: `process.exit()` loses what does not fit into the pipe. It takes
    // Node longer to start than this.
    if config.serve.source.pipe_size.is_none() && is_node(&config.program) {
        pipe::enlarge(pipe);
    }
    memory::release();
}

/// Closes the sidecar's copies of the worker's descriptors, so that peers notice when the worker closes one.
/// As PID 1 it keeps the standard ones: others in its container write to `/proc/1/fd/1`.
fn give_up_descriptors() {
    if !is_pid_1()
        && let Ok(null) = OpenOptions::new().read(true).write(true).open("/dev/null")
    {
        let _ = dup2_stdin(&null);
        let _ = dup2_stdout(&null);
    }
    close_inherited();
}

/// The limit on processor time is the worker's, which has started with it: what the sidecar uses must not end
/// the worker. Without privileges only the soft limit can be raised.
fn raise_cpu_limit() {
    if setrlimit(Resource::RLIMIT_CPU, RLIM_INFINITY, RLIM_INFINITY).is_err()
        && let Ok((_, hard)) = getrlimit(Resource::RLIMIT_CPU)
    {
        let _ = setrlimit(Resource::RLIMIT_CPU, hard, hard);
    }
}
