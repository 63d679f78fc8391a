//! Where and how long a sidecar serves, and what it says.

use crate::{
    net::address::Address,
    system::{
        log::{self, Format, Level},
        option::{Given, Several, one_of, value},
        template::{has_process_id, path_template, repeated_template},
        value::{Period, duration, integer_in, switch},
    },
};
use clap::{ArgAction, Args};
use std::{path::PathBuf, time::Duration};

/// Any free port, which only this host can reach.
const LISTEN: &str = "127.0.0.1:0";

/// Enough for a subscriber on the same network, and unnoticeable at the end of a job.
const DRAIN_TIMEOUT: Period = Period(Duration::from_millis(500));

/// By default the exit does not wait for a subscriber that may never connect.
const LINGER: Period = Period(Duration::ZERO);

/// Where and how long to serve.
#[derive(Debug, Args)]
#[command(next_help_heading = "Serving")]
pub struct ServingArgs {
    /// Serve gRPC at HOST:PORT or unix:PATH; repeatable
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = LISTEN,
        env = "TELEMETRY_SIDECAR_LISTEN",
        value_parser = repeated_template(is_listen_template, str::parse::<Address>),
        long_help = "Serve gRPC at HOST:PORT (0: any free port; a name: at all of its addresses), unix:PATH \
            or unix:@NAME (an abstract socket); repeatable. {env:NAME} in it is replaced by that \
            variable, and in a PATH or NAME {pid} by the sidecar's process id and {ppid} by its parent's"
    )]
    pub listen: Vec<Several<Address>>,

    /// Write the port, or unix:PATH, to this file
    #[arg(
        long,
        value_name = "PATH",
        env = "TELEMETRY_SIDECAR_READY_FILE",
        value_parser = path_template(),
        long_help = "Write a line for each listener to this file before the worker starts: its port, or \
            unix:PATH; then one for each other address (prometheus PORT). At the start an old ready file \
            (any that has only such lines) or an empty file there is removed, even if the start then fails; \
            any other file is an error. A FIFO, a device, a socket and /dev/fd/N are written into. {pid}, \
            {ppid} and {env:NAME} in the path are replaced as in --listen"
    )]
    pub ready_file: Option<Given<PathBuf>>,

    /// Print no GRPC_READY:PORT, losses or summary
    #[arg(
        short,
        long,
        env = "TELEMETRY_SIDECAR_QUIET",
        value_parser = value(switch),
        long_help = "Do not print the line GRPC_READY:PORT on stderr, nor, at the exit, what was lost, \
            which lines are no telemetry, and the summary"
    )]
    pub quiet: bool,

    /// Time for queued events to be delivered after the worker's end
    #[arg(
        long,
        value_name = "DURATION",
        default_value_t = DRAIN_TIMEOUT,
        env = "TELEMETRY_SIDECAR_DRAIN_TIMEOUT",
        value_parser = value(duration),
        long_help = "Time for queued events to be delivered after the worker's end. In a replay it applies \
            to OpenTelemetry and --record only: subscribers are waited for without limit"
    )]
    pub drain_timeout: Period,

    /// Time to wait after the worker's end for a first subscriber and for a last scrape
    #[arg(
        long,
        value_name = "DURATION",
        default_value_t = LINGER,
        env = "TELEMETRY_SIDECAR_LINGER",
        value_parser = value(duration),
        long_help = "Stay for at most this long after the worker's exit. The sidecar exits earlier if there \
            was a gRPC subscriber, during the run or since, and the page of --export-prometheus (if any) was \
            scraped once more. Without a gRPC subscriber the whole time passes. SIGTERM ends it at once"
    )]
    pub linger: Period,

    /// Log to stderr; -vv for more
    #[arg(
        short,
        long,
        action = ArgAction::Count,
        env = "TELEMETRY_SIDECAR_VERBOSE",
        value_parser = value(integer_in::<u8>(0..=u8::MAX as u64)),
        long_help = "Log to stderr, between the worker's lines; -vv for more. A message that a peer or a \
            server can repeat is logged once in 10 s with -v, ten times with -vv; the next one says how many \
            were suppressed. The variable is a count"
    )]
    pub verbose: u8,

    /// Format of the log
    #[arg(
        long,
        value_name = "FORMAT",
        value_enum,
        default_value_t,
        env = "TELEMETRY_SIDECAR_LOG_FORMAT",
        value_parser = one_of::<Format>()
    )]
    pub log_format: Format,
}

impl ServingArgs {
    /// Whether to announce a port that the system chose.
    pub fn announces(&self) -> bool {
        !self.quiet && self.ready_file.is_none()
    }

    /// What to log, and how.
    pub fn log(&self) -> log::Settings {
        log::Settings { level: Level::from_count(self.verbose), format: self.log_format }
    }
}

/// A process id is no port: it may be larger than any, or another program's port.
fn is_listen_template(word: &str) -> Result<(), &'static str> {
    if !word.starts_with("unix:") && has_process_id(word) {
        return Err("a process id is not a port; use port 0, which --ready-file names, or unix:PATH");
    }
    Ok(())
}
