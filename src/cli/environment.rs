//! Options in the environment.

use super::{Cli, UsageError, hint};
use clap::{Command, CommandFactory as _};
use std::{env, ffi::OsString};

/// What the names of all variables of this program start with.
const PREFIX: &str = "TELEMETRY_SIDECAR_";

/// Which binary the helpers for tests start. No option has it, but it may be set for a whole shell.
const OF_HELPERS: &str = "TELEMETRY_SIDECAR_BIN";

/// The variables of all options, those of subcommands included.
pub(super) fn names(command: &Command) -> Vec<String> {
    let own =
        command.get_arguments().filter_map(|argument| argument.get_env()?.to_str().map(ToOwned::to_owned));
    own.chain(command.get_subcommands().flat_map(names)).collect()
}

/// The variables of this program that are set.
pub(super) fn set() -> Vec<String> {
    variables().map(|(name, _)| name).collect()
}

/// The variables of this program that are set, with their values.
fn variables() -> impl Iterator<Item = (String, OsString)> {
    let all = env::vars_os().map(|(name, value)| (name.to_string_lossy().into_owned(), value));
    all.filter(|(name, _)| name.starts_with(PREFIX) && name != OF_HELPERS)
}

/// Refuses a variable that is meant for this program and that no option has. An empty one counts as unset.
pub(super) fn check(names: &[String]) -> Result<(), UsageError> {
    match variables().find(|(name, value)| !value.is_empty() && !names.contains(name)) {
        Some((name, _)) => Err(hint::for_variable(&name, PREFIX, names, &Cli::command()).into()),
        None => Ok(()),
    }
}
