//! Outputs: what carries events out of the hub. Each exporter is one, and so is the gRPC server.
//!
//! ```text
//! settings ── start(context) ──→ Running ── the hub closes, linger, drain ──→ losses
//! ```
//!
//! The session starts the outputs and waits for them; an output knows nothing of the others.

use super::lines::LineTap;
use crate::{
    event::stats::RecordingCounters,
    hub::Hub,
    net::{reloader::LoadError, source_file::SourceError},
    system::{option::Given, own_file::OwnFile, thread, value::counted},
    worker::state::WorkerState,
};
use std::{
    ffi::OsString,
    fmt::{self, Debug, Display},
    io,
    net::SocketAddr,
    path::PathBuf,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context as TaskContext, Poll},
    time::Duration,
};
use thiserror::Error;
use tokio::{sync::oneshot, time::Instant};
use tokio_util::sync::CancellationToken;

/// Where the events come from.
#[derive(Debug, Clone)]
pub enum Mode {
    /// A running worker, which must not be slowed: what has no room is dropped.
    Live(Arc<WorkerState>),
    /// Recordings, which can wait: nothing is dropped.
    Replay,
}

impl Mode {
    /// The worker, if there is one.
    pub fn worker(&self) -> Option<&Arc<WorkerState>> {
        match self {
            Self::Live(worker) => Some(worker),
            Self::Replay => None,
        }
    }
}

/// How long outputs may take to deliver what is left after the last event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drain {
    /// Up to this time; what is left then is counted as lost.
    Within(Duration),
    /// As long as it takes.
    Complete,
}

impl Drain {
    /// When a drain that starts now has to end.
    pub fn deadline(self) -> Option<Instant> {
        match self {
            Self::Within(limit) => Some(Instant::now() + limit),
            Self::Complete => None,
        }
    }

    /// How long the last events of a source may take: a half, so that outputs have the other.
    pub fn of_source(self) -> Duration {
        match self {
            Self::Within(limit) => limit / 2,
            Self::Complete => Duration::MAX,
        }
    }

    /// What is left after this time.
    #[must_use]
    pub fn after(self, used: Duration) -> Self {
        match self {
            Self::Within(limit) => Self::Within(limit.saturating_sub(used)),
            Self::Complete => Self::Complete,
        }
    }
}

/// The reason of what was not delivered by the deadline.
pub const DRAIN_TIMEOUT_EXPIRED: &str = "the drain timeout expired (--drain-timeout)";

/// The reason of what was not delivered when a signal ended the drain.
pub const ENDED_BY_SIGNAL: &str = "a signal ended the drain";

/// The end of the drain, before which outputs count what they have not delivered.
#[derive(Debug, Clone, Default)]
pub struct DrainEnd {
    token: CancellationToken,
    reason: Arc<OnceLock<&'static str>>,
}

impl DrainEnd {
    /// Ends the drain. The first reason counts.
    pub fn end(&self, reason: &'static str) {
        self.reason.get_or_init(|| reason);
        self.token.cancel();
    }

    /// Why it has ended, if it has.
    pub fn reason(&self) -> Option<&'static str> {
        self.reason.get().copied()
    }

    /// Waits for the end and returns its reason.
    pub async fn ended(&self) -> &'static str {
        self.token.cancelled().await;
        // It is set before the token is cancelled.
        self.reason().unwrap_or_default()
    }
}

/// What an output starts with.
#[derive(Clone)]
pub struct Context {
    /// The events.
    pub hub: Arc<Hub>,
    /// Where they come from.
    pub mode: Mode,
    /// The counters of the recording, if there is one.
    pub recording: Option<Arc<RecordingCounters>>,
    /// The worker's ordinary lines, if an output [takes](Output::takes_lines) them.
    pub lines: Option<Arc<LineTap>>,
    /// How to drain.
    pub drain: Drain,
    /// How long an output may wait for its consumer after the last event, before it drains.
    pub linger: Duration,
    /// Cancelled when servers are to end.
    pub shutdown: CancellationToken,
    /// The end of the drain.
    pub drain_end: DrainEnd,
    /// The outputs that were started before and serve at an address.
    pub served: Vec<(&'static str, SocketAddr)>,
}

impl Context {
    /// Without a recording, before any output has started.
    pub fn new(hub: Arc<Hub>, mode: Mode, drain: Drain, linger: Duration) -> Self {
        let (shutdown, drain_end) = Default::default();
        Self {
            hub,
            mode,
            recording: None,
            lines: None,
            drain,
            linger,
            shutdown,
            drain_end,
            served: Vec::new(),
        }
    }
}

/// Something that events can be sent to, with its settings.
pub trait Output: Debug + Send {
    /// The file that it appends to.
    fn appends_to(&self) -> Option<&Given<PathBuf>> {
        None
    }

    /// Its name in counters and the file or address that it sends to, for people, if the options say it.
    fn destination(&self) -> Option<(&'static str, String)> {
        None
    }

    /// The variables that it sets or removes for the worker.
    fn worker_environment(&self) -> Vec<(&'static str, Option<OsString>)> {
        Vec::new()
    }

    /// Whether it has something to deliver if the worker cannot be started.
    fn reports_failed_start(&self) -> bool {
        false
    }

    /// Whether it reads the worker's ordinary lines. One output at most does.
    fn takes_lines(&self) -> bool {
        false
    }

    /// Starts it. It gets the events that are published from now on.
    ///
    /// # Errors
    ///
    /// If it cannot be started as the options say.
    fn start(self: Box<Self>, context: &Context) -> Result<Running, StartError>;
}

/// Why something could not be started.
#[derive(Debug, Error)]
pub enum StartError {
    /// An option, its value and the cause, in one line.
    #[error("{0}")]
    Option(String),
    /// A file that an option or a variable names.
    #[error(transparent)]
    File(#[from] SourceError),
    /// The system refused a thread or what it needs.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

impl From<LoadError> for StartError {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::File(error) => Self::File(error),
            LoadError::Thread(error) => Self::Thread(error),
        }
    }
}

/// What an output could not deliver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loss {
    /// So many of these were not delivered, most recently for this reason.
    Undelivered {
        /// The singular: event, span or data point.
        what: &'static str,
        /// How many.
        count: u64,
        /// Why.
        reason: String,
    },
    /// The output ended early.
    Failed(String),
}

impl Display for Loss {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Undelivered { what, count, reason } => {
                write!(formatter, "{} not delivered: {reason}", counted(*count, what))
            }
            Self::Failed(cause) => formatter.write_str(cause),
        }
    }
}

/// Counts what cannot be delivered.
#[derive(Debug, Default)]
pub struct Undelivered {
    count: u64,
    reason: String,
}

impl Undelivered {
    /// Adds a number of items that failed for this reason.
    pub fn add(&mut self, count: u64, reason: impl Display) {
        if count > 0 {
            self.count += count;
            self.reason = reason.to_string();
        }
    }

    /// The loss, if there is one.
    pub fn loss(self, what: &'static str) -> Option<Loss> {
        let Self { count, reason } = self;
        (count > 0).then_some(Loss::Undelivered { what, count, reason })
    }
}

/// A started output. It resolves when the output has drained, with what could not be delivered, or has ended
/// early.
#[derive(Debug)]
pub struct Running {
    /// The output's name.
    pub name: &'static str,
    /// Where it serves, if it does.
    pub address: Option<SocketAddr>,
    /// A file that it made, which has to exist until the sidecar's end.
    pub file: Option<OwnFile>,
    drained: oneshot::Receiver<Vec<Loss>>,
    closed: oneshot::Receiver<()>,
}

impl Running {
    /// The same at an address.
    #[must_use]
    pub fn at(self, address: SocketAddr) -> Self {
        Self { address: Some(address), ..self }
    }

    /// The same with a file that it made.
    #[must_use]
    pub fn with(self, file: Option<OwnFile>) -> Self {
        Self { file, ..self }
    }

    /// Waits until an output that has drained has also closed its connections.
    pub async fn closed(self) {
        // It is dropped, never sent.
        let _ = self.closed.await;
    }
}

impl Future for Running {
    type Output = Vec<Loss>;

    fn poll(mut self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<Vec<Loss>> {
        let ended_early = |_| vec![Loss::Failed("ended early because of an internal error".into())];
        Pin::new(&mut self.drained).poll(context).map(|drained| drained.unwrap_or_else(ended_early))
    }
}

/// The output's end of [`Running`]. Dropping it unused, as a panic does, means that the output has ended
/// early.
#[derive(Debug)]
pub struct Done {
    drained: oneshot::Sender<Vec<Loss>>,
    open: Open,
}

/// An output has closed its connections when this is dropped.
#[derive(Debug)]
pub struct Open(#[expect(dead_code, reason = "dropping it is the message")] oneshot::Sender<()>);

impl Done {
    /// Reports that the output has drained.
    pub fn drained(self, losses: impl IntoIterator<Item = Loss>) {
        drop(self.drained_but_open(losses));
    }

    /// The same. The session waits until what is returned is dropped, but not beyond the deadline.
    pub fn drained_but_open(self, losses: impl IntoIterator<Item = Loss>) -> Open {
        // The session may have stopped waiting.
        let _ = self.drained.send(losses.into_iter().collect());
        self.open
    }
}

/// Both ends of a running output.
pub fn channel(name: &'static str) -> (Done, Running) {
    let (done, drained) = oneshot::channel();
    let (open, closed) = oneshot::channel();
    (Done { drained: done, open: Open(open) }, Running { name, address: None, file: None, drained, closed })
}

/// Runs an output on a thread of its own: if it hangs, nothing else does.
///
/// # Errors
///
/// If the system refuses a thread.
pub fn spawn(name: &'static str, run: impl FnOnce(Done) + Send + 'static) -> Result<Running, StartError> {
    let (done, running) = channel(name);
    let spawned = thread::spawn(name, || run(done));
    spawned.map(|_| running).map_err(StartError::Thread)
}

/// Runs an asynchronous output on a thread of its own.
///
/// # Errors
///
/// If the system refuses a thread or what a runtime needs.
pub fn spawn_async<F: Future<Output = ()>>(
    name: &'static str,
    run: impl FnOnce(Done) -> F + Send + 'static,
) -> Result<Running, StartError> {
    let runtime = thread::runtime().enable_io().enable_time().build();
    let runtime = runtime.map_err(StartError::Thread)?;
    spawn(name, move |done| runtime.block_on(run(done)))
}
