//! Options that have no effect: without another one, or because they are repeated.

use super::UsageError;
use crate::system::option::either;
use clap::{Arg, ArgMatches, Command, parser::ValueSource};
use std::{collections::HashSet, ffi::OsString, os::unix::ffi::OsStrExt as _};

/// What the names of further options start with, and the options of which they need one.
const NEEDS: [(&str, &[&str]); 6] = [
    ("otlp-", &["export_otlp"]),
    ("run-span", &["export_otlp"]),
    ("run-span-env", &["run_span"]),
    ("prometheus-", &["export_prometheus"]),
    ("statsd-", &["export_statsd"]),
    ("metric-", &["export_otlp", "export_prometheus", "export_statsd"]),
];

/// Options that name one place to write to or to serve at: of two of them the first would have no effect, and
/// that is seen only when its file is missing. Of other options the last one counts.
const ONE_PLACE: [&str; 7] = [
    "record",
    "ready-file",
    "export-jsonl",
    "export-prometheus",
    "export-statsd",
    "otlp-endpoint",
    "prometheus-targets-dir",
];

/// Refuses an option that was typed twice and whose first value would be lost.
pub(super) fn check_repeated(arguments: &[OsString]) -> Result<(), UsageError> {
    let words = arguments.iter().skip(1).take_while(|word| *word != "--");
    let typed = words.filter_map(|word| {
        let long = word.as_bytes().strip_prefix(b"--")?.split(|byte| *byte == b'=').next()?;
        ONE_PLACE.into_iter().find(|option| option.as_bytes() == long)
    });
    let mut seen = HashSet::new();
    match typed.into_iter().find(|option| !seen.insert(*option)) {
        Some(option) => Err(format!("--{option}: given twice, but there can be only one").into()),
        None => Ok(()),
    }
}

/// Refuses an option that was typed without the one that it needs. A variable is no mistake: it may
/// be set for all workers of a host.
pub(super) fn check(command: &Command, matches: &ArgMatches) -> Result<(), UsageError> {
    let (command, matches) = match matches.subcommand() {
        None => (command, matches),
        Some((name, matches)) => (command.find_subcommand(name).unwrap_or(command), matches),
    };
    let source = |id: &str| matches.try_contains_id(id).is_ok().then(|| matches.value_source(id)).flatten();
    let is_typed = |argument: &&Arg| source(argument.get_id().as_str()) == Some(ValueSource::CommandLine);
    for argument in command.get_arguments().filter(is_typed) {
        let is_asked_for = |id: &&str| source(id).is_some_and(|source| source != ValueSource::DefaultValue);
        let mut needed = needed_by(argument);
        if let Some(missed) = needed.find(|others| !others.iter().any(is_asked_for)) {
            return Err(missing(argument, missed).into());
        }
    }
    Ok(())
}

/// Of each of these lists an option needs one.
fn needed_by(argument: &Arg) -> impl Iterator<Item = &'static [&'static str]> {
    let long = argument.get_long().unwrap_or_default();
    NEEDS.iter().filter(move |(prefix, _)| long.starts_with(prefix)).map(|(_, others)| *others)
}

/// The value is not part of the message: it is not what is wrong, and may be one that clap has filled in.
fn missing(argument: &Arg, others: &[&str]) -> String {
    let options: Vec<_> = others.iter().map(|id| format!("--{}", id.replace('_', "-"))).collect();
    let long = argument.get_long().unwrap_or_default();
    format!("--{long}: give {} as well", either(&options))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::CommandFactory as _;

    #[test]
    fn an_option_with_one_place_is_refused_twice() {
        let check = |line: &str| {
            let words: Vec<OsString> =
                ["program"].into_iter().chain(line.split(' ')).map(Into::into).collect();
            check_repeated(&words).map_err(|error| error.to_string())
        };
        assert_eq!(check("--export-jsonl a --record b --listen a --listen b --quiet --quiet -- x"), Ok(()));
        assert_eq!(check("--record a -- x --record b"), Ok(()));
        let expected = Err("--export-jsonl: given twice, but there can be only one".to_owned());
        assert_eq!(check("--export-jsonl a -q --export-jsonl b -- x"), expected);
        assert_eq!(check("replay --export-jsonl=a --export-jsonl=a x"), expected);
        let command = Cli::command();
        let has = |option: &&str| command.get_arguments().any(|argument| argument.get_long() == Some(option));
        assert!(ONE_PLACE.iter().all(has));
    }

    #[test]
    fn every_option_of_the_table_exists_and_every_prefix_has_options() {
        let command = Cli::command();
        for (prefix, others) in NEEDS {
            let has_prefix =
                |argument: &Arg| argument.get_long().is_some_and(|long| long.starts_with(prefix));
            assert!(command.get_arguments().any(has_prefix), "{prefix}");
            for other in others {
                assert!(command.get_arguments().any(|argument| argument.get_id() == other), "{other}");
            }
        }
    }
}
