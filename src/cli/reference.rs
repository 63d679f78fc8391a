//! What is generated from the definitions of the options: completions, the man page and `docs/options.md`.

use super::{COMMON, Cli};
use crate::system::log::PROGRAM;
use clap::{Arg, ArgAction, Command, CommandFactory as _};
use clap_complete::Shell;

/// The command as help, completions and the man page show it. Old spellings are left out, and so are the
/// variables: their names follow from those of the options.
pub fn documented(command: Command) -> Command {
    command.mut_args(shown).mut_subcommands(|sub| match sub.get_name() {
        "replay" => sub.mut_args(shown),
        _ => sub.mut_args(|argument| argument.hide_env(true)),
    })
}

fn shown(argument: Arg) -> Arg {
    let is_common = COMMON.contains(&argument.get_id().as_str());
    let argument = argument.hide_env(true).hide_short_help(!is_common);
    if argument.get_id() != "export_otlp" {
        return argument;
    }
    // --export-otlp=URL is the old spelling of --otlp-endpoint.
    argument
        .action(ArgAction::SetTrue)
        .num_args(0)
        .require_equals(false)
        .value_parser(clap::value_parser!(bool))
        .default_missing_value("true")
}

/// Completions for a shell.
pub fn completions(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut documented(Cli::command()), PROGRAM, &mut script);
    if shell != Shell::Bash {
        return script;
    }
    // For a program with a hyphen in its name, clap_complete's bash script sets one name and tests another.
    let (set, tested) = (PROGRAM.replace('-', "__"), PROGRAM.replace('-', "__subcmd__"));
    String::from_utf8_lossy(&script).replace(&tested, &set).into_bytes()
}

#[cfg(test)]
mod tests;
