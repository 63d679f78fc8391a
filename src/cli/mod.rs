//! The command line: clap's structures, and every way of getting it wrong as one line.
//!
//! Nothing is acted on here and nothing is looked up; `config` makes values of the words. Options are also read
//! from the environment, with these rules: an empty value is none, switches are 0/1/true/false, options that can
//! be repeated take one value a line, and only wrapping and `replay` read it at all.

mod access;
mod environment;
mod export;
mod fault;
mod options;
pub mod word;

pub use access::{Access, Client, Limits};
pub use environment::Environment;
pub use export::Export;
pub use options::{Lines, Options};
pub use word::Word;

use clap::{Arg, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, error::ErrorKind};
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};
use word::{FromVariable, switch};

const SUBCOMMANDS: [&str; 3] = ["replay", "decode", "tail"];

/// The values that may begin with a minus: what is wrong with them is better said than that there is no such option.
const NUMBERS: [&str; 4] = ["N", "R", "BYTES", "DURATION"];

/// Run a worker and stream the telemetry it prints.
///
/// Takes the lines `TELEMETRY:{"event": …}` out of the worker's stderr, passes everything else through, and
/// serves the events on the gRPC stream snakepit.bridge.BridgeService/StreamTelemetry.
#[derive(Debug, Parser)]
#[command(
    name = crate::system::log::PROGRAM,
    version,
    max_term_width = 100,
    override_usage = "telemetry-sidecar [OPTIONS] -- COMMAND [ARGS]...\n       \
        telemetry-sidecar replay [OPTIONS] FILE...\n       \
        telemetry-sidecar decode [OPTIONS] [FILE]...\n       \
        telemetry-sidecar tail [OPTIONS] ADDRESS",
    after_help = "Every option of wrapping and of replay can also be set as TELEMETRY_SIDECAR_<NAME>: empty means \
        unset, switches are 0 or 1, -v a count, options that can be repeated take one value a line.\n\n\
        Exit status: the worker's; death by a signal is passed on. 127 if the command is not found, 126 if it \
        cannot be run, 125 if the sidecar itself fails.",
    args_conflicts_with_subcommands = true,
    args_override_self = true,
    disable_help_subcommand = true
)]
pub struct Cli {
    /// What to do other than to wrap a worker.
    #[command(subcommand)]
    pub subcommand: Option<Sub>,

    /// The worker's command line.
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,

    /// The options of wrapping.
    #[command(flatten)]
    pub options: Options,
}

impl Cli {
    /// The file that is to say where the sidecar listens.
    pub fn ready_file(&self) -> Option<&Path> {
        let options = match &self.subcommand {
            None => &self.options,
            Some(Sub::Replay { options, .. }) => options,
            Some(_) => return None,
        };
        options.ready_file.as_deref()
    }
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Sub {
    /// Serve recorded stderr as if a worker wrote it.
    ///
    /// Every event is delivered: a full queue is waited for. Ordinary lines go to stderr as they would live.
    Replay {
        /// Start when so many are subscribed [default: 1; 0 with exporters and no --listen]
        #[arg(long, value_name = "N", env = "TELEMETRY_SIDECAR_WAIT_FOR_SUBSCRIBERS")]
        wait_for_subscribers: Option<Word>,

        /// Keep the recorded time between events
        #[arg(long, env = "TELEMETRY_SIDECAR_PACE", value_parser = FromVariable(switch))]
        pace: bool,

        /// Recorded stderr; "-" is standard input
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,

        /// The options of serving.
        #[command(flatten)]
        options: Box<Options>,
    },

    /// Print the events of recorded stderr as JSON lines.
    Decode {
        /// What to look for.
        #[command(flatten)]
        lines: Lines,

        /// Recorded stderr; "-" or none is standard input
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
    },

    /// Subscribe to a running sidecar and print its events as JSON lines.
    Tail {
        /// HOST:PORT, or unix:PATH
        #[arg(value_name = "ADDRESS")]
        address: Word,

        /// How to get in.
        #[command(flatten)]
        client: Client,
    },
}

/// What a command line comes to.
#[derive(Debug)]
pub enum Parsed {
    /// Something to do.
    Run(Box<Cli>, Environment),
    /// A text that was asked for: help or the version.
    Text(String),
}

/// Parses a command line, program name first.
///
/// # Errors
///
/// What is wrong with it, in one line.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Parsed, String> {
    let mut arguments: Vec<_> = arguments.into_iter().collect();
    let mut command = Cli::command();
    if arguments.get(1).is_some_and(|word| word == "help") {
        arguments = help(arguments)?;
    }
    let names = environment::names(&command);
    let first = arguments.get(1);
    let subcommand = SUBCOMMANDS.into_iter().find(|name| first.is_some_and(|word| word == name));
    forgotten_equals_sign(&arguments, subcommand)?;
    let ignores_environment = matches!(subcommand, Some("decode" | "tail"));
    // At the top level a subcommand's variables are not for wrapping.
    let for_subcommand = subcommand.is_some();
    command = command.mut_args(|argument| known(argument, !for_subcommand));
    for name in SUBCOMMANDS {
        command = command.mut_subcommand(name, |sub| {
            sub.disable_version_flag(true).mut_args(|argument| known(argument, !ignores_environment))
        });
    }

    let parsed = command
        .try_get_matches_from_mut(&arguments)
        .and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, matches)));
    let (mut cli, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            return Ok(Parsed::Text(error.render().to_string()));
        }
        Err(error) => return Err(fault::one_line(&error, &command, subcommand, &arguments)),
    };
    let (given, matches) = match matches.subcommand() {
        Some((name, matches)) => (command.find_subcommand(name).unwrap_or(&command), matches),
        None => (&command, &matches),
    };
    let options = match &mut cli.subcommand {
        Some(Sub::Replay { options, .. }) => options,
        _ => &mut cli.options,
    };
    environment::split_lines(options, matches);
    let environment = Environment::new(names, given, matches);
    Ok(Parsed::Run(Box::new(cli), environment))
}

/// The same with `help` as the word that it is in other programs.
fn help(arguments: Vec<OsString>) -> Result<Vec<OsString>, String> {
    let mut words = arguments.into_iter();
    let program = words.next().unwrap_or_default();
    let subcommand = words.nth(1);
    if let Some(word) = subcommand.as_ref().filter(|word| !SUBCOMMANDS.iter().any(|name| word == name)) {
        return Err(format!("help: '{}': expected one of {}", word.display(), SUBCOMMANDS.join(", ")));
    }
    Ok([program].into_iter().chain(subcommand).chain(["--help".into()]).collect())
}

/// An endpoint after `--export-otlp` would be taken for something else: it may have none.
fn forgotten_equals_sign(arguments: &[OsString], subcommand: Option<&str>) -> Result<(), String> {
    // A recording may have a colon in its name.
    let mark = match subcommand {
        None => ":",
        Some("replay") => "://",
        Some(_) => return Ok(()),
    };
    let words = arguments.iter().take_while(|word| *word != "--");
    let next = words.skip_while(|word| *word != "--export-otlp").nth(1);
    match next.and_then(|word| word.to_str()) {
        Some(word) if word.contains(mark) && !word.starts_with('-') => {
            Err(format!("--export-otlp: write --export-otlp={word}"))
        }
        _ => Ok(()),
    }
}

/// An option without its variable where that is not read, or is empty.
fn known(argument: Arg, reads_environment: bool) -> Arg {
    let names = argument.get_value_names().unwrap_or_default();
    let is_number = names.iter().any(|name| NUMBERS.contains(&name.as_str()));
    let argument = if is_number { argument.allow_hyphen_values(true) } else { argument };
    let is_empty = argument.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
    if reads_environment && !is_empty { argument } else { argument.env(None::<&str>) }
}
