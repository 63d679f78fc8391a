//! The options for what the sidecar observes of a worker from outside.

use crate::system::{
    option::{Given, named},
    value::switch,
};
use clap::Args;

/// The options of the command line. A replay has no worker, so it has none of them.
#[derive(Debug, Args)]
#[command(next_help_heading = "Worker")]
pub struct ObserverArgs {
    /// Publish events about the worker's start and end; =no-output: without its last lines
    #[arg(
        long,
        value_name = "MODE",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        env = "TELEMETRY_SIDECAR_LIFECYCLE",
        value_parser = named(lifecycle),
        long_help = "Publish the events worker.started and worker.exited. The latter says how the worker \
            ended (exit_code or signal, and the reason: exit, signal, out of memory), how long it ran, its \
            processor time and its peak memory, and, unless the exit code is 0, the last 20 lines of its \
            stderr (up to 8 KiB, without telemetry). Those may contain secrets: --lifecycle=no-output leaves \
            them out"
    )]
    lifecycle: Option<Given<Option<Lifecycle>>>,
}

/// Which events about the worker's start and end to publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifecycle {
    /// Whether the end of a worker that failed has the last lines of its stderr.
    pub has_output: bool,
}

impl ObserverArgs {
    /// The events about the worker's start and end, if they are asked for.
    pub fn lifecycle(&self) -> Option<Lifecycle> {
        self.lifecycle.as_ref()?.value
    }
}

fn lifecycle(word: &str) -> Result<Option<Lifecycle>, String> {
    match (word, switch(word)) {
        ("no-output", _) => Ok(Some(Lifecycle { has_output: false })),
        (_, Ok(true)) => Ok(Some(Lifecycle { has_output: true })),
        (_, Ok(false)) => Ok(None),
        _ => Err("expected no-output, or no value".into()),
    }
}
