//! What is generated from the definitions of the options: completions, the man page and `docs/options.md`.

use super::{COMMON, Cli};
use clap::{Arg, Command, CommandFactory as _};
use clap_complete::Shell;

/// The command as help, completions and the man page show it. Old spellings are left out, and so are the variables:
/// their names follow from those of the options.
pub fn documented(command: Command) -> Command {
    let command = command.mut_args(shown).mut_arg("export_otlp", without_value);
    command.mut_subcommand("replay", |sub| sub.mut_args(shown).mut_arg("export_otlp", without_value))
}

fn shown(argument: Arg) -> Arg {
    let is_common = COMMON.contains(&argument.get_id().as_str()) || argument.is_positional();
    argument.hide_env(true).hide_short_help(!is_common)
}

/// `--export-otlp=URL` is the old spelling of `--otlp-endpoint`.
fn without_value(argument: Arg) -> Arg {
    argument
        .action(clap::ArgAction::SetTrue)
        .num_args(0)
        .require_equals(false)
        .value_parser(clap::value_parser!(bool))
        .default_missing_value("true")
}

/// Completions for a shell.
pub fn completions(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut documented(Cli::command()), crate::system::log::PROGRAM, &mut script);
    script
}
