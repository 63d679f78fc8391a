//! How a worker ended, as a report states it.

use super::{Exit, Usage};
use crate::event::proto::sidecar::EndReason;

/// The end of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// Its exit status.
    pub exit: Exit,
    /// Why, as far as that can be seen.
    pub reason: Reason,
    /// What it has used.
    pub usage: Usage,
    /// How many processes of the worker's control group the kernel killed during the run because memory ran
    /// out; none if that is not known.
    pub oom_kills: Option<u64>,
}

impl End {
    /// An end of which only this is known.
    pub fn new(exit: Exit, usage: Usage) -> Self {
        let reason = match exit {
            Exit::Code(_) => Reason::Exit,
            Exit::Signal(_) => Reason::Signal,
        };
        Self { exit, reason, usage, oom_kills: None }
    }
}

/// Why a worker ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It exited.
    Exit,
    /// A signal killed it.
    Signal,
    /// The kernel killed it because memory ran out.
    OutOfMemory,
    /// It was killed, and memory had run out, maybe for another process.
    MaybeOutOfMemory,
}

impl Reason {
    /// The reason in reports.
    pub fn as_str(self) -> &'static str {
        EndReason::from(self).text().unwrap_or_default()
    }

    /// What a text that states the exit status adds, in parentheses: nothing, unless memory ran out.
    pub fn note(self) -> &'static str {
        match self {
            Self::Exit | Self::Signal => "",
            Self::OutOfMemory => " (out of memory)",
            Self::MaybeOutOfMemory => " (maybe out of memory)",
        }
    }
}

impl From<Reason> for EndReason {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Exit => Self::Exit,
            Reason::Signal => Self::Signal,
            Reason::OutOfMemory => Self::OutOfMemory,
            Reason::MaybeOutOfMemory => Self::MaybeOutOfMemory,
        }
    }
}
