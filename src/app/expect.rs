//! `expect`: wraps a worker without serving it, and compares its events with a golden file.

use super::wrap::{self, Files, Wrapping};
use crate::{
    config::Expect,
    golden::{self, Diff, Events, MAX_BYTES},
    pipeline::publisher::Tap,
    system::{
        file_error::{describe, directory},
        log,
        value::counted,
    },
    worker::{
        Exit,
        exit::{NOT_EXECUTABLE, NOT_FOUND, signal_name},
        witness::Witness,
    },
};
use std::{
    fs::{self, OpenOptions},
    io::{self, ErrorKind, Write as _},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

/// Exit code if the events differ.
const DIFFERENT: i32 = 1;

/// Runs the worker and reports the differences. The error is one of the golden file.
pub(super) fn run(
    task: Expect,
    environment_names: Vec<String>,
    witness: Option<Witness>,
) -> Result<Exit, String> {
    let Expect { wrap, golden: path, fields, update } = task;
    if update {
        check_writable(&path)?;
    }
    let expected = golden::read(&path, &fields);
    let expected = match expected.map_err(|error| format!("{}: {error}", path.display())) {
        Ok(None) if !update => {
            let path = path.display();
            return Err(format!("{path}: does not exist; with --update this run's events are written to it"));
        }
        // The file is replaced.
        Err(_) if update => None,
        expected => expected?,
    };
    let found = Arc::new(Mutex::new(Events::default()));
    let tapped = Arc::clone(&found);
    let tap = move |batch: &_| tapped.lock().unwrap_or_else(PoisonError::into_inner).add(batch, &fields);
    let files = Files { ready: None, pool: None, summary: None };
    let (config, tap) = (Box::new(wrap), Some(Box::new(tap) as Tap));
    let exit = wrap::run(Wrapping { config, files, environment_names, witness, tap })?;
    let found = std::mem::take(&mut *found.lock().unwrap_or_else(PoisonError::into_inner));

    match exit {
        Exit::Code(0) if found.is_cut() => Err(format!("more than {} MiB of events", MAX_BYTES >> 20)),
        Exit::Code(0) if update => write(&path, expected.as_ref(), &found),
        Exit::Code(0) => {
            let is_equal = compare(&path, expected.as_ref(), &found, " (--update accepts this run)");
            Ok(Exit::Code(if is_equal { 0 } else { DIFFERENT }))
        }
        // It was not started, which was reported.
        Exit::Code(NOT_FOUND | NOT_EXECUTABLE) if found.count() == 0 => Ok(exit),
        _ => {
            if !update {
                compare(&path, expected.as_ref(), &found, "");
            }
            log::error_line(match exit {
                Exit::Code(code) => format!("the worker has failed: exit status {code}"),
                Exit::Signal(number) => format!("the worker has failed: killed by {}", signal_name(number)),
            });
            Ok(exit)
        }
    }
}

/// Whether the events are equal; prints the differences if not.
fn compare(path: &Path, expected: Option<&Events>, found: &Events, hint: &str) -> bool {
    let none = Events::default();
    let Some(Diff { summary, text }) = Diff::of(expected.unwrap_or(&none), found) else {
        return true;
    };
    let path = path.display();
    log::error_line(format!("{path}: events differ: {summary}{hint}"));
    // If stderr is closed there is nowhere to report that.
    let _ = io::stderr().write_all(format!("--- {path}\n+++ this run\n{text}").as_bytes());
    false
}

/// Fails before the worker runs if the golden file cannot be written after it.
fn check_writable(path: &Path) -> Result<(), String> {
    let opened = match OpenOptions::new().append(true).open(path) {
        // Removed at once.
        Err(error) if error.kind() == ErrorKind::NotFound => tempfile::tempfile_in(directory(path)).map(drop),
        opened => opened.map(drop),
    };
    opened.map_err(|error| format!("{}: --update cannot write it: {}", path.display(), describe(path, error)))
}

/// Writes the golden file, if that changes it, and reports which.
fn write(path: &Path, expected: Option<&Events>, found: &Events) -> Result<Exit, String> {
    let outcome = if expected.is_none_or(|expected| expected.text() != found.text()) {
        fs::write(path, found.text()).map_err(|error| format!("{}: {error}", path.display()))?;
        "written"
    } else {
        "as before"
    };
    log::error_line(format!("{}: {} {outcome}", path.display(), counted(found.count() as u64, "event")));
    Ok(Exit::Code(0))
}
