//! How the sidecar exits: like its worker, or with an exit code as GNU `timeout` uses them.

use super::number::Number;
use crate::event::ended::{self, DEATH_BY_SIGNAL};
use nix::{
    sys::{
        prctl,
        resource::{Resource, setrlimit},
        signal::Signal,
    },
    unistd::Pid,
};
use std::{os::unix::process::ExitStatusExt as _, process::ExitStatus};

/// Exit code if the time given with `--timeout` is over.
pub const TIMED_OUT: i32 = 124;
/// Exit code if the sidecar itself failed, or its options are wrong.
pub const FAILED: i32 = 125;
/// Exit code if the command was found but could not be executed.
pub const NOT_EXECUTABLE: i32 = 126;
/// Exit code if the command was not found.
pub const NOT_FOUND: i32 = 127;

/// How a process exits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// With this code.
    Code(i32),
    /// Killed by this signal.
    Signal(i32),
}

/// The name of a signal, or its number: `SIGKILL`, `signal 34`.
pub fn signal_name(number: i32) -> String {
    Signal::try_from(number).map_or_else(|_| format!("signal {number}"), |signal| signal.as_str().to_owned())
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code),
            (None, Some(signal)) => Self::Signal(signal),
            // A process that ended has either. This would be the sidecar's error.
            (None, None) => Self::Code(FAILED),
        }
    }
}

impl Exit {
    /// Whether this is a failure: a code other than 0, or a signal other than SIGTERM, also of a shell's
    /// command.
    pub fn has_failed(self) -> bool {
        match self {
            Self::Code(code) => ended::is_failed_code(code.into()),
            Self::Signal(number) => ended::is_failed_signal(number.into()),
        }
    }

    /// Ends this process.
    pub fn leave(self) -> ! {
        let code = match self {
            Self::Code(code) => code,
            Self::Signal(number) => {
                die_of(Number(number));
                // PID 1 is not killed by its own signal.
                DEATH_BY_SIGNAL + number
            }
        };
        std::process::exit(code)
    }
}

/// Ends this process with the signal that ended the worker, so that the parent sees the same status. Returns
/// if that does not work.
fn die_of(signal: Number) {
    // The worker has dumped core already, if that was permitted. A piped core_pattern ignores the limit.
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    let _ = prctl::set_dumpable(false);
    // The kernel discards signals to PID 1 of a namespace for which it has no handler.
    if !is_pid_1() {
        signal.take_default_action();
    }
}

/// Whether this is the first process of its process namespace, as in a container.
pub(crate) fn is_pid_1() -> bool {
    Pid::this() == Pid::from_raw(1)
}
