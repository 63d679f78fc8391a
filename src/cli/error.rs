//! What is wrong with a command line, in one line that names the option or the variable.

use super::hint;
use crate::system::option::either;
use clap::{
    Arg, Command, Error,
    error::{ContextKind, ContextValue, ErrorKind},
};
use std::{ffi::OsString, fmt};

/// Why a command line is refused, in one line. The exit status is 125.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageError(String);

impl From<String> for UsageError {
    fn from(line: String) -> Self {
        Self(line)
    }
}

impl fmt::Display for UsageError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl std::error::Error for UsageError {}

/// `<option, variable or word>: <cause>`
pub(super) fn one_line(
    error: &Error,
    command: &Command,
    subcommand: Option<&str>,
    arguments: &[OsString],
) -> UsageError {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => match texts.split_last() {
            Some((last, others)) if !others.is_empty() => format!("{} or {last}", others.join(", ")),
            _ => texts.concat(),
        },
        _ => String::new(),
    };
    // clap calls them "--listen <ADDRESS>..." and "<FILE>...".
    let bare = |argument: String| {
        let word = argument.split(' ').next().unwrap_or_default();
        word.trim_end_matches("...").trim_matches(['<', '>', '[', ']']).to_owned()
    };
    let argument = context(ContextKind::InvalidArg);
    let word = context(ContextKind::InvalidSubcommand) + &argument;
    if let Some(earlier) = error_before(&word, error.kind(), command, arguments) {
        return one_line(&earlier, command, subcommand, arguments);
    }
    let subcommand = subcommand.and_then(|name| command.find_subcommand(name));
    let here = subcommand.unwrap_or(command);
    let line = match error.kind() {
        ErrorKind::InvalidSubcommand | ErrorKind::UnknownArgument if !argument.starts_with('-') => {
            match value_missing_before(&word, arguments) {
                Some(option) => missing_value(&option.to_string_lossy(), here),
                None => hint::for_word(&word, command, subcommand, arguments),
            }
        }
        ErrorKind::UnknownArgument => {
            let (similar, option) = (context(ContextKind::SuggestedArg), bare(argument));
            hint::with_value(&option, here, arguments)
                .unwrap_or_else(|| hint::for_option(&option, &similar, command, subcommand, arguments))
        }
        // One of this crate's parsers has written it.
        ErrorKind::ValueValidation if error.get(ContextKind::Custom).is_some() => {
            context(ContextKind::Custom)
        }
        ErrorKind::InvalidValue if !context(ContextKind::InvalidValue).is_empty() => {
            let (value, possible) = (context(ContextKind::InvalidValue), context(ContextKind::ValidValue));
            format!("{}: '{value}': expected {possible}", bare(argument))
        }
        ErrorKind::InvalidValue => missing_value(&bare(argument), here),
        ErrorKind::TooManyValues => format!("{}: takes no value", bare(argument)),
        ErrorKind::MissingRequiredArgument => {
            let name = bare(argument);
            match values(&name, here) {
                Some(values) => format!("{name}: missing, one of {values}"),
                None => format!("{name}: missing: {}", usage(here)),
            }
        }
        _ => {
            let text = error.render().to_string();
            let line = text.lines().next().unwrap_or_default();
            line.strip_prefix("error: ").unwrap_or(line).to_owned()
        }
    };
    UsageError(line)
}

/// The error about the value before a word that does not belong there. That value is the cause if the right
/// one was left out.
fn error_before(word: &str, kind: ErrorKind, command: &Command, arguments: &[OsString]) -> Option<Error> {
    if !matches!(kind, ErrorKind::InvalidSubcommand | ErrorKind::UnknownArgument) {
        return None;
    }
    let mut words = arguments.iter().map(|argument| argument.to_string_lossy());
    let at = words.position(|argument| argument.starts_with(word))?;
    if value_missing_before(word, arguments).is_some() {
        return None;
    }
    let earlier = command.clone().try_get_matches_from(&arguments[..at]).err()?;
    (earlier.kind() == ErrorKind::ValueValidation).then_some(earlier)
}

/// How a subcommand is used, in one line.
fn usage(command: &Command) -> String {
    let usage = command.clone().render_usage().to_string();
    usage.trim_start_matches("Usage: ").replace(['<', '>'], "")
}

fn missing_value(option: &str, command: &Command) -> String {
    let has_name = |argument: &&Arg| argument.get_long() == option.strip_prefix("--");
    let names = command.get_arguments().find(has_name).and_then(Arg::get_value_names);
    match names.and_then(|names| names.first()).map_or("", |name| name.as_str()) {
        "INTERVAL" => format!("{option}: a value is missing, such as {option} 1s"),
        "DURATION" => format!("{option}: a value is missing, such as {option} 20s"),
        _ => format!("{option}: a value is missing"),
    }
}

/// The possible values of the positional argument with this name.
fn values(name: &str, command: &Command) -> Option<String> {
    let has_name = |argument: &&Arg| {
        argument.get_value_names().is_some_and(|names| names.iter().any(|one| one.as_str() == name))
            || argument.get_id().as_str().eq_ignore_ascii_case(name)
    };
    let values = command.get_positionals().find(has_name)?.get_possible_values();
    let values: Vec<_> = values.iter().map(|value| value.get_name().to_owned()).collect();
    (!values.is_empty()).then(|| either(&values))
}

/// The option that has taken the dashes in front of this word for its value, which may begin with a minus.
fn value_missing_before<'a>(word: &str, arguments: &'a [OsString]) -> Option<&'a OsString> {
    arguments.windows(3).find_map(|words| match words {
        [option, dashes, next] if dashes == "--" && next == word => Some(option),
        _ => None,
    })
}
