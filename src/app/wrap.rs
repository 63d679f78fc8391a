//! Wrapping a worker.
//!
//! Two threads. This one, the process's first, spawns the worker (which is killed when the spawning thread
//! ends, so this has to be the one that lives as long as the process), passes signals on and waits. The other
//! one reads the worker's stderr, writes its own, publishes events and serves gRPC; a third one serves while
//! the second is busy (see `pipeline::live`). The exit status is the worker's, whatever the others do.

use super::{
    ending::Ending,
    observing::observe,
    own_files::{OwnFiles, Remover},
    pool::{self, PoolReadyFile},
    reading::Reading,
    ready_file::ReadyFile,
    running::{Delivery, EXIT_MARGIN, Running},
    session::Session,
    start::Announcement,
    summary::Plan,
    worker_stderr::{WorkerStderr, unprepared},
};
use crate::{
    cli::args::ServingArgs,
    config::{self, Serve, Wrap},
    hub::Coalescer,
    pipeline::{
        Parts, Pipeline,
        leftover::Leftover,
        output::{Mode, Output},
        publisher::{Dropping, Tap},
        wake::Wake,
    },
    system::{
        fd::wait,
        log::{self, Level},
        thread,
    },
    upstream::Upstream,
    worker::{
        Exit, environment, parent::Parent, program::is_there, signals::Signals, spawn::Command,
        starting::Starting, startup::note_descriptors, state::WorkerState, supervisor::Supervisor,
        witness::Witness,
    },
};
use nix::poll::{PollFlags, PollTimeout};
use std::{ffi::OsStr, io, sync::Arc};

/// A worker to wrap.
pub(super) struct Wrapping {
    pub(super) config: Box<Wrap>,
    pub(super) files: Files,
    /// Environment variables that the worker must not inherit.
    pub(super) environment_names: Vec<String>,
    /// It was started before the command line was parsed.
    pub(super) witness: Option<Witness>,
    /// Has seen all events when the worker's run is over.
    pub(super) tap: Option<Tap>,
}

/// The files that the sidecar writes itself.
pub(super) struct Files {
    pub(super) ready: Option<ReadyFile>,
    pub(super) pool: Option<PoolReadyFile>,
    pub(super) summary: Option<ReadyFile>,
}

/// Runs a worker to its end.
///
/// # Errors
///
/// What keeps the sidecar from starting it. A command that cannot be executed is reported here, and the exit
/// status says so.
pub(super) fn run(wrapping: Wrapping) -> Result<Exit, String> {
    let signals = Signals::block().map_err(unprepared)?;
    match start(wrapping, &signals)? {
        Started::Worker(running) => Ok(running.run()),
        Started::Nothing(exit) => Ok(exit),
    }
}

/// What [`start`] has led to.
enum Started<'a> {
    Worker(Box<Running<'a>>),
    /// The command cannot be executed.
    Nothing(Exit),
}

/// Starts everything, at last the worker.
///
/// It is not inlined: a sidecar keeps the memory of all frames that are on the stack while its worker runs.
#[inline(never)]
fn start(wrapping: Wrapping, signals: &Signals) -> Result<Started<'_>, String> {
    let Wrapping { mut config, files, environment_names, witness, tap } = wrapping;
    let Files { ready: ready_file, pool: pool_file, summary: summary_file } = files;
    let words = [&config.program].into_iter().chain(&config.arguments).cloned().collect();
    let plan = Plan::new(&config.serve.summary, summary_file, config.serve.serving.quiet, words);
    let parent = config.serve.source.stop_with_parent.map(Parent::watch);
    let upstream = config.upstream.take();
    // A worker that serves no gRPC has no port to write.
    let worker_file = pool_file.as_ref().filter(|_| upstream.is_some()).map(PoolReadyFile::for_worker);
    let worker_path = worker_file.as_ref().map(|file| file.path().as_os_str());
    let pools = pool_file.as_ref().map(|_| (pool::VARIABLE, worker_path));
    let reports_failed_start = config.serve.exporters.iter().any(|output| output.reports_failed_start());
    // SAFETY: this is the process's first thread, and the others are started below.
    unsafe { prepare_environment(&environment_names, pools, &config.serve.exporters) };
    let witness = witness.and_then(Witness::in_own_group);
    let own_files = OwnFiles::default();
    let is_slow = pool_file.is_some() || may_wait(&config.serve, ready_file.as_ref());
    if is_slow || upstream.is_some() {
        // Some threads will resolve names.
        note_descriptors();
    }
    let starting = begin(signals, own_files.remover(), is_slow);
    let starting = starting.map_err(|error| format!("cannot prepare for signals: {error}"))?;
    let wake = Arc::new(Wake::new().map_err(unprepared)?);
    let (ending, stages) = Ending::new().map_err(unprepared)?;
    let log = start_log(&config.serve.serving, Arc::clone(&wake));
    // Exporters have nothing to export if subscriptions start disabled.
    let exports_vitals = config.vitals.is_some() && !config.serve.disabled;
    let worker_state = Arc::new(WorkerState::new(&config.program).with_vitals(exports_vitals));
    let WorkerStderr { reader, writer, channel, window } = WorkerStderr::open(&config)?;
    // Duplicate it now: clients can use up all descriptors once they are served.
    let stderr = reader.try_clone().map_err(unprepared)?;
    let mode = Mode::Live(Arc::clone(&worker_state));
    let upstream = upstream.map(|config::Upstream { address, start_timeout }| {
        Arc::new(Upstream::new(address, start_timeout, Arc::clone(&worker_state)))
    });
    let announcement = announcement(&config, ready_file);
    // Who taps the events tests them.
    let (serve, summarized, reports_rejected) = (&mut config.serve, plan.is_needed(), tap.is_some());
    let session = Session::start(serve, announcement, summarized, mode, upstream.clone(), &own_files, &log);
    let session = session.map_err(|error| error.to_string())?;
    let drain_end = session.drain_end();
    let relayed = worker_file.clone().zip(upstream.clone());
    let pool_file = pool_file.zip(session.localhost_port);
    let pool_file = pool_file.map(|(file, port)| file.write_after_start(port, relayed)).transpose();
    let pool_file = pool_file.map_err(unprepared)?;
    let leftover = Arc::new(Leftover::new().map_err(unprepared)?);
    let publisher = Dropping::new(Coalescer::new(Arc::clone(&session.hub)), tap);
    let parts = session.parts(&mut config.serve, publisher);
    let passthrough = parts.passthrough.with_leftover(Arc::clone(&leftover));
    let (mut watch, reports) = observe(&config, &worker_state, &writer, &session.observer);
    let last_bytes = reports.last_bytes();
    let reading = Reading {
        pipeline: Pipeline::new(Parts { passthrough, last_bytes, ..parts }),
        session,
        stderr: reader,
        channel,
        wake: Arc::clone(&wake),
        stages,
        plan,
        reports,
        upstream,
        worker: Arc::clone(&worker_state),
        is_quiet: config.serve.serving.quiet,
        reports_rejected,
        is_logging: config.serve.serving.log().level > Level::Off,
    };
    thread::spawn("stderr", || reading.run()).map_err(|error| error.to_string())?;

    starting.end();
    let command = Command { program: &config.program, arguments: &config.arguments, stderr: writer };
    watch.starting();
    let mut supervisor = match Supervisor::start(command, signals, witness) {
        Ok(supervisor) => supervisor,
        Err(error) => {
            log::error_line(error.describe(&config.program));
            worker_state.failed_to_start(error);
            drop((starting, watch));
            if reports_failed_start {
                report_failed_start(signals, &own_files, &wake, &ending, &config.serve.serving);
            }
            return Ok(Started::Nothing(Exit::Code(error.exit_code())));
        }
    };
    drop(starting);
    supervisor.passes_size(window);
    supervisor.stops_with(parent);
    let worker = supervisor.worker();
    watch.started(worker, supervisor.helper());
    if let Some(file) = &pool_file {
        file.start();
    }
    tracing::info!("worker {worker} started: {}", config.program.display());
    let delivery = Delivery { ending, drain_end, leftover };
    Ok(Started::Worker(Box::new(Running {
        config,
        supervisor,
        watch,
        wake,
        delivery,
        stderr,
        own_files,
        pool_file,
        worker_file,
    })))
}

/// Announces nothing for a command that is not there: no client is to connect to a sidecar that ends at once.
fn announcement(config: &Wrap, ready_file: Option<ReadyFile>) -> Announcement {
    if is_there(&config.program) {
        Announcement::new(&config.serve.serving, ready_file)
    } else {
        Announcement::default()
    }
}

/// Waits until the exporters have reported that there is no worker. Signals end the sidecar meanwhile.
fn report_failed_start(
    signals: &Signals,
    files: &OwnFiles,
    wake: &Wake,
    ending: &Ending,
    serving: &ServingArgs,
) {
    let _ending_signals = begin(signals, files.remover(), true);
    wake.worker_ended();
    ending.is_over_within(serving.drain_timeout.0.saturating_add(EXIT_MARGIN));
}

/// Makes the environment what the worker is to inherit, with the pool's variable and those of exporters.
///
/// # Safety
///
/// There must be no other thread yet.
unsafe fn prepare_environment(
    own: &[String],
    pools: Option<(&str, Option<&OsStr>)>,
    exporters: &[Box<dyn Output>],
) {
    let theirs: Vec<_> = exporters.iter().flat_map(|exporter| exporter.worker_environment()).collect();
    let theirs = theirs.iter().map(|(name, value)| (*name, value.as_deref()));
    let changes: Vec<_> = pools.into_iter().chain(theirs).collect();
    // SAFETY: as the caller promises.
    unsafe { environment::prepare(own, &changes) };
}

/// Until this is dropped, signals end the sidecar as they would any process, once its files are removed; at
/// once if the start is slow.
fn begin(signals: &Signals, files: Remover, is_slow: bool) -> io::Result<Starting> {
    let mut starting = Starting::begin(signals, move || files.remove());
    if is_slow {
        starting.watch()?;
    }
    Ok(starting)
}

/// Whether the start may wait for another process.
fn may_wait(serve: &Serve, ready_file: Option<&ReadyFile>) -> bool {
    let announces = serve.serving.announces();
    serve.opens_files()
        || ready_file.is_some_and(ReadyFile::is_open)
        || announces && !wait(io::stderr(), PollFlags::POLLOUT, PollTimeout::ZERO)
}

/// Starts the log, which the reading thread prints when it is woken.
fn start_log(serving: &ServingArgs, wake: Arc<Wake>) -> log::Lines {
    let log = log::start(serving.log(), move || wake.notify());
    log_panics();
    log
}

/// A panic must not be printed into the worker's output. Only its location is logged: the message may quote
/// what the worker printed.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string);
        tracing::info!("panic at {}", location.as_deref().unwrap_or("an unknown location"));
    }));
}
