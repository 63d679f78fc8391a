//! The options for what the sidecar observes of a worker from outside.

use super::lifecycle;
use crate::system::{
    option::{Given, named, value},
    value::{Period, duration, switch_or},
};
use clap::Args;
use std::time::Duration;

/// The shortest interval between samples: they are read from files.
const MIN_INTERVAL: Duration = Duration::from_millis(100);

// Whether a pool is there is known only with the other options.
const WITH_OUTPUT: lifecycle::Settings = lifecycle::Settings { has_output: true, is_snakepit: false };
const WITHOUT_OUTPUT: lifecycle::Settings = lifecycle::Settings { has_output: false, ..WITH_OUTPUT };

/// The options of the command line. A replay has no worker, so it has none of them.
#[derive(Debug, Args)]
#[command(next_help_heading = "Worker")]
pub struct ObserverArgs {
    /// Publish the worker's start and end as events
    #[arg(
        long,
        value_name = "no-output",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        env = "TELEMETRY_SIDECAR_LIFECYCLE",
        value_parser = named(switch_or("no-output", WITHOUT_OUTPUT, WITH_OUTPUT)),
        long_help = "Publish the events worker.started and worker.exited. Unless the exit code is 0, \
            worker.exited includes the last 20 lines of the worker's stderr (up to 8 KiB, without \
            telemetry), which may contain secrets: --lifecycle=no-output leaves them out. It says how the \
            worker ended (exit_code or signal, and the reason: exit, signal, out of memory), how long it \
            ran, its CPU time and its peak memory. With --snakepit a worker that failed is also a \
            python.error.occurred. 0, 1, true and false are accepted as well, as in the variable \
            [default: off]"
    )]
    lifecycle: Option<Given<Option<lifecycle::Settings>>>,

    /// Sample memory, CPU and processes of the worker
    #[arg(
        long,
        value_name = "INTERVAL",
        env = "TELEMETRY_SIDECAR_VITALS",
        value_parser = value(interval),
        long_help = "Interval between samples (at least 100ms) of the memory, CPU time, threads, \
            descriptors and processes of the worker and its descendants. They are published as the events \
            worker.memory.sampled, worker.cpu.sampled and worker.process.sampled (with --snakepit \
            python.memory.sampled and python.cpu.sampled). Prometheus and OpenTelemetry get \
            process.memory.usage, process.cpu.time and so on instead [default: off]"
    )]
    vitals: Option<Period>,
}

impl ObserverArgs {
    /// The interval between samples of what the worker uses, if they are asked for.
    pub fn vitals(&self) -> Option<Duration> {
        self.vitals.map(|Period(interval)| interval)
    }

    /// The events about the worker's start and end, if they are asked for.
    pub fn lifecycle(&self) -> Option<lifecycle::Settings> {
        self.lifecycle.as_ref()?.value
    }
}

fn interval(word: &str) -> Result<Period, &'static str> {
    match duration(word) {
        Ok(Period(interval)) if interval >= MIN_INTERVAL => Ok(Period(interval)),
        _ => Err("expected a duration with a unit, at least 100ms, such as 1s"),
    }
}
