//! The command line: clap's structures, and every way of getting it wrong as one line.
//!
//! Nothing is acted on here and nothing is looked up; `config` makes values of the words. Options are also read
//! from the environment, with these rules: an empty value is none, booleans are 0/1/true/false, options that can
//! be repeated take one value a line, and only wrapping and `replay` read it at all.

mod access;
mod export;

pub use access::{Access, Client, Limits};
pub use export::Export;

use clap::{
    Arg, ArgMatches, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand,
    error::{ContextKind, ContextValue, ErrorKind},
    parser::ValueSource,
};
use std::{ffi::OsString, path::PathBuf};

/// The options that can be repeated: in the environment one value a line.
const REPEATABLE: [&str; 6] = ["listen", "allow", "deny", "metadata", "metric_kind", "metric_label"];

const SUBCOMMANDS: [&str; 3] = ["replay", "decode", "tail"];

/// Run a worker and stream the telemetry it prints.
///
/// Takes the lines `TELEMETRY:{"event": …}` out of the worker's stderr, passes everything else through, and
/// serves the events on the gRPC stream snakepit.bridge.BridgeService/StreamTelemetry.
#[derive(Debug, Parser)]
#[command(
    name = crate::log::PROGRAM,
    version,
    max_term_width = 100,
    override_usage = "telemetry-sidecar [OPTIONS] -- COMMAND [ARGS]...\n       \
        telemetry-sidecar replay [OPTIONS] FILE...\n       \
        telemetry-sidecar decode [OPTIONS] [FILE]...\n       \
        telemetry-sidecar tail [OPTIONS] ADDRESS",
    after_help = "Every option can also be set as TELEMETRY_SIDECAR_<NAME>: empty means unset, switches are \
        0 or 1, options that can be repeated take one value a line.\n\n\
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

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Sub {
    /// Serve recorded stderr as if a worker wrote it.
    ///
    /// Every event is delivered: a full queue is waited for. Ordinary lines go to stderr as they would live.
    Replay {
        /// Start when so many are subscribed [default: 1; 0 with exporters and no --listen]
        #[arg(
            long,
            value_name = "N",
            allow_negative_numbers = true,
            env = "TELEMETRY_SIDECAR_WAIT_FOR_SUBSCRIBERS"
        )]
        wait_for_subscribers: Option<usize>,

        /// Keep the recorded time between events
        #[arg(long, env = "TELEMETRY_SIDECAR_PACE", value_parser = boolean)]
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
        address: String,

        /// How to get in.
        #[command(flatten)]
        client: Client,
    },
}

/// What is telemetry and what is not.
#[derive(Debug, Args)]
pub struct Lines {
    /// What to do with an event that starts in mid-line
    #[arg(
        long,
        value_name = "MODE",
        default_value = "copy",
        env = "TELEMETRY_SIDECAR_EMBEDDED",
        long_help = "What to do with an event that starts in mid-line, as behind a progress bar: copy delivers \
            it and passes the line through, strip takes it out of the line, ignore leaves it alone"
    )]
    pub embedded: String,

    /// Longest telemetry line, prefix and newline counted; a longer one passes through
    #[arg(long, value_name = "N", allow_negative_numbers = true, default_value_t = 4 * 1024 * 1024, env = "TELEMETRY_SIDECAR_MAX_LINE_BYTES")]
    pub max_line_bytes: usize,
}

/// The options of wrapping and replaying.
#[derive(Debug, Args)]
pub struct Options {
    /// Where to serve gRPC: HOST:PORT (port 0: any free one) or unix:PATH; repeatable [default: 127.0.0.1:0]
    #[arg(long, value_name = "ADDRESS", env = "TELEMETRY_SIDECAR_LISTEN")]
    pub listen: Vec<String>,

    /// Write a line for each listener to this file: its port, or unix:PATH
    #[arg(long, value_name = "PATH", env = "TELEMETRY_SIDECAR_READY_FILE")]
    pub ready_file: Option<PathBuf>,

    /// Do not announce the port with a line GRPC_READY:PORT on stderr
    #[arg(short, long, env = "TELEMETRY_SIDECAR_QUIET", value_parser = boolean)]
    pub quiet: bool,

    /// Events that may wait for each subscriber
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        default_value_t = 1024,
        env = "TELEMETRY_SIDECAR_QUEUE_CAPACITY"
    )]
    pub queue_capacity: usize,

    /// Bytes that may wait for each subscriber
    #[arg(long, value_name = "N", allow_negative_numbers = true, default_value_t = 16 * 1024 * 1024, env = "TELEMETRY_SIDECAR_QUEUE_BYTES")]
    pub queue_bytes: usize,

    /// Which event a full queue gives up: drop-newest or drop-oldest
    #[arg(long, value_name = "WHICH", default_value = "drop-newest", env = "TELEMETRY_SIDECAR_WHEN_FULL")]
    pub when_full: String,

    /// What is telemetry.
    #[command(flatten)]
    pub lines: Lines,

    /// Size of the worker's stderr pipe [default: the system's, enlarged to 1 MiB while it runs full]
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true, env = "TELEMETRY_SIDECAR_PIPE_SIZE")]
    pub pipe_size: Option<usize>,

    /// Share of traces that a subscription starts with, 0 to 1
    #[arg(
        long,
        value_name = "R",
        allow_negative_numbers = true,
        default_value_t = 1.0,
        env = "TELEMETRY_SIDECAR_SAMPLING_RATE"
    )]
    pub sampling_rate: f64,

    /// Events that a subscription starts with: a glob over the name; repeatable [default: all]
    #[arg(long, value_name = "GLOB", env = "TELEMETRY_SIDECAR_ALLOW")]
    pub allow: Vec<String>,

    /// Events that a subscription starts without: a glob over the name; repeatable
    #[arg(long, value_name = "GLOB", env = "TELEMETRY_SIDECAR_DENY")]
    pub deny: Vec<String>,

    /// Start subscriptions switched off
    #[arg(long, env = "TELEMETRY_SIDECAR_DISABLED", value_parser = boolean)]
    pub disabled: bool,

    /// Add this to the metadata of every event that does not have the key; repeatable
    #[arg(long, value_name = "KEY=VALUE", env = "TELEMETRY_SIDECAR_METADATA")]
    pub metadata: Vec<String>,

    /// How long queued events may still flow after the worker's end, such as 500ms or 2s
    #[arg(long, value_name = "DURATION", default_value = "500ms", env = "TELEMETRY_SIDECAR_DRAIN_TIMEOUT")]
    pub drain_timeout: String,

    /// How long to wait, after the worker's end, for a first subscriber and for a last scrape by Prometheus
    #[arg(long, value_name = "DURATION", default_value = "0s", env = "TELEMETRY_SIDECAR_LINGER")]
    pub linger: String,

    /// Append the worker's raw stderr to this file, for replay
    #[arg(long, value_name = "FILE", env = "TELEMETRY_SIDECAR_RECORD")]
    pub record: Option<PathBuf>,

    /// The sidecar's own log, on stderr; -vv for more
    #[arg(short, long, action = clap::ArgAction::Count, env = "TELEMETRY_SIDECAR_VERBOSE")]
    pub verbose: u8,

    // Those with a heading of their own come last: what followed would be under it, too.
    /// Who is let in.
    #[command(flatten)]
    pub access: Access,

    /// What clients may take.
    #[command(flatten)]
    pub limits: Limits,

    /// Where else events go.
    #[command(flatten)]
    pub export: Export,
}

/// What a command line comes to.
#[derive(Debug)]
pub enum Parsed {
    /// Something to do, and the names of the environment variables that this program reads.
    Run(Box<Cli>, Vec<String>),
    /// A text that was asked for: help or the version.
    Text(String),
}

/// Parses a command line, program name first.
///
/// # Errors
///
/// What is wrong with it, in one line.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Parsed, String> {
    let arguments: Vec<_> = arguments.into_iter().collect();
    let mut command = Cli::command();
    let names = environment_names(&command);
    let subcommand =
        arguments.get(1).and_then(|word| command.find_subcommand(word)).map(clap::Command::get_name);
    let ignores_environment = matches!(subcommand, Some("decode" | "tail"));
    // At the top level a subcommand's variables are not for wrapping.
    let for_subcommand = subcommand.is_some();
    command = command.mut_args(
        |argument| {
            if for_subcommand { argument.env(None::<&str>) } else { known(argument) }
        },
    );
    for name in SUBCOMMANDS {
        command = command.mut_subcommand(name, |sub| {
            sub.disable_version_flag(true).mut_args(|argument| {
                if ignores_environment { argument.env(None::<&str>) } else { known(argument) }
            })
        });
    }

    let matches = match command.try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            return Ok(Parsed::Text(error.render().to_string()));
        }
        Err(error) => return Err(one_line(&error)),
    };
    let mut cli = Cli::from_arg_matches(&matches).map_err(|error| one_line(&error))?;
    let (options, matches) = match (&mut cli.subcommand, matches.subcommand()) {
        (Some(Sub::Replay { options, .. }), Some((_, matches))) => (&mut **options, matches),
        _ => (&mut cli.options, &matches),
    };
    split_lines(options, matches);
    Ok(Parsed::Run(Box::new(cli), names))
}

/// Leaves out the variable of an option when it is set to nothing.
fn known(argument: Arg) -> Arg {
    let empty = argument.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
    if empty { argument.env(None::<&str>) } else { argument }
}

/// The variables of all options, those of subcommands included.
fn environment_names(command: &clap::Command) -> Vec<String> {
    let own =
        command.get_arguments().filter_map(|argument| argument.get_env()?.to_str().map(ToOwned::to_owned));
    own.chain(command.get_subcommands().flat_map(environment_names)).collect()
}

/// One value a line for what can be repeated and comes from the environment.
fn split_lines(options: &mut Options, matches: &ArgMatches) {
    let Export { metric_kind, metric_label, .. } = &mut options.export;
    let values = [
        &mut options.listen,
        &mut options.allow,
        &mut options.deny,
        &mut options.metadata,
        metric_kind,
        metric_label,
    ];
    for (name, values) in REPEATABLE.into_iter().zip(values) {
        if matches.value_source(name) == Some(ValueSource::EnvVariable) {
            let lines = values.iter().flat_map(|value| value.lines()).filter(|line| !line.is_empty());
            *values = lines.map(ToOwned::to_owned).collect();
        }
    }
}

fn boolean(word: &str) -> Result<bool, String> {
    match word {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err("expected 0, 1, true or false".into()),
    }
}

/// `<what>: <cause>`, naming the option and the value.
fn one_line(error: &clap::Error) -> String {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(" "),
        _ => String::new(),
    };
    // "--listen <ADDRESS>..." is known as --listen, "<FILE>..." as FILE.
    let bare = |argument: String| {
        let word = argument.split(' ').next().unwrap_or_default();
        word.trim_end_matches("...").trim_matches(['<', '>', '[', ']']).to_owned()
    };
    let argument = bare(context(ContextKind::InvalidArg));
    let value = context(ContextKind::InvalidValue);
    match error.kind() {
        ErrorKind::InvalidSubcommand | ErrorKind::UnknownArgument if !argument.starts_with('-') => {
            let word = context(ContextKind::InvalidSubcommand) + &argument;
            if SUBCOMMANDS.contains(&word.as_str()) {
                format!("{word}: a subcommand comes first, its options after it")
            } else {
                format!("{word}: put -- before the worker's command: telemetry-sidecar [OPTIONS] -- COMMAND [ARGS]...")
            }
        }
        ErrorKind::UnknownArgument => {
            let similar = context(ContextKind::SuggestedArg);
            let suggestion =
                if similar.is_empty() { String::new() } else { format!(", did you mean {similar}?") };
            format!("{argument}: no such option{suggestion} (see --help)")
        }
        ErrorKind::InvalidValue if value.is_empty() => format!("{argument}: a value is missing"),
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            let cause =
                std::error::Error::source(error).map_or("not a possible value".into(), ToString::to_string);
            format!("{argument}: '{value}': {cause}")
        }
        ErrorKind::MissingRequiredArgument => format!("{argument}: missing (see --help)"),
        _ => {
            let text = error.render().to_string();
            let line = text.lines().next().unwrap_or_default();
            line.strip_prefix("error: ").unwrap_or(line).to_owned()
        }
    }
    .replace('\n', "\\n")
}
