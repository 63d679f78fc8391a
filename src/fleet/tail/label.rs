//! Short names of workers, for the start of lines.

use crate::{fleet::discover::Sidecar, terminal::table::cut};
use std::path::Path;

/// Longer names are cut.
const MAX_NAME: usize = 24;

/// Programs whose first operand is the program that matters.
const INTERPRETERS: [&str; 16] = [
    "bash", "bun", "dash", "deno", "elixir", "escript", "julia", "lua", "node", "perl", "php", "pypy",
    "python", "ruby", "Rscript", "sh",
];

/// `train.py[4711]`: what runs, and the worker's process id.
pub fn label(sidecar: &Sidecar) -> String {
    format!("{}[{}]", cut(&name(&sidecar.command), MAX_NAME, '~'), sidecar.worker.unwrap_or(sidecar.pid))
}

/// The file name of the script or the module that an interpreter runs, or else of the program.
fn name(command: &str) -> String {
    let mut words = command.split_whitespace();
    let first = words.next().unwrap_or_default();
    let program = base(first);
    let family = program.trim_end_matches(|char: char| char.is_ascii_digit() || char == '.');
    let operand = match family {
        "replay" => words.next().map(base),
        _ if INTERPRETERS.contains(&family) => operand(words),
        _ => None,
    };
    operand.unwrap_or(program)
}

/// The script behind an interpreter's options, or the module behind `-m`; none if the program is in the
/// command line itself.
fn operand<'a>(mut words: impl Iterator<Item = &'a str>) -> Option<String> {
    while let Some(word) = words.next() {
        match word {
            "-m" => return words.next().map(str::to_owned),
            "-c" | "-e" | "-" => return None,
            // Those of Python that take a value.
            "-W" | "-X" => {
                words.next();
            }
            _ if word.starts_with('-') => {}
            _ => return Some(base(word)),
        }
    }
    None
}

fn base(path: &str) -> String {
    Path::new(path).file_name().map_or(path.into(), |name| name.to_string_lossy()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_named_by_what_its_interpreter_runs() {
        for (command, expected) in [
            ("/usr/bin/python3.11 -u /srv/train.py --epochs 3", "train.py"),
            ("python3 -X dev -m snakepit.grpc_server --port 1", "snakepit.grpc_server"),
            ("python -c import time", "python"),
            ("node --max-old-space-size=4096 dist/worker.js", "worker.js"),
            ("sh -c exec cat >&2", "sh"),
            ("sh worker.sh", "worker.sh"),
            ("/opt/bin/worker -v x", "worker"),
            ("replay logs/run.log", "run.log"),
            ("replay", "replay"),
            ("python", "python"),
            ("", ""),
        ] {
            assert_eq!(name(command), expected, "{command}");
        }
    }

    #[test]
    fn a_label_has_the_process_id_and_is_short() {
        let sidecar =
            |command: &str, worker| Sidecar { worker, command: command.into(), ..Sidecar::example(7) };
        assert_eq!(label(&sidecar("a", Some(8))), "a[8]");
        assert_eq!(label(&sidecar(&"x".repeat(30), None)), format!("{}~[7]", "x".repeat(23)));
    }
}
