//! What a sidecar does, by its own command line and its children.

use super::process::{Entry, command_line};
use crate::system::{
    log::PROGRAM,
    subcommand::{REPLAY, Role, role},
    visible::one_line,
};
use std::path::PathBuf;

/// Whether it is no sidecar. `gather` listens, too, and the sockets of other users' processes are unknown, so
/// that is recognized by the subcommand.
pub(super) fn is_client(words: &[String]) -> bool {
    words.get(1).and_then(|word| role(word)).is_some_and(|role| role != Role::Serves)
}

/// The worker: the first child that is no helper of the sidecar. A container's init gets others later.
pub(super) fn worker<'a>(children: &[&'a Entry]) -> Option<&'a Entry> {
    let workers = children.iter().filter(|child| !child.is_helper());
    workers.min_by_key(|child| (child.start_ticks, child.pid)).copied()
}

/// What the worker runs, or the words of the sidecar's own command line that say it.
pub(super) fn command(
    worker: Option<&Entry>,
    sidecar: &[String],
    cwd: &dyn Fn() -> Option<PathBuf>,
) -> String {
    let mut words = worker.map(|worker| command_line(worker.pid)).unwrap_or_default();
    // A fork that has not executed the worker yet has the sidecar's.
    if words == sidecar {
        words.clear();
    }
    if words.is_empty() {
        let given = sidecar.get(1..).unwrap_or_default();
        words = match given.iter().position(|word| word == "--") {
            _ if given.first().is_some_and(|word| word == REPLAY) => replay(given, cwd),
            Some(at) => given.get(at + 1..).unwrap_or_default().to_vec(),
            None => given.to_vec(),
        };
    }
    let words = words.iter().map(|word| one_line(word)).collect::<Vec<_>>();
    if words.is_empty() { PROGRAM.into() } else { words.join(" ") }
}

/// What `--metadata` adds to the events, with commas between them. Values with placeholders are left out:
/// only the sidecar can replace those.
pub(super) fn metadata(sidecar: &[String]) -> String {
    let mut words = sidecar.iter().skip(1).take_while(|word| *word != "--");
    let mut found = Vec::new();
    while let Some(word) = words.next() {
        let value = match word.strip_prefix("--metadata") {
            Some("") => words.next().map(String::as_str),
            Some(rest) => rest.strip_prefix('='),
            None => None,
        };
        found.extend(value.filter(|value| !value.contains('{')).map(one_line));
    }
    found.join(", ")
}

/// `replay` and its files. A word after a long option may be the option's value: the last one is a file if
/// there is one of that name and no other file was given.
fn replay(given: &[String], cwd: &dyn Fn() -> Option<PathBuf>) -> Vec<String> {
    let is_option = |word: &String| word.len() > 1 && word.starts_with('-');
    let takes_value = |word: &String| word.starts_with("--") && !word.contains('=');
    let words = given.windows(2).filter_map(|pair| match pair {
        [before, word] if !takes_value(before) && !is_option(word) => Some(word),
        _ => None,
    });
    let mut files: Vec<&String> = words.collect();
    let last = given.last().filter(|word| cwd().is_some_and(|cwd| cwd.join(word.as_str()).exists()));
    if files.is_empty() {
        files.extend(last);
    }
    given.iter().take(1).chain(files).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_of_the_command_line_is_found() {
        let found = |line: &str| metadata(&words(line));
        assert_eq!(
            found("s --metadata a=1 -q --metadata=b=2 --metadata c={pid} -- w --metadata d=4"),
            "a=1, b=2"
        );
        assert_eq!((found("s --metadata"), found("s --metadata-x y")), (String::new(), String::new()));
    }

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn a_sidecar_without_a_worker_is_described_by_its_own_command_line() {
        let described = |line: &str| command(None, &words(line), &|| Some("/dev".into()));
        assert_eq!(described("telemetry-sidecar -v -- python w.py -- x"), "python w.py -- x");
        assert_eq!(described("/bin/telemetry-sidecar replay a.log - -v"), "replay a.log -");
        assert_eq!(
            described("s replay --listen 127.0.0.1:0 --record=x -v a.log b.log"),
            "replay a.log b.log"
        );
        assert_eq!(described("s replay --pace null"), "replay null");
        assert_eq!(described("s replay a.log --listen 127.0.0.1:0"), "replay a.log");
        assert_eq!(command(None, &["x".into(), "--".into(), "a\nb".into()], &|| None), "a\\nb");
        assert_eq!(command(None, &[], &|| None), "telemetry-sidecar");
    }
}
