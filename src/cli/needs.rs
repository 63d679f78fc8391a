//! Options that have no effect without another one.

use super::UsageError;
use crate::system::option::{Origin, either};
use clap::{Arg, ArgMatches, Command, parser::ValueSource};

/// What the names of an exporter's further options start with, and the exporters that use them.
const NEEDS: [(&str, &[&str]); 4] = [
    ("otlp-", &["export_otlp"]),
    ("prometheus-", &["export_prometheus"]),
    ("statsd-", &["export_statsd"]),
    ("metric-", &["export_otlp", "export_prometheus", "export_statsd"]),
];

/// Refuses an option that was typed for an exporter that is not asked for. A variable is no mistake: it may
/// be set for all workers of a host.
pub(super) fn check(command: &Command, matches: &ArgMatches) -> Result<(), UsageError> {
    let (command, matches) = match matches.subcommand() {
        None => (command, matches),
        Some((name, matches)) => (command.find_subcommand(name).unwrap_or(command), matches),
    };
    let source = |id: &str| matches.try_contains_id(id).is_ok().then(|| matches.value_source(id)).flatten();
    let is_typed = |argument: &&Arg| source(argument.get_id().as_str()) == Some(ValueSource::CommandLine);
    for argument in command.get_arguments().filter(is_typed) {
        let Some(exporters) = needed_by(argument) else { continue };
        let is_asked_for = |id: &&str| source(id).is_some_and(|source| source != ValueSource::DefaultValue);
        if !exporters.iter().any(is_asked_for) {
            return Err(missing(argument, matches, exporters).into());
        }
    }
    Ok(())
}

fn needed_by(argument: &Arg) -> Option<&'static [&'static str]> {
    let long = argument.get_long()?;
    NEEDS.iter().find(|(prefix, _)| long.starts_with(prefix)).map(|(_, exporters)| *exporters)
}

fn missing(argument: &Arg, matches: &ArgMatches, exporters: &[&str]) -> String {
    let options: Vec<_> = exporters.iter().map(|id| format!("--{}", id.replace('_', "-"))).collect();
    let cause = format!("give {} as well", either(&options));
    let text = matches.get_raw(argument.get_id().as_str()).and_then(|mut values| values.next_back());
    let origin = Origin::new(Some(argument), text.unwrap_or_default(), ValueSource::CommandLine);
    if argument.get_action().takes_values() {
        origin.error(cause)
    } else {
        format!("{}: {cause}", origin.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::CommandFactory as _;

    #[test]
    fn every_exporter_of_the_table_exists_and_every_prefix_has_options() {
        let command = Cli::command();
        for (prefix, exporters) in NEEDS {
            let has_prefix =
                |argument: &Arg| argument.get_long().is_some_and(|long| long.starts_with(prefix));
            assert!(command.get_arguments().any(has_prefix), "{prefix}");
            for exporter in exporters {
                assert!(command.get_arguments().any(|argument| argument.get_id() == exporter), "{exporter}");
            }
        }
    }
}
