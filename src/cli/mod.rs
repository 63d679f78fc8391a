//! The command line: options, subcommands, help, and every mistake as one line.
//!
//! Options are defined with clap, each in one place: flag, environment variable, default, value parser, help
//! and heading. Those of exporters, upstreams and clients' access are in the rooms that they configure. Help,
//! the man page, completions and `docs/options.md` come from the same definitions.
//!
//! Options are also read from the environment: an empty value means unset, switches are 0/1/true/false,
//! options that can be repeated have one value on each line, and only wrapping and `replay` read it.

pub mod args;
mod environment;
mod error;
mod hint;
mod needs;
#[doc(hidden)]
pub mod reference;

pub use error::UsageError;

use crate::{
    exporter::summary::args::joined,
    fleet::{
        args::{PsArgs, StatusArgs},
        gather::args::GatherArgs,
        tail::args::TailArgs,
        top::args::TopArgs,
    },
    system::option::Given,
    upstream::args::UpstreamArgs,
};
use args::{DecodeArgs, ReplayArgs, ServeArgs};
use clap::{
    Arg, ArgAction, Command, CommandFactory as _, FromArgMatches as _, Parser, Subcommand,
    builder::styling::{AnsiColor, Styles},
    error::ErrorKind,
};
use clap_complete::Shell;
use std::{ffi::OsString, path::PathBuf};

/// The subcommands.
const SUBCOMMANDS: [&str; 8] = ["replay", "decode", "tail", "top", "ps", "status", "gather", "completions"];

/// The subcommands that do not read the environment.
const WITHOUT_ENVIRONMENT: [&str; 7] = ["decode", "tail", "top", "ps", "status", "gather", "completions"];

/// Values that may begin with a minus: an error about the value is better than one about an unknown option.
const NUMBERS: [&str; 4] = ["N", "R", "BYTES", "DURATION"];

/// The options that `-h` shows, so that it fits on a screen.
const COMMON: [&str; 19] = [
    "files",
    "listen",
    READY_FILE,
    "quiet",
    "verbose",
    "embedded",
    "metadata",
    "record",
    "export_jsonl",
    "export_otlp",
    "export_prometheus",
    "export_statsd",
    "allow",
    "deny",
    "wait_for_subscribers",
    "pace",
    "timeout",
    "fail_after",
    "no_stderr",
];

const READY_FILE: &str = "ready_file";

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default());

/// Run a worker and stream the telemetry that it prints.
///
/// Takes the lines `TELEMETRY:{"event": …}` out of the worker's stderr, passes everything else through, and
/// serves the events on the gRPC stream snakepit.bridge.BridgeService/StreamTelemetry.
#[derive(Debug, Parser)]
#[command(
    name = crate::system::log::PROGRAM,
    version,
    styles = STYLES,
    max_term_width = 100,
    override_usage = "telemetry-sidecar [OPTIONS] -- COMMAND [ARGS]...\n       \
        telemetry-sidecar SUBCOMMAND [OPTIONS] [ARGS]...",
    after_help = "Examples:\n  \
        telemetry-sidecar -- python worker.py\n  \
        telemetry-sidecar --listen 127.0.0.1:4400 --record run.log -- python worker.py\n  \
        telemetry-sidecar tail\n\n\
        All options: telemetry-sidecar --help",
    after_long_help = "Every option of wrapping and of replay can also be set as an environment variable \
        TELEMETRY_SIDECAR_<NAME>, such as TELEMETRY_SIDECAR_READY_FILE: an empty value means unset, options \
        without a \
        value take 0, 1, true or false, options that can be repeated take one value on each line. The \
        command line \
        overrides the environment, and the worker does not inherit these variables.\n\n\
        A duration has a unit: 500ms, 20s, 1h 30m.\n\n\
        Exit status: the worker's, and a worker's death by a signal is passed on. 127 if the command is not \
        found, 126 \
        if it cannot be run, 125 if the sidecar fails or its options are wrong.",
    args_conflicts_with_subcommands = true,
    args_override_self = true,
    disable_help_subcommand = true
)]
pub struct Cli {
    #[command(subcommand)]
    pub(crate) subcommand: Option<Sub>,

    /// The worker's command line
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,

    #[command(flatten)]
    pub(crate) serve: ServeArgs,

    #[command(flatten)]
    pub(crate) upstream: UpstreamArgs,
}

impl Cli {
    /// Program and arguments of what a Snakepit pool starts, if the options say that it does.
    pub fn command_of_pool(&self) -> Option<(&OsString, &[OsString])> {
        let is_one = self.subcommand.is_none() && self.upstream.snakepit().is_some();
        self.command.split_first().filter(|_| is_one)
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
            None => Some(&self.serve),
            Some(Sub::Replay(args)) => Some(&args.serve),
            Some(_) => None,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Sub {
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
}

/// The outcome of parsing.
#[derive(Debug)]
pub enum Parsed {
    /// Something to do, and the environment variables that a worker must not inherit.
    Run(Box<Cli>, Vec<String>),
    /// Help or the version, to be printed.
    Text(clap::Error),
}

/// A command line that is wrong.
#[derive(Debug)]
pub struct Refused {
    pub error: UsageError,
    /// The ready file. A stale one is removed even so: a process that waits for it must not take it for this
    /// sidecar's.
    pub ready_file: Option<Given<PathBuf>>,
}

impl From<UsageError> for Refused {
    fn from(error: UsageError) -> Self {
        Self { error, ready_file: None }
    }
}

/// Parses a command line, program name first.
///
/// # Errors
///
/// What is wrong with it.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Parsed, Refused> {
    let arguments = joined(help(arguments.into_iter().collect())?);
    let is_first = |name: &&str| arguments.get(1).is_some_and(|word| word == name);
    let subcommand = SUBCOMMANDS.into_iter().find(is_first);
    let reads_environment = !WITHOUT_ENVIRONMENT.iter().any(is_first);

    let command = Cli::command();
    let names = environment::names(&command);
    let mut command = prepared(command, subcommand, reads_environment);
    let parsed = command
        .try_get_matches_from_mut(&arguments)
        .and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, matches)));
    match parsed {
        Ok((cli, matches)) => {
            let known = if reads_environment { environment::check(&names) } else { Ok(()) };
            let checked = known.and_then(|()| needs::check(&command, &matches));
            if let Err(error) = checked.and_then(|()| Ok(cli.upstream.check()?)) {
                return Err(Refused { error, ready_file: cli.ready_file().cloned() });
            }
            Ok(Parsed::Run(Box::new(cli), names))
        }
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            // The help shows what is documented, of the same command line.
            let shown = reference::documented(Cli::command()).try_get_matches_from(&arguments).err();
            let same = shown.filter(|shown| shown.kind() == error.kind());
            Ok(Parsed::Text(same.unwrap_or(error)))
        }
        Err(error) => {
            let error = error::one_line(&error, &command, subcommand, &arguments);
            Err(Refused { error, ready_file: ready_file(&arguments, subcommand, reads_environment) })
        }
    }
}

/// The same command line with the word `help` replaced by `--help`.
fn help(mut arguments: Vec<OsString>) -> Result<Vec<OsString>, UsageError> {
    if arguments.get(1).is_none_or(|word| word != "help") {
        return Ok(arguments);
    }
    let subcommand = arguments.get(2).cloned();
    if let Some(word) = subcommand.as_ref().filter(|word| !SUBCOMMANDS.iter().any(|name| word == name)) {
        let names = SUBCOMMANDS.join(", ");
        return Err(format!("help: '{}': expected one of {names}", word.display()).into());
    }
    if let Some(word) = arguments.get(3) {
        return Err(format!("help: '{}': unexpected, help takes one subcommand", word.display()).into());
    }
    arguments.truncate(1);
    arguments.extend(subcommand.into_iter().chain(["--help".into()]));
    Ok(arguments)
}

/// The definitions as they are parsed: with variables only where they are read and not empty.
fn prepared(command: Command, subcommand: Option<&str>, reads_environment: bool) -> Command {
    match subcommand {
        Some(name) => {
            command.mut_args(|argument| prepared_option(argument, false)).mut_subcommand(name, |sub| {
                sub.mut_args(|argument| prepared_option(argument, reads_environment))
            })
        }
        None => command.mut_args(|argument| prepared_option(argument, reads_environment)),
    }
}

fn prepared_option(argument: Arg, reads_environment: bool) -> Arg {
    let names = argument.get_value_names().unwrap_or_default();
    let is_number = names.iter().any(|name| NUMBERS.contains(&name.as_str()));
    let argument = if is_number { argument.allow_hyphen_values(true) } else { argument };
    let is_empty = argument.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
    if reads_environment && !is_empty { argument } else { argument.env(None::<&str>) }
}

/// The ready file of a command line on which only values are wrong.
fn ready_file(
    arguments: &[OsString],
    subcommand: Option<&str>,
    reads_environment: bool,
) -> Option<Given<PathBuf>> {
    let lenient = |argument: Arg| match argument.get_action() {
        ArgAction::Set | ArgAction::Append if argument.get_id() != READY_FILE => {
            argument.value_parser(clap::value_parser!(OsString))
        }
        _ => argument,
    };
    let command = prepared(Cli::command(), subcommand, reads_environment);
    let command = command.mut_args(lenient).mut_subcommands(|sub| sub.mut_args(lenient));
    let matches = command.try_get_matches_from(arguments).ok()?;
    let matches = matches.subcommand().map_or(&matches, |(_, matches)| matches);
    matches.try_get_one(READY_FILE).ok()?.cloned()
}
