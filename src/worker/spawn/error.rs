//! Why a worker did not start, and what may have been meant.

use crate::worker::{
    exit::{FAILED, NOT_EXECUTABLE, NOT_FOUND},
    program::{find, interpreter, is_there},
};
use nix::errno::Errno;
use std::{ffi::OsStr, io, os::unix::ffi::OsStrExt as _, path::Path};

/// Characters that mean something to a shell and are rare in commands without one.
const SHELL_SYNTAX: [char; 5] = ['|', '&', ';', '<', '>'];

/// Why a worker did not start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SpawnError {
    /// The system refuses a process, or to prepare it.
    Prepare(Errno),
    /// The command cannot be executed.
    Execute(Errno),
}

impl SpawnError {
    /// The sidecar's exit code: 127 if there is no such command, 126 if it cannot be executed, else 125.
    pub(crate) fn exit_code(self) -> i32 {
        match self {
            Self::Prepare(_) => FAILED,
            Self::Execute(Errno::ENOENT) => NOT_FOUND,
            Self::Execute(_) => NOT_EXECUTABLE,
        }
    }

    /// The system's error.
    pub(crate) fn cause(self) -> Errno {
        match self {
            Self::Prepare(cause) | Self::Execute(cause) => cause,
        }
    }

    /// The error message for this program, in one line.
    pub(crate) fn describe(self, program: &OsStr) -> String {
        let word = program.display();
        match self {
            Self::Prepare(cause) => format!("'{word}': cannot start a process: {}", io::Error::from(cause)),
            Self::Execute(Errno::ENOENT) => format!("'{word}': {}", missing(program)),
            Self::Execute(cause) => {
                let hint = if cause == Errno::EACCES { not_executable(program) } else { "" };
                format!("'{word}': {}{hint}", io::Error::from(cause))
            }
        }
    }
}

/// What an error of permissions may mean.
fn not_executable(program: &OsStr) -> &'static str {
    match find(program) {
        _ if Path::new(program).is_dir() => ", it is a directory",
        Some(_) if !is_there(program) => ", it is not executable (chmod +x)",
        _ => "",
    }
}

/// What may have been meant by a program that is not there.
fn meant(program: &str) -> Option<String> {
    let is_here = || Path::new(program).is_file() && !program.contains('/');
    if program.contains(SHELL_SYNTAX) && program.contains(' ') {
        Some("run a line of shell with -- sh -c".to_owned())
    } else if program.trim().contains(' ') {
        // After the dashes each word is one of its own.
        Some(format!("write it without quotes: -- {program}"))
    } else if program.starts_with('-') {
        Some("options of the sidecar go before --".to_owned())
    } else if is_here() {
        Some(format!("the file of this directory is ./{program}"))
    } else {
        (program == "python" && is_there(OsStr::new("python3"))).then(|| "but python3 is".to_owned())
    }
}

/// What was not found: the program, its interpreter or its loader. The system reports ENOENT for each of
/// them.
fn missing(program: &OsStr) -> String {
    let Some(found) = find(program) else {
        let is_path = program.as_bytes().contains(&b'/');
        let cause =
            if is_path { io::Error::from(Errno::ENOENT).to_string() } else { "not found in PATH".into() };
        return program
            .to_str()
            .and_then(meant)
            .map_or_else(|| cause.clone(), |hint| format!("{cause}, {hint}"));
    };
    let what = if interpreter(&found).is_some() { "its interpreter (#!)" } else { "its loader" };
    format!("{what} is not there")
}
