//! How the sidecar leaves: the way its worker did, or with the numbers of GNU `timeout`.

use super::number::Number;
use nix::{
    sys::{
        prctl,
        resource::{Resource, setrlimit},
    },
    unistd::Pid,
};
use std::{os::unix::process::ExitStatusExt as _, process::ExitStatus};

/// The sidecar itself failed, or was used wrongly.
pub const FAILED: i32 = 125;
/// The command was found but could not be run.
pub const NOT_EXECUTABLE: i32 = 126;
/// The command was not found.
pub const NOT_FOUND: i32 = 127;

/// How to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// With this code.
    Code(i32),
    /// Killed by this signal.
    Signal(i32),
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code),
            (None, Some(signal)) => Self::Signal(signal),
            // Neither exited nor killed is no end at all.
            (None, None) => Self::Code(FAILED),
        }
    }
}

impl Exit {
    /// Ends this process.
    pub fn leave(self) -> ! {
        let code = match self {
            Self::Code(code) => code,
            Self::Signal(number) => {
                die_of(Number(number));
                // What a shell makes of such a death: as PID 1, which a signal does not kill.
                128 + number
            }
        };
        std::process::exit(code)
    }
}

/// Dies as the worker did, so that the parent sees the same; returns if that does not work.
fn die_of(signal: Number) {
    // The worker has dumped core if there was one to dump. A piped core_pattern ignores the limit.
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    let _ = prctl::set_dumpable(false);
    // PID 1 of a namespace gets no signal that it has no handler for.
    if Pid::this() != Pid::from_raw(1) {
        signal.take_default_action();
    }
}
