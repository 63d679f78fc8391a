//! What is wrong with a command line, in one line that names what was typed.

use super::SUBCOMMANDS;
use clap::{
    Arg, Command, Error,
    error::{ContextKind, ContextValue, ErrorKind},
};
use std::ffi::OsString;

/// An error that says it all.
pub(super) fn told(line: String) -> Error {
    let mut error = Error::new(ErrorKind::ValueValidation);
    error.insert(ContextKind::Custom, ContextValue::String(line));
    error
}

/// `<what>: <cause>`. `arguments` are those of this subcommand, or of wrapping.
pub(super) fn one_line(
    error: &Error,
    command: &Command,
    subcommand: Option<&str>,
    arguments: &[OsString],
) -> String {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(" or "),
        _ => String::new(),
    };
    // "--listen <ADDRESS>..." is known as --listen, "<FILE>..." as FILE.
    let bare = |argument: String| {
        let word = argument.split(' ').next().unwrap_or_default();
        word.trim_end_matches("...").trim_matches(['<', '>', '[', ']']).to_owned()
    };
    let argument = bare(context(ContextKind::InvalidArg));
    match error.kind() {
        ErrorKind::InvalidSubcommand | ErrorKind::UnknownArgument if !argument.starts_with('-') => {
            let word = context(ContextKind::InvalidSubcommand) + &context(ContextKind::InvalidArg);
            unexpected(&word, subcommand, arguments)
        }
        ErrorKind::UnknownArgument => no_such_option(&argument, &context(ContextKind::SuggestedArg), command),
        ErrorKind::TooManyValues => format!("{argument}: takes no value"),
        ErrorKind::InvalidValue => format!("{argument}: a value is missing"),
        ErrorKind::ValueValidation => context(ContextKind::Custom),
        ErrorKind::MissingRequiredArgument => format!("{argument}: missing (see --help)"),
        _ => {
            let text = error.render().to_string();
            let line = text.lines().next().unwrap_or_default();
            line.strip_prefix("error: ").unwrap_or(line).to_owned()
        }
    }
}

/// A word where none belongs.
fn unexpected(word: &str, subcommand: Option<&str>, arguments: &[OsString]) -> String {
    // What comes after -- is never unexpected, unless that was taken for the value of an option.
    let hungry = arguments.windows(3).find_map(|words| match words {
        [option, dashes, next] if dashes == "--" && next == word => Some(option),
        _ => None,
    });
    if let Some(option) = hungry {
        return format!("{}: a value is missing", option.display());
    }
    if subcommand == Some("tail") {
        return format!("{word}: unexpected, tail takes one ADDRESS");
    }
    if SUBCOMMANDS.contains(&word) {
        return format!("{word}: a subcommand comes first, its options after it");
    }
    if let Some(name) = SUBCOMMANDS.into_iter().find(|name| is_like(word, name)) {
        return format!("{word}: did you mean {name}? A worker's command needs -- before it");
    }
    let word = if word.is_empty() { "''" } else { word };
    format!("{word}: put -- before the worker's command: telemetry-sidecar [OPTIONS] -- COMMAND [ARGS]...")
}

/// Whether they have the same letters, but for one.
fn is_like(word: &str, name: &str) -> bool {
    let mut rest: Vec<_> = name.chars().collect();
    let mut others = 0;
    for char in word.chars() {
        match rest.iter().position(|other| *other == char) {
            Some(index) => drop(rest.swap_remove(index)),
            None => others += 1,
        }
    }
    others + rest.len() <= 1
}

fn no_such_option(argument: &str, similar: &str, command: &Command) -> String {
    let has = |command: &Command| command.get_arguments().any(|option| is_spelt(option, argument));
    let mut homes: Vec<_> = command.get_subcommands().filter(|sub| has(sub)).map(Command::get_name).collect();
    if has(command) {
        homes.insert(0, "wrapping");
    }
    // Every command line has its help, and only the whole program a version.
    if !homes.is_empty() && argument != "--version" && argument != "-V" {
        return format!("{argument}: an option of {}", homes.join(" and "));
    }
    if similar.is_empty() || argument == "--version" {
        format!("{argument}: no such option (see --help)")
    } else {
        format!("{argument}: no such option, did you mean {similar}? (see --help)")
    }
}

fn is_spelt(option: &Arg, argument: &str) -> bool {
    match argument.strip_prefix("--") {
        Some(long) => option.get_long() == Some(long),
        None => {
            option.get_short().is_some_and(|short| argument.strip_prefix('-') == Some(&short.to_string()))
        }
    }
}
