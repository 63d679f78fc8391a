//! The committed references are those of the definitions, and the definitions keep their rules.

use super::*;
use clap_mangen::Man;
use std::{fmt::Write as _, fs, path::Path};

/// Writes the references instead of comparing them.
const UPDATE: &str = "UPDATE_DOCS";

/// Snakepit scans the arguments of workers for these.
const RESERVED: [&str; 5] =
    ["--port", "--elixir-address", "--snakepit-instance-name", "--snakepit-instance-token", "--max-workers"];

const INTRODUCTION: &str = "\
<!-- Generated from the definitions: UPDATE_DOCS=1 cargo test --lib cli::reference -->

# Options

Options of wrapping come before `--`, those of a subcommand after its name. Every option of wrapping and of
`replay` can also be set as the environment variable beside it: an empty value means unset, options without a
value take `0`, `1`, `true` or `false`, options that can be repeated take one value on each line. The command
line overrides the environment. The worker does not inherit these variables; it gets `TELEMETRY_SIDECAR=1`,
from which libraries know that a sidecar reads its stderr. A variable `TELEMETRY_SIDECAR_…` that is not listed
here is an error.

A duration has a unit, such as `500ms`, `20s` or `1h 30m`, up to 100 years.

`replay` takes the options of wrapping as well, except those under \"Worker\" and \"Upstream\".
";

fn command() -> Command {
    let mut command = documented(Cli::command());
    command.build();
    command
}

/// The options that only this subcommand has: those of wrapping are listed before.
fn own<'c>(sub: &'c Command, command: &'c Command) -> impl Iterator<Item = &'c Arg> {
    let shared = move |argument: &Arg| {
        sub.get_name() == "replay" && command.get_arguments().any(|other| other.get_id() == argument.get_id())
    };
    sub.get_arguments().filter(move |argument| !shared(argument) && argument.get_id() != "help")
}

fn options_page() -> String {
    let command = command();
    let mut page = INTRODUCTION.to_owned();
    let mut heading = None;
    for argument in command.get_arguments().filter(|argument| argument.get_help_heading().is_some()) {
        if heading != argument.get_help_heading() {
            heading = argument.get_help_heading();
            section(&mut page, heading.unwrap_or_default(), true);
        }
        row(&mut page, argument, true);
    }
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
        let is_replay = sub.get_name() == "replay";
        let mut options = own(sub, &command).filter(|argument| !argument.is_positional()).peekable();
        if options.peek().is_some() {
            section(&mut page, &format!("`{}`", sub.get_name()), is_replay);
        }
        options.for_each(|option| row(&mut page, option, is_replay));
    }
    page
}

fn section(page: &mut String, heading: &str, has_variables: bool) {
    let (variable, line) =
        if has_variables { (" environment variable |", " --- |") } else { Default::default() };
    let _ = write!(
        page,
        "\n## {heading}\n\n| option |{variable} default | meaning |\n| --- |{line} --- | --- |\n"
    );
}

fn row(page: &mut String, argument: &Arg, has_variables: bool) {
    let mut option = argument.get_short().map(|short| format!("`-{short}`, ")).unwrap_or_default();
    let long = argument.get_long().unwrap();
    let takes_value = argument.get_action().takes_values();
    let is_optional = argument.get_num_args().is_some_and(|count| count.min_values() == 0);
    let value = argument.get_value_names().filter(|_| takes_value).map(|names| {
        let name = &names[0];
        match (is_optional, argument.is_require_equals_set()) {
            (false, false) => format!(" {name}"),
            (false, true) => format!("={name}"),
            (true, false) => format!(" [{name}]"),
            (true, true) => format!("[={name}]"),
        }
    });
    let _ = write!(option, "`--{long}{}`", value.unwrap_or_default());
    let help = argument.get_long_help().or(argument.get_help()).unwrap().to_string();
    let (meaning, default) = match help.split_once(" [default: ") {
        Some((meaning, default)) => (meaning.to_owned(), default.trim_end_matches(']').to_owned()),
        None => (help, String::new()),
    };
    let defaults = argument.get_default_values().iter().map(|value| value.display().to_string());
    let default = match defaults.collect::<Vec<_>>().join(" ") {
        _ if !takes_value => "off".to_owned(),
        value if value.is_empty() => default,
        value => format!("`{value}`"),
    };
    let mut meaning = meaning.replace('<', "&lt;").replace('|', "\\|");
    for value in argument.get_possible_values().iter().filter(|_| takes_value) {
        let help = value.get_help().map(ToString::to_string).unwrap_or_default();
        let _ = write!(meaning, "<br>`{}`: {help}", value.get_name());
    }
    let variable = argument.get_env().map(|name| format!(" `{}` |", name.display()));
    let variable = variable.filter(|_| has_variables).unwrap_or_default();
    let _ = writeln!(page, "| {option} |{variable} {default} | {meaning} |");
}

fn manual_page() -> String {
    let command = command().mut_args(|argument| argument.hide_short_help(false));
    let mut page = Vec::new();
    let man = Man::new(command.clone()).date("").source("telemetry-sidecar");
    man.render_title(&mut page).unwrap();
    man.render_name_section(&mut page).unwrap();
    man.render_synopsis_section(&mut page).unwrap();
    man.render_description_section(&mut page).unwrap();
    man.render_options_section(&mut page).unwrap();
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
        let heading: &str = format!("{}: {}", sub.get_name(), sub.get_about().unwrap()).leak();
        let options =
            own(sub, &command).cloned().map(|option| option.help_heading(heading).hide_short_help(false));
        let part = Command::new("part").disable_help_flag(true).args(options);
        Man::new(part).render_options_section(&mut page).unwrap();
    }
    man.render_extra_section(&mut page).unwrap();
    // roff has spaces at the ends of some lines.
    let page = String::from_utf8(page).unwrap();
    page.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

fn assert_current(path: &str, expected: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os(UPDATE).is_some() {
        fs::write(file, expected).unwrap();
        return;
    }
    let is_current = fs::read_to_string(file).is_ok_and(|text| text == expected);
    assert!(is_current, "{path} is not current, run: {UPDATE}=1 cargo test --lib cli::reference");
}

#[test]
fn committed_references_are_current() {
    assert_current("docs/options.md", &options_page());
    assert_current("docs/telemetry-sidecar.1", &manual_page());
}

#[test]
fn completions_know_options_values_and_subcommands() {
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let script = String::from_utf8(completions(shell)).unwrap();
        for word in ["listen", "export-otlp", "drop-oldest", "replay", "wait-for-subscribers"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
}

/// All options of wrapping and of the subcommands.
fn all_options() -> Vec<Arg> {
    let command = Cli::command();
    let subcommands = command.get_subcommands().flat_map(Command::get_arguments);
    command.get_arguments().chain(subcommands).filter(|argument| !argument.is_positional()).cloned().collect()
}

#[test]
fn variables_have_the_names_of_their_options() {
    for argument in all_options() {
        if let (Some(variable), Some(long)) = (argument.get_env(), argument.get_long()) {
            let expected = format!("TELEMETRY_SIDECAR_{}", long.replace('-', "_").to_ascii_uppercase());
            assert_eq!(variable, &*expected);
        }
    }
}

#[test]
fn options_of_wrapping_and_replay_have_variables_and_all_have_help() {
    let command = Cli::command();
    let replay = command.find_subcommand("replay").unwrap();
    for argument in command.get_arguments().chain(replay.get_arguments()) {
        let is_option = !argument.is_positional();
        assert!(!is_option || argument.get_env().is_some(), "{}", argument.get_id());
        assert!(argument.get_help().is_some(), "{}", argument.get_id());
    }
}

#[test]
fn no_option_contains_a_word_that_snakepit_scans_for() {
    for long in all_options().iter().filter_map(Arg::get_long) {
        let option = format!("--{long}");
        assert!(!RESERVED.iter().any(|reserved| option.contains(reserved)), "{option}");
    }
}

/// The long options in the command lines of a document: those that follow the program's name, up to the `--`
/// before the worker's command.
fn options_in_command_lines(text: &str) -> impl Iterator<Item = &str> {
    let own = text.split("telemetry-sidecar ").skip(1).map(|after| after.lines().next().unwrap_or_default());
    let own = own.flat_map(|line| line.split(" -- ").next().unwrap_or_default().split_whitespace());
    own.filter_map(|word| word.trim_start_matches('`').strip_prefix("--")).map(|word| {
        let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '-';
        &word[..word.find(|c| !is_of_name(c)).unwrap_or(word.len())]
    })
}

#[test]
fn command_lines_in_documents_have_only_options_that_exist() {
    let options = all_options();
    let of_clap = ["help", "version", ""];
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pages = ["docs", "docs/tutorials"].map(|folder| fs::read_dir(root.join(folder)).unwrap());
    let pages = pages.into_iter().flatten().map(|entry| entry.unwrap().path());
    let pages = pages.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    for document in pages.chain([root.join("README.md")]) {
        let text = fs::read_to_string(&document).unwrap();
        for name in options_in_command_lines(&text) {
            let exists = options.iter().any(|option| option.get_long() == Some(name));
            assert!(exists || of_clap.contains(&name), "{}: --{name}", document.display());
        }
    }
}

#[test]
fn short_help_fits_on_a_screen_and_shows_only_options_that_exist() {
    let command = documented(Cli::command()).term_width(80);
    for (words, lines) in [
        (&["x", "-h"][..], 50),
        (&["x", "replay", "-h"], 50),
        (&["x", "expect", "-h"], 24),
        (&["x", "tail", "-h"], 24),
        (&["x", "top", "-h"], 24),
    ] {
        let help = command.clone().try_get_matches_from(words).unwrap_err().to_string();
        assert!(help.lines().count() <= lines, "{}:\n{help}", help.lines().count());
        assert!(help.lines().all(|line| line.chars().count() <= 80), "{help}");
    }
    let replay = command.find_subcommand("replay").unwrap();
    let arguments = || command.get_arguments().chain(replay.get_arguments());
    for id in COMMON {
        assert!(arguments().any(|argument| argument.get_id() == id), "{id}");
    }
    let options = all_options();
    let help = [
        &["x", "--help"][..],
        &["x", "expect", "--help"],
        &["x", "replay", "--help"],
        &["x", "tail", "--help"],
        &["x", "top", "--help"],
        &["x", "gather", "--help"],
    ]
    .map(|words| command.clone().try_get_matches_from(words).unwrap_err().to_string())
    .concat();
    for option in options.iter().filter_map(Arg::get_long) {
        assert!(help.contains(&format!("--{option}")), "{option}");
    }
}

#[test]
fn bash_completes_options_of_subcommands() {
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("completions.bash");
    std::fs::write(&script, completions(Shell::Bash)).unwrap();
    let complete = r#"
        source "$0"
        COMP_WORDS=(telemetry-sidecar replay --wait) COMP_CWORD=2
        _telemetry__sidecar telemetry-sidecar --wait replay
        printf %s "${COMPREPLY[*]}"
    "#;
    match std::process::Command::new("bash").args(["-c", complete]).arg(&script).output() {
        Ok(output) => assert_eq!(String::from_utf8_lossy(&output.stdout), "--wait-for-subscribers"),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("skipped: no bash: {error}");
        }
        Err(error) => panic!("bash: {error}"),
    }
}
