//! What may have been meant by a word, an option or a variable that does not exist.

use super::spelling::{is_near, nearest};
use crate::{
    net::address::Address,
    system::{
        option::either,
        subcommand::{self, EXPECT},
    },
};
use clap::{Arg, Command};
use std::ffi::OsString;

const SYNTAX: &str = "telemetry-sidecar [OPTIONS] -- COMMAND [ARGS]...";

/// Words with fewer characters are near to many others by chance.
const MIN_GUESSED_CHARS: usize = 4;

/// Longer command lines are not repeated in an error.
const MAX_REPEATED_CHARS: usize = 60;

/// Names of other programs' options, and words that people look for, with what they are here: an option, or a
/// standard variable.
const ALIASES: [(&str, &str); 47] = [
    ("address", "--listen"),
    ("auth", "--auth-token-file"),
    ("bind", "--listen"),
    ("ca", "--tls-client-ca"),
    ("cacert", "--tls-client-ca"),
    ("cert", "--tls-cert"),
    ("copy", "--embedded copy"),
    ("debug", "--verbose"),
    ("dogstatsd", "--statsd-dialect dogstatsd"),
    ("endpoint", "--otlp-endpoint"),
    ("exclude", "--deny"),
    ("filter", "--allow or --deny"),
    ("grpc", "--listen"),
    ("host", "--listen"),
    ("ignore", "--embedded ignore"),
    ("include", "--allow"),
    ("json", "--export-jsonl"),
    ("jsonl", "--export-jsonl"),
    ("keepalive", "--keepalive-interval"),
    ("key", "--tls-key"),
    ("label", "--metric-label"),
    ("labels", "--metric-label"),
    ("log", "--verbose"),
    ("metrics", "--export-prometheus"),
    ("mode", "--embedded"),
    ("opentelemetry", "--export-otlp"),
    ("otel", "--export-otlp"),
    ("otlp", "--export-otlp"),
    ("otlp-headers", "OTEL_EXPORTER_OTLP_HEADERS"),
    ("otlp-protocol", "OTEL_EXPORTER_OTLP_PROTOCOL"),
    ("port", "--listen 127.0.0.1:PORT"),
    ("prometheus", "--export-prometheus"),
    ("prometheus-port", "--export-prometheus HOST:PORT"),
    ("rate", "--sampling-rate"),
    ("sample", "--sampling-rate"),
    ("silent", "--quiet"),
    ("socket", "--listen unix:PATH"),
    ("statsd", "--export-statsd"),
    ("statsd-tags", "DD_TAGS"),
    ("strip", "--embedded strip"),
    ("tag", "--metadata"),
    ("tags", "--metadata"),
    ("tls", "--tls-cert"),
    ("token", "--auth-token-file"),
    ("unix", "--listen unix:PATH"),
    ("url", "--otlp-endpoint"),
    ("wait", "--linger"),
];

/// A word where none belongs.
pub(super) fn for_word(
    word: &str,
    command: &Command,
    subcommand: Option<&Command>,
    arguments: &[OsString],
) -> String {
    if let Some(option) = option_before(word, subcommand.unwrap_or(command), arguments) {
        return format!("{word}: unexpected, write {option}={word}");
    }
    if let Some(subcommand) = subcommand
        && subcommand.get_positionals().next().is_none()
    {
        return format!("{} takes no argument: '{word}'", subcommand.get_name());
    }
    if subcommand.is_some_and(|subcommand| subcommand.get_name() == EXPECT) {
        return format!("{word}: put -- before the worker's command: {EXPECT} GOLDEN -- COMMAND [ARGS]...");
    }
    if subcommand::names().any(|name| name == word) {
        return format!("{word}: a subcommand comes first, its options after it");
    }
    if ["exec", "run", "start", "wrap"].contains(&word) {
        return format!("{word}: no such subcommand, leave it out: {SYNTAX}");
    }
    if word == "version" {
        return format!("{word}: no such subcommand, did you mean --version?");
    }
    if word.contains("://") {
        return format!("{word}: unexpected, write --export-otlp --otlp-endpoint {word}");
    }
    if matches!(word.parse(), Ok(Address::Tcp(_))) {
        return format!("{word}: unexpected, write --listen {word} to serve there");
    }
    if let Some(subcommand) = subcommand {
        return format!("{word}: unexpected, see {} --help", subcommand.get_name());
    }
    let near = nearest(word, subcommand::names()).filter(|_| word.chars().count() >= MIN_GUESSED_CHARS);
    if let Some(name) = near {
        return format!("{word}: did you mean {name}? A worker's command needs -- before it");
    }
    if arguments.iter().any(|argument| argument == "--") {
        return format!("{word}: unexpected, only options go before -- (see --help)");
    }
    let line = with_dashes(word, arguments).unwrap_or_else(|| SYNTAX.to_owned());
    let word = if word.is_empty() { "''" } else { word };
    format!("{word}: put -- before the worker's command: {line}")
}

/// The option in front of this word whose value needs an equals sign, unless the word may be the worker's
/// program.
fn option_before<'a>(word: &str, command: &Command, arguments: &'a [OsString]) -> Option<&'a str> {
    let at = arguments.iter().position(|argument| argument == word)?;
    let option = arguments.get(at.checked_sub(1)?)?.to_str()?;
    // --export-otlp=URL is an old spelling.
    let needs_equals =
        |argument: &&Arg| argument.is_require_equals_set() && argument.get_id() != "export_otlp";
    let argument =
        command.get_arguments().filter(needs_equals).find(|argument| is_spelt(argument, option))?;
    let has_dashes = arguments[at..].iter().any(|argument| argument == "--");
    let is_value = argument.get_possible_values().iter().any(|value| value.get_name() == word);
    (has_dashes || is_value).then_some(option)
}

/// The command line with dashes before this word, if it is short and needs no quotes.
fn with_dashes(word: &str, arguments: &[OsString]) -> Option<String> {
    let words: Vec<_> = arguments.iter().skip(1).map(|argument| argument.to_str()).collect::<Option<_>>()?;
    let at = words.iter().position(|other| *other == word)?;
    let (options, command) = words.split_at_checked(at)?;
    let is_plain = |char: char| char.is_ascii_alphanumeric() || "-_./:=,+@%".contains(char);
    let is_plain = |word: &&str| !word.is_empty() && *word != "--" && word.chars().all(is_plain);
    let line = [&["telemetry-sidecar"], options, &["--"], command].concat().join(" ");
    (words.iter().all(is_plain) && line.len() <= MAX_REPEATED_CHARS).then_some(line)
}

/// An option and its value that are one word.
pub(super) fn with_value(option: &str, command: &Command, arguments: &[OsString]) -> Option<String> {
    let exists = command.get_arguments().any(|argument| is_spelt(argument, option));
    let words = arguments.iter().take_while(|word| *word != "--").filter_map(|word| word.to_str());
    let is_both =
        |word: &&str| word.strip_prefix(option).is_some_and(|rest| rest.starts_with(char::is_whitespace));
    let word = words.filter(|_| exists).find(is_both)?;
    Some(format!("'{word}': one word, remove its quotes to make it an option and its value"))
}

/// An option that this subcommand does not have. `similar` is what clap found.
pub(super) fn for_option(
    option: &str,
    similar: &str,
    command: &Command,
    subcommand: Option<&Command>,
    arguments: &[OsString],
) -> String {
    let has = |command: &Command| command.get_arguments().any(|argument| is_spelt(argument, option));
    let subcommands = command.get_subcommands().filter(|sub| !sub.is_hide_set() && has(sub));
    let homes = has(command).then_some("wrapping").into_iter().chain(subcommands.map(Command::get_name));
    let homes: Vec<_> = homes.collect();
    // All have --help, and only the program itself has --version.
    let is_version = option == "--version" || option == "-V";
    if !homes.is_empty() && !is_version {
        let before_dashes = || arguments.iter().skip(1).take_while(|word| *word != "--");
        let later = homes.iter().find(|home| before_dashes().any(|word| word == **home));
        return match later.filter(|_| subcommand.is_none()) {
            Some(name) => format!("{option}: goes after the subcommand: {name} {option}"),
            None => match subcommand.map(Command::get_name) {
                Some("gather") if option == "--export-prometheus" => {
                    format!("{option}: gather serves its page at --listen")
                }
                Some(name) if homes == ["wrapping"] => {
                    format!("{option}: cannot be used with {name}, only when a worker is wrapped")
                }
                Some(name) => {
                    format!("{option}: cannot be used with {name}, it is an option of {}", all_of(&homes))
                }
                None => format!("{option}: an option of {}", all_of(&homes)),
            },
        };
    }
    let here = subcommand.unwrap_or(command);
    if here.get_name() == "tail" && ["-f", "--follow"].contains(&option) {
        return format!("{option}: no such option, tail always follows");
    }
    // clap takes -10 for -1 with a value.
    let mut numbers =
        arguments.iter().filter_map(|word| word.to_str()?.strip_prefix('-')?.parse::<u32>().ok());
    if let Some(number) = numbers.next()
        && option.chars().nth(1).is_some_and(|char| char.is_ascii_digit())
        && here.get_arguments().any(|argument| is_spelt(argument, "-n"))
    {
        return format!("-{number}: no such option, write -n {number}");
    }
    // clap takes -listen for -l.
    let long = option.strip_prefix('-').and_then(|letter| long_after_one_dash(letter, here, arguments));
    if let Some((word, long)) = long {
        return format!("{word}: no such option, did you mean --{long}? (see --help)");
    }
    let meant = option.strip_prefix("--").and_then(|name| meant(name, here));
    let similar = if is_near(option, similar) { similar } else { "" };
    match meant.unwrap_or_else(|| similar.to_owned()) {
        meant if meant.is_empty() || is_version => format!("{option}: no such option (see --help)"),
        meant => format!("{option}: no such option, did you mean {meant}? (see --help)"),
    }
}

/// The word that starts with one dash and this letter, and the long option that it names.
fn long_after_one_dash<'a>(
    letter: &str,
    command: &'a Command,
    arguments: &'a [OsString],
) -> Option<(&'a str, &'a str)> {
    let words = arguments.iter().take_while(|word| *word != "--").filter_map(|word| word.to_str());
    let mut words = words.filter(|word| word.strip_prefix('-').is_some_and(|name| name.starts_with(letter)));
    words.find_map(|word| {
        let name = word.trim_start_matches('-').split('=').next()?;
        let mut longs = command.get_arguments().filter_map(Arg::get_long);
        longs.find(|long| *long == name).map(|long| (word, long))
    })
}

/// A variable that no option has.
pub(super) fn for_variable(variable: &str, prefix: &str, names: &[String], command: &Command) -> String {
    let word = variable.strip_prefix(prefix).unwrap_or(variable).to_ascii_lowercase().replace('_', "-");
    let meant = meant(&word, command).and_then(|meant| {
        let Some(option) = meant.strip_prefix("--") else { return Some(meant) };
        let option = option.split(' ').next()?.replace('-', "_").to_ascii_uppercase();
        Some(format!("{prefix}{option}"))
    });
    let near = || nearest(variable, names.iter().map(String::as_str)).map(ToOwned::to_owned);
    match meant.or_else(near) {
        Some(name) => format!("{variable}: no such variable, did you mean {name}?"),
        None => format!("{variable}: no such variable (see --help)"),
    }
}

/// The options that a name may stand for: by its meaning elsewhere, or because they have all of its parts.
fn meant(name: &str, command: &Command) -> Option<String> {
    let longs: Vec<_> = command.get_arguments().filter_map(Arg::get_long).collect();
    let exists = |meant: &&str| {
        // A standard variable has an effect only with its exporter.
        let option = match meant.split(' ').next().unwrap_or_default() {
            variable if variable.starts_with("OTEL_") => "export-otlp",
            variable if variable.starts_with("DD_") => "export-statsd",
            option => option.trim_start_matches("--"),
        };
        longs.contains(&option)
    };
    let alias = |name: &str| {
        let alias = ALIASES.iter().find(|(alias, _)| *alias == name);
        alias.map(|(_, meant)| *meant).filter(exists).map(ToOwned::to_owned)
    };
    let with_all_parts = || {
        let has = |long: &&&str| name.split('-').all(|part| long.split('-').any(|other| other == part));
        let options: Vec<_> = longs.iter().filter(has).map(|long| format!("--{long}")).collect();
        (1..=3).contains(&options.len()).then(|| either(&options))
    };
    alias(name).or_else(with_all_parts)
}

/// `a`, `a and b`, `a, b and c`.
fn all_of(names: &[&str]) -> String {
    match names.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} and {last}", others.join(", ")),
        _ => names.concat(),
    }
}

fn is_spelt(argument: &Arg, option: &str) -> bool {
    match option.strip_prefix("--") {
        Some(long) => argument.get_long() == Some(long),
        None => {
            argument.get_short().is_some_and(|short| option.strip_prefix('-') == Some(&short.to_string()))
        }
    }
}
