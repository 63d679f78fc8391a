//! Options in the environment.

use super::{Cli, UsageError, hint};
use clap::{Command, CommandFactory as _};
use std::env;

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
    let names = env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned());
    names.filter(|name| name.starts_with(PREFIX)).collect()
}

/// Refuses a variable that is meant for this program and that no option has. An empty one counts as unset.
pub(super) fn check(names: &[String]) -> Result<(), UsageError> {
    let unknown = env::vars_os().find_map(|(name, value)| {
        let name = name.to_string_lossy();
        let is_known = || name == OF_HELPERS || names.iter().any(|known| *known == name);
        let is_unknown = name.starts_with(PREFIX) && !value.is_empty() && !is_known();
        is_unknown.then(|| name.into_owned())
    });
    match unknown {
        Some(name) => Err(hint::for_variable(&name, PREFIX, names, &Cli::command()).into()),
        None => Ok(()),
    }
}
