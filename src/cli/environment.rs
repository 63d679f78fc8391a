//! What was given in the environment: what can be repeated is one a line there.

use super::{Export, Options};
use clap::{ArgMatches, Command, parser::ValueSource};

/// What a command line has to do with the environment.
#[derive(Debug)]
pub struct Environment {
    /// The variables that this program reads: a worker does not inherit them.
    pub names: Vec<String>,
    /// The options whose values are from there, and their variables.
    used: Vec<(String, String)>,
}

impl Environment {
    /// Looks which options of this command line are from the environment.
    pub(super) fn new(names: Vec<String>, command: &Command, matches: &ArgMatches) -> Self {
        let options = command.get_arguments().filter_map(|argument| {
            let used = is_used(matches, argument.get_id().as_str());
            let variable = argument.get_env().filter(|_| used)?.to_str()?;
            Some((format!("--{}", argument.get_long()?), variable.to_owned()))
        });
        Self { used: options.collect(), names }
    }

    /// An error that begins with an option, or with several, begins with their variables where those were set: with
    /// what somebody has typed.
    pub fn blame(&self, error: &str) -> String {
        let (options, cause) = error.split_once(": ").unwrap_or((error, ""));
        let variable = |option| self.used.iter().find(|(used, _)| used == option).map(|(_, name)| &**name);
        let typed: Vec<_> = options.split(", ").map(|option| variable(option).unwrap_or(option)).collect();
        if cause.is_empty() { error.to_owned() } else { format!("{}: {cause}", typed.join(", ")) }
    }
}

/// The variables of all options, those of subcommands included.
pub(super) fn names(command: &Command) -> Vec<String> {
    let own =
        command.get_arguments().filter_map(|argument| argument.get_env()?.to_str().map(ToOwned::to_owned));
    own.chain(command.get_subcommands().flat_map(names)).collect()
}

/// One value a line for what can be repeated and comes from the environment.
pub(super) fn split_lines(options: &mut Options, matches: &ArgMatches) {
    let Options { listen, allow, deny, metadata, export, .. } = options;
    let Export { metric_kind, metric_label, .. } = export;
    for (name, words) in [
        ("listen", listen),
        ("allow", allow),
        ("deny", deny),
        ("metadata", metadata),
        ("metric_kind", metric_kind),
        ("metric_label", metric_label),
    ] {
        if is_used(matches, name) {
            *words = words.iter().flat_map(super::Word::lines).collect();
        }
    }
}

/// Whether an option's value is from its variable.
fn is_used(matches: &ArgMatches, option: &str) -> bool {
    // It panics at names that it does not know, such as those of options that no value came to.
    matches.try_contains_id(option).is_ok() && matches.value_source(option) == Some(ValueSource::EnvVariable)
}
