//! The command line as clap defines it: the program, its subcommands, and the help around their options.

use super::{
    args::{DecodeArgs, ReplayArgs, ServeArgs},
    expect::ExpectArgs,
};
use crate::{
    fleet::{
        args::{PsArgs, StatusArgs},
        gather::args::GatherArgs,
        tail::args::TailArgs,
        top::args::TopArgs,
    },
    observer::args::ObserverArgs,
    system::{log::PROGRAM, option::Given},
    upstream::args::UpstreamArgs,
};
use clap::{
    Args, Command, Parser, Subcommand,
    builder::styling::{AnsiColor, Styles},
};
use clap_complete::Shell;
use std::{ffi::OsString, path::PathBuf};

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default());

/// The end of `-h`.
const EXAMPLE: &str = "Example:\n  \
    telemetry-sidecar --listen 127.0.0.1:4400 --record run.log -- python worker.py";

/// The end of `--help`.
const RULES: &str = "Every option of wrapping and of replay can also be set as an environment variable \
    TELEMETRY_SIDECAR_<NAME>, such as TELEMETRY_SIDECAR_READY_FILE: an empty value means unset, options \
    without a value take 0, 1, true or false, options that can be repeated take one value on each line. The \
    command line overrides the environment, and the worker does not inherit these variables. Of an option \
    that is given twice and cannot be repeated the last value counts; a second file or server is an error. \
    The worker gets TELEMETRY_SIDECAR=1, from which libraries know that a sidecar reads its stderr.\n\n\
    A duration has a unit: 500ms, 20s, 1h 30m.\n\n\
    Exit status: the worker's, and a worker's death by a signal is passed on. 127 if the command is not \
    found, 126 if it cannot be run, 125 if the sidecar fails or its options are wrong.";

/// Run a worker and stream the telemetry that it prints.
///
/// Takes the lines `TELEMETRY:{"event": …}` out of the worker's stderr, passes everything else through, and
/// serves the events on the gRPC stream snakepit.bridge.BridgeService/StreamTelemetry.
#[derive(Debug, Parser)]
#[command(
    name = PROGRAM,
    version = env!("SIDECAR_VERSION"),
    styles = STYLES,
    max_term_width = 100,
    override_usage = "telemetry-sidecar [OPTIONS] -- COMMAND [ARGS]...\n       \
        telemetry-sidecar SUBCOMMAND [OPTIONS] [ARGS]...",
    after_help = EXAMPLE,
    after_long_help = RULES,
    args_conflicts_with_subcommands = true,
    args_override_self = true,
    disable_help_subcommand = true
)]
pub struct Cli {
    #[command(subcommand)]
    pub(crate) subcommand: Option<Sub>,

    #[command(flatten)]
    pub(crate) wrap: WrapArgs,
}

/// Wrapping a worker. Without the subcommands it is defined and parsed in a third of the time and memory.
#[derive(Debug, Args)]
pub struct WrapArgs {
    /// The worker's command line
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,

    #[command(flatten)]
    pub(crate) serve: ServeArgs,

    #[command(flatten)]
    pub(crate) observer: ObserverArgs,

    #[command(flatten)]
    pub(crate) upstream: UpstreamArgs,
}

impl Cli {
    /// The definitions of wrapping alone, for a command line without `--help` and mistakes.
    pub(super) fn wrapping() -> Command {
        WrapArgs::augment_args(Command::new(PROGRAM).args_override_self(true))
    }

    /// Program and arguments of what a Snakepit pool starts, if the options say that it does.
    pub fn command_of_pool(&self) -> Option<(&OsString, &[OsString])> {
        let is_one = self.subcommand.is_none() && self.wrap.upstream.snakepit().is_some();
        self.wrap.command.split_first().filter(|_| is_one)
    }

    /// The file that is to have the addresses of the listeners, as its option or variable and its path.
    pub fn ready_file(&self) -> Option<&Given<PathBuf>> {
        if let Some(Sub::Gather(args)) = &self.subcommand {
            return args.ready_file.as_ref();
        }
        self.serves()?.serving.ready_file.as_ref()
    }

    /// The file that is to have the summary.
    pub fn summary_file(&self) -> Option<Given<PathBuf>> {
        self.serves()?.summary.settings().file
    }

    /// The options of serving, if it is to serve.
    fn serves(&self) -> Option<&ServeArgs> {
        match &self.subcommand {
            None => Some(&self.wrap.serve),
            Some(Sub::Replay(args)) => Some(&args.serve),
            Some(_) => None,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Sub {
    /// Compare a worker's events with a golden file
    ///
    /// Runs the command and compares its events, in order, with those of the file. The rest of its output
    /// passes through, and nothing is served. Timestamps are ignored, and so is the order of keys. The
    /// differences are printed on stderr. Exit status: 0 if the events are equal, 1 if they differ; if the
    /// worker fails its own, or its death by a signal; 125 if GOLDEN cannot be read or written.
    #[command(override_usage = "telemetry-sidecar expect [OPTIONS] GOLDEN -- COMMAND [ARGS]...")]
    Expect(Box<ExpectArgs>),

    /// Serve recorded stderr as if a worker wrote it
    ///
    /// Every event is delivered: a full queue is waited for. Ordinary lines go to stderr as they would live.
    Replay(Box<ReplayArgs>),

    /// Print the events of recorded stderr as JSON lines
    Decode(DecodeArgs),

    /// Print the events of running sidecars
    ///
    /// On a terminal each event is a line for people, otherwise a JSON line. `tail` ends when all sidecars
    /// have ended. Exit status: 125 if one of them cannot be followed to its end.
    Tail(Box<TailArgs>),

    /// List the sidecars that run on this host
    ///
    /// Sidecars of other users (unless you are root) and in containers are left out. RATE is the number of
    /// events each second, over half a second. LOST counts events that were dropped. Exit status: 0, even if
    /// there are none.
    Ps(PsArgs),

    /// Print the counters of running sidecars
    ///
    /// What is wrong comes first, and zeros are left out. Exit status: 125 if one of them does not answer, or
    /// there are none.
    Status(StatusArgs),

    /// Show workers live, or print the tables once
    ///
    /// Rates, operations with their durations, measurements, errors, losses, and the last events.
    Top(Box<TopArgs>),

    /// Serve one page of metrics for all sidecars of this host
    ///
    /// Sidecars that were started with --export-prometheus (port 0 is enough) are found without any
    /// configuration. Their series have a label "worker": "0", "1" and so on. The counters of a worker that
    /// has ended stay, and the next worker with its number adds to them, so sums never fall.
    Gather(Box<GatherArgs>),

    /// Print completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },

    /// Copy this program to a directory
    ///
    /// For init containers: an image that has only this program has no cp. The copy is named
    /// telemetry-sidecar, has the mode 0755 and replaces another one; others see the old or the new program.
    #[command(hide = true)] // for images, not for people: the list of subcommands stays short
    Install {
        /// The directory, which must exist
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
}
