//! What to do: the options of the command line, after the checks that need more than one of them.

mod access;
mod fleet;
mod serve;
mod subscription;

pub use crate::cli::{UsageError, args::Framing};
pub use serve::{Serve, Upstream};

use crate::{
    cli::{
        self, Cli, ExpectArgs, Sub, WrapArgs,
        args::{PlaybackArgs, ReplayArgs},
    },
    exporter::summary::When,
    fleet::{client::ClientAccess, gather, tail, target::Target, top::Top},
    golden::Fields,
    observer::{lifecycle, vitals},
    system::{option::Given, value::Period},
};
use clap_complete::Shell;
use serve::{serve, upstream};
use std::{ffi::OsString, path::PathBuf};

/// What to do.
#[derive(Debug)]
pub enum Task {
    /// Wrap a worker.
    Wrap(Box<Wrap>),
    /// Compare a worker's events with a golden file.
    Expect(Box<Expect>),
    /// Serve recordings.
    Replay(Box<Replay>),
    /// Print the events of recordings; none is standard input.
    Decode(Framing, Vec<PathBuf>),
    /// Print the events of running sidecars.
    Tail(Box<tail::Settings>),
    /// List the sidecars of this host, as JSON or not.
    Ps(bool, Box<ClientAccess>),
    /// Print the counters of these sidecars, or of all of this host; as JSON or not.
    Status(Vec<Target>, bool, Box<ClientAccess>),
    /// Show running sidecars or recordings.
    Top(Box<Top>),
    /// Serve one page for all sidecars of this host.
    Gather(Box<gather::Settings>, Box<ClientAccess>),
    /// Print completions.
    Completions(Shell),
    /// Copy this program to a directory.
    Install(PathBuf),
}

/// A worker to wrap.
#[derive(Debug)]
pub struct Wrap {
    /// How to serve it.
    pub serve: Serve,
    /// Its program.
    pub program: OsString,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Its own gRPC server.
    pub upstream: Option<Upstream>,
    /// Which events about its start and end to publish.
    pub lifecycle: Option<lifecycle::Settings>,
    /// Samples of what it uses.
    pub vitals: Option<vitals::Settings>,
}

/// A worker whose events are compared.
#[derive(Debug)]
pub struct Expect {
    /// The worker, which is not served.
    pub wrap: Wrap,
    /// The golden file.
    pub golden: PathBuf,
    /// What is compared.
    pub fields: Fields,
    /// Whether to write the golden file.
    pub update: bool,
}

/// Recordings to serve.
#[derive(Debug)]
pub struct Replay {
    /// How to serve them.
    pub serve: Serve,
    /// How many subscribers to wait for.
    pub wait_for_subscribers: usize,
    /// Whether to keep the recorded time between events.
    pub pace: bool,
    /// The most time that it may take.
    pub timeout: Option<Given<Period>>,
    /// After how many events streams fail, at least 1.
    pub fail_after: Option<usize>,
    /// Whether to leave out ordinary lines.
    pub no_stderr: bool,
    /// The recordings; "-" is standard input.
    pub files: Vec<PathBuf>,
}

/// Checks a command line.
///
/// # Errors
///
/// What does not go together, in one line that names an option or its variable.
pub fn resolve(cli: Cli) -> Result<Task, UsageError> {
    let Cli { subcommand, wrap } = cli;
    match subcommand {
        None => Ok(Task::Wrap(Box::new(self::wrap(wrap)?))),
        Some(Sub::Expect(args)) => expect(*args),
        Some(Sub::Replay(args)) => replay(*args),
        Some(Sub::Decode(args)) => Ok(Task::Decode(args.framing, args.files)),
        Some(Sub::Tail(args)) => fleet::tail(*args),
        Some(Sub::Ps(args)) => fleet::ps(args),
        Some(Sub::Status(args)) => fleet::status(args),
        Some(Sub::Top(args)) => fleet::top(*args),
        Some(Sub::Gather(args)) => fleet::gather(*args),
        Some(Sub::Completions { shell }) => Ok(Task::Completions(shell)),
        Some(Sub::Install { directory }) => Ok(Task::Install(directory)),
    }
}

fn wrap(args: WrapArgs) -> Result<Wrap, UsageError> {
    let mut words = args.command.into_iter();
    let program = words
        .next()
        .ok_or_else(|| "COMMAND: missing: telemetry-sidecar [OPTIONS] -- COMMAND [ARGS]...".to_owned())?;
    let mut serve = serve(args.serve)?;
    let upstream = upstream(args.upstream, &mut serve)?;
    let is_snakepit = serve.snakepit.is_some();
    let vitals = args.observer.vitals().map(|interval| vitals::Settings { interval, is_snakepit });
    let lifecycle = args.observer.lifecycle();
    let lifecycle = lifecycle.map(|lifecycle| lifecycle::Settings { is_snakepit, ..lifecycle });
    Ok(Wrap { serve, program, arguments: words.collect(), upstream, lifecycle, vitals })
}

/// Wraps as without options, but serves nothing.
fn expect(mut args: ExpectArgs) -> Result<Task, UsageError> {
    let mut wrapping = cli::defaults()?;
    let fields = args.fields();
    wrapping.command = args.command;
    wrapping.serve.framing = args.framing;
    let mut wrap = wrap(wrapping)?;
    wrap.serve.listen.clear();
    wrap.serve.summary.when = When::Never;
    Ok(Task::Expect(Box::new(Expect { wrap, golden: args.golden.value, fields, update: args.update })))
}

fn replay(args: ReplayArgs) -> Result<Task, UsageError> {
    let ReplayArgs { files, replay, serve: args } = args;
    let serve = serve(args)?;
    let listens = !serve.listen.iter().any(|address| address.origin.is_default());
    // An endpoint after --export-otlp, which takes no value, would be read as a file.
    if let Some(url) = files.iter().filter_map(|file| file.to_str()).find(|file| file.contains("://")) {
        return Err(format!("{url}: not a recording, write --export-otlp --otlp-endpoint {url}").into());
    }
    let default = usize::from(serve.exporters.is_empty() || listens);
    if let Some(Given { value, origin }) = &replay.wait_for_subscribers
        && u32::try_from(*value).is_ok_and(|count| count > serve.client_limits.subscribers)
    {
        return Err(origin.error("more than may subscribe, raise --max-subscribers").into());
    }
    let wait_for_subscribers = replay.wait_for_subscribers.map_or(default, |given| given.value);
    let PlaybackArgs { pace, timeout, fail_after, no_stderr, .. } = replay;
    Ok(Task::Replay(Box::new(Replay {
        serve,
        wait_for_subscribers,
        pace,
        timeout,
        fail_after,
        no_stderr,
        files,
    })))
}
