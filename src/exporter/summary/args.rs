//! The option of the summary.

use crate::system::{
    option::{Given, either},
    template::named_template,
};
use clap::{ArgAction, Args};
use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt as _,
    path::PathBuf,
};

/// The word before a file's path.
const JSON: &str = "json";

/// The values without a path.
const WORDS: [(&str, When); 3] = [("auto", When::Auto), ("always", When::Always), ("never", When::Never)];

/// When to print the summary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// If stderr is a terminal, there were events, and `--quiet` is not given.
    Auto,
    /// In any case.
    Always,
    /// Never.
    Never,
}

/// The value of the option.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    Printed(When),
    /// Printed as by default, and written to this file.
    Json(PathBuf),
}

/// The options of the command line.
#[derive(Debug, Args)]
#[command(next_help_heading = "Serving")]
pub struct SummaryArgs {
    /// Summary at the end: auto (on a terminal), always, never or json FILE
    #[arg(
        long,
        value_name = "WHEN",
        default_value = "auto",
        env = "TELEMETRY_SIDECAR_SUMMARY",
        action = ArgAction::Append,
        value_parser = named_template(form),
        long_help = "When to print a summary of operations, measurements and losses at the end: auto (if \
            stderr is a terminal and there were events, and not with --quiet), always, or never. json FILE \
            (or json:FILE, the only form of the variable) prints it as auto does, and writes it to this \
            file as one JSON object; it can be given together with one of the words. \
            An older summary there is removed at the start; any other file is an error. {pid}, {ppid} and \
            {env:NAME} in the path are replaced as in --listen"
    )]
    summary: Vec<Given<Form>>,
}

/// What to do at the end.
#[derive(Debug, Clone)]
pub struct Settings {
    /// When to print it.
    pub when: When,
    /// The file to write.
    pub file: Option<Given<PathBuf>>,
}

impl SummaryArgs {
    /// What to do at the end.
    pub fn settings(&self) -> Settings {
        let mut settings = Settings { when: When::Auto, file: None };
        for Given { value, origin } in &self.summary {
            match value {
                Form::Printed(when) => settings.when = *when,
                Form::Json(path) => {
                    settings.file = Some(Given { value: path.clone(), origin: origin.clone() });
                }
            }
        }
        settings
    }
}

fn form(text: &OsStr) -> Result<Form, String> {
    if let Some((_, when)) = WORDS.iter().find(|(word, _)| text == *word) {
        return Ok(Form::Printed(*when));
    }
    let path = text.as_bytes().strip_prefix(JSON.as_bytes()).and_then(|rest| rest.strip_prefix(b":"));
    match path {
        Some(path) if !path.is_empty() => Ok(Form::Json(PathBuf::from(OsStr::from_bytes(path)))),
        _ => Err(format!("expected {}", either(&["auto", "always", "never", "json:FILE"]))),
    }
}

/// A command line in which `--summary json FILE` is one word: clap would take only `json` as the value, since
/// another value would take the first recording of `replay`.
#[must_use]
pub fn joined(arguments: Vec<OsString>) -> Vec<OsString> {
    let mut joined: Vec<OsString> = Vec::with_capacity(arguments.len());
    let mut words = arguments.into_iter().peekable();
    let mut is_after_option = false;
    while let Some(word) = words.next() {
        if word == "--" {
            joined.push(word);
            break;
        }
        let is_json = is_after_option && word == JSON || word.as_bytes() == b"--summary=json";
        let file = words.next_if(|next| is_json && !next.is_empty() && !next.as_bytes().starts_with(b"-"));
        is_after_option = word == "--summary";
        joined.push(match file {
            Some(file) => [word, file].join(OsStr::new(":")),
            None => word,
        });
    }
    joined.extend(words);
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join(words: &[&str]) -> Vec<OsString> {
        joined(words.iter().map(OsString::from).collect())
    }

    #[test]
    fn json_and_its_file_are_joined_before_the_command() {
        assert_eq!(join(&["x", "--summary", "json", "a", "b"]), ["x", "--summary", "json:a", "b"]);
        assert_eq!(join(&["x", "--summary=json", "a", "b"]), ["x", "--summary=json:a", "b"]);
        for words in [
            &["x", "--summary", "json"][..],
            &["x", "--summary", "json", "--", "a"],
            &["x", "--summary", "json", "-q", "--", "a"],
            &["x", "--summary", "always", "json", "a"],
            &["x", "--", "--summary", "json", "a"],
            &["x", "json", "a"],
        ] {
            assert_eq!(join(words), words);
        }
    }

    #[test]
    fn values_are_words_or_a_file() {
        assert_eq!(form(OsStr::new("auto")), Ok(Form::Printed(When::Auto)));
        assert_eq!(form(OsStr::new("json:a:b")), Ok(Form::Json("a:b".into())));
        for wrong in ["", "json", "json:", "Auto", "yes"] {
            assert_eq!(form(OsStr::new(wrong)), Err("expected auto, always, never or json:FILE".into()));
        }
    }
}
