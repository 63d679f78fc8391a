//! The command line: options, subcommands, help, and every mistake as one line.
//!
//! Options are defined with clap, each in one place: flag, environment variable, default, value parser, help
//! and heading. Those of exporters, upstreams and clients' access are in the rooms that they configure. Help,
//! the man page, completions and `docs/options.md` come from the same definitions.
//!
//! Options are also read from the environment: an empty value means unset, switches are 0/1/true/false,
//! options that can be repeated have one value on each line, and only wrapping and `replay` read it.

pub mod args;
mod command;
mod environment;
mod error;
mod expect;
mod hint;
mod needs;
#[doc(hidden)]
pub mod reference;
mod spelling;

pub use command::Cli;
pub(crate) use command::{Sub, WrapArgs};
pub use error::UsageError;
pub(crate) use expect::ExpectArgs;

use crate::{
    exporter::summary::args::joined,
    system::{
        log::PROGRAM,
        option::Given,
        subcommand::{self, Role, role},
    },
};
use clap::{Arg, ArgAction, Command, CommandFactory as _, FromArgMatches as _, error::ErrorKind};
use std::{ffi::OsString, path::PathBuf};

/// Values that may begin with a minus: an error about the value is better than one about an unknown option.
const NUMBERS: [&str; 5] = ["N", "R", "BYTES", "DURATION", "INTERVAL"];

/// The options that `-h` shows, so that it fits on a screen.
const COMMON: [&str; 22] = [
    "files",
    "listen",
    READY_FILE,
    "quiet",
    "verbose",
    "metadata",
    "record",
    "export_jsonl",
    "export_otlp",
    "otlp_logs",
    "run_span",
    "export_prometheus",
    "export_statsd",
    "allow",
    "deny",
    "wait_for_subscribers",
    "pace",
    "timeout",
    "fail_after",
    "no_stderr",
    "lifecycle",
    "vitals",
];

const READY_FILE: &str = "ready_file";

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

/// Whether a command line, program name first, may start a worker.
pub fn wraps(arguments: &[OsString]) -> bool {
    arguments.iter().any(|word| word == "--") && matches!(role_of(arguments), None | Some(Role::Wraps))
}

/// What the subcommand does, if there is one.
fn role_of(arguments: &[OsString]) -> Option<Role> {
    role(arguments.get(1)?.to_str()?)
}

/// Parses a command line, program name first.
///
/// # Errors
///
/// What is wrong with it.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Parsed, Refused> {
    let arguments = joined(help(arguments.into_iter().collect())?);
    if wraps(&arguments)
        && let Some((cli, names)) = parse_wrapping(&arguments)
    {
        return Ok(Parsed::Run(Box::new(cli), names));
    }
    let subcommand = subcommand::names().find(|name| arguments.get(1).is_some_and(|word| word == name));
    // Only what serves a worker or a recording reads it.
    let reads_environment = matches!(role_of(&arguments), None | Some(Role::Serves));

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
            let checked = checked.and_then(|()| needs::check_repeated(&arguments));
            if let Err(error) = checked.and_then(|()| Ok(cli.wrap.upstream.check()?)) {
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

/// Parses a command line that starts a worker; none if it has a mistake, or asks for help. Its environment
/// variables are those that are set.
fn parse_wrapping(arguments: &[OsString]) -> Option<(Cli, Vec<String>)> {
    let mut command = Cli::wrapping();
    let set = environment::set();
    if !set.is_empty() {
        let known = environment::names(&command);
        if !set.iter().all(|name| known.contains(name)) {
            return None;
        }
        command = prepared(command, None, true);
    }
    let mut matches = command.try_get_matches_from_mut(arguments).ok()?;
    needs::check(&command, &matches).and_then(|()| needs::check_repeated(arguments)).ok()?;
    let cli = Cli::from_arg_matches_mut(&mut matches).ok()?;
    cli.wrap.upstream.check().ok()?;
    Some((cli, set))
}

/// The options of wrapping as they are if none is given, in the environment neither.
///
/// # Errors
///
/// None: every option has a default or can be left out.
pub(crate) fn defaults() -> Result<WrapArgs, UsageError> {
    let command = prepared(Cli::wrapping(), None, false);
    let matches = command.try_get_matches_from([PROGRAM]);
    let args = matches.and_then(|matches| WrapArgs::from_arg_matches(&matches));
    args.map_err(|error| error.to_string().into())
}

/// The same command line with the word `help` replaced by `--help`.
fn help(mut arguments: Vec<OsString>) -> Result<Vec<OsString>, UsageError> {
    if arguments.get(1).is_none_or(|word| word != "help") {
        return Ok(arguments);
    }
    let subcommand = arguments.get(2).cloned();
    if let Some(word) = subcommand.as_ref().filter(|word| !subcommand::names().any(|name| *word == name)) {
        let names = subcommand::names().collect::<Vec<_>>().join(", ");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrapping_is_parsed_alike_with_and_without_the_subcommands() {
        for line in [
            "-- true",
            "--listen unix:a --listen [::1]:0 -qvv --quiet -- sh -c true",
            "--queue-capacity 1 --queue-capacity 2 --export-otlp --otlp-logs -- a --help",
            "--lifecycle --vitals 1s --metadata a=b --allow x.* -- -- --",
            "--export-prometheus 127.0.0.1:0 --drain-timeout=0s -- replay",
        ] {
            let words: Vec<OsString> =
                ["program"].into_iter().chain(line.split(' ')).map(Into::into).collect();
            let (cli, _) = parse_wrapping(&words).unwrap();
            let matches = prepared(Cli::command(), None, true).try_get_matches_from(&words).unwrap();
            let expected = Cli::from_arg_matches(&matches).unwrap();
            assert_eq!(format!("{cli:?}"), format!("{expected:?}"), "{line}");
        }
    }

    #[test]
    fn every_subcommand_has_a_role() {
        let command = Cli::command();
        let names: Vec<_> = command.get_subcommands().map(Command::get_name).collect();
        assert_eq!(names, subcommand::names().collect::<Vec<_>>());
    }

    #[test]
    fn mistakes_and_help_are_left_to_all_definitions() {
        for line in
            ["--help -- true", "-V -- true", "--no-such -- true", "--otlp-logs -- true", "replay -- true"]
        {
            let words: Vec<OsString> =
                ["program"].into_iter().chain(line.split(' ')).map(Into::into).collect();
            assert!(parse_wrapping(&words).is_none(), "{line}");
        }
    }
}
