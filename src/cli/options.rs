//! The options of wrapping and of what else reads a worker's lines.

use super::{
    Access, Export, Limits, Word,
    word::{FromVariable, switch, times},
};
use clap::Args;
use std::path::PathBuf;

/// What is telemetry and what is not.
#[derive(Debug, Args)]
pub struct Lines {
    /// What to do with an event that starts in mid-line
    #[arg(
        long,
        value_name = "MODE",
        default_value = "copy",
        env = "TELEMETRY_SIDECAR_EMBEDDED",
        long_help = "What to do with an event that starts in mid-line, as behind a progress bar: copy delivers \
            it and passes the line through, strip takes it out of the line, ignore leaves it alone"
    )]
    pub embedded: Word,

    /// Longest telemetry line, prefix and newline counted; a longer one passes through
    #[arg(long, value_name = "N", default_value_t = (4 * 1024 * 1024).to_string().into(), env = "TELEMETRY_SIDECAR_MAX_LINE_BYTES")]
    pub max_line_bytes: Word,
}

/// The options of wrapping and replaying.
#[derive(Debug, Args)]
pub struct Options {
    /// Where to serve gRPC: HOST:PORT (port 0: any free one) or unix:PATH; repeatable [default: 127.0.0.1:0]
    #[arg(long, value_name = "ADDRESS", env = "TELEMETRY_SIDECAR_LISTEN")]
    pub listen: Vec<Word>,

    /// Write a line for each listener to this file: its port, or unix:PATH
    #[arg(long, value_name = "PATH", env = "TELEMETRY_SIDECAR_READY_FILE")]
    pub ready_file: Option<PathBuf>,

    /// Do not announce the port with a line GRPC_READY:PORT on stderr
    #[arg(short, long, env = "TELEMETRY_SIDECAR_QUIET", value_parser = FromVariable(switch))]
    pub quiet: bool,

    /// Events that may wait for each subscriber
    #[arg(long, value_name = "N", default_value = "1024", env = "TELEMETRY_SIDECAR_QUEUE_CAPACITY")]
    pub queue_capacity: Word,

    /// Bytes that may wait for each subscriber
    #[arg(long, value_name = "N", default_value_t = (16 * 1024 * 1024).to_string().into(), env = "TELEMETRY_SIDECAR_QUEUE_BYTES")]
    pub queue_bytes: Word,

    /// Which event a full queue gives up: drop-newest or drop-oldest
    #[arg(long, value_name = "WHICH", default_value = "drop-newest", env = "TELEMETRY_SIDECAR_WHEN_FULL")]
    pub when_full: Word,

    /// What is telemetry.
    #[command(flatten)]
    pub lines: Lines,

    /// Size of the worker's stderr pipe, rounded up by the system [default: the system's, enlarged to 1 MiB while it runs full]
    #[arg(long, value_name = "BYTES", env = "TELEMETRY_SIDECAR_PIPE_SIZE")]
    pub pipe_size: Option<Word>,

    /// Share of traces that a subscription starts with, 0 to 1
    #[arg(long, value_name = "R", default_value = "1", env = "TELEMETRY_SIDECAR_SAMPLING_RATE")]
    pub sampling_rate: Word,

    /// Events that a subscription starts with: a glob over the name; repeatable [default: all]
    #[arg(long, value_name = "GLOB", env = "TELEMETRY_SIDECAR_ALLOW")]
    pub allow: Vec<Word>,

    /// Events that a subscription starts without: a glob over the name; repeatable
    #[arg(long, value_name = "GLOB", env = "TELEMETRY_SIDECAR_DENY")]
    pub deny: Vec<Word>,

    /// Start subscriptions switched off
    #[arg(long, env = "TELEMETRY_SIDECAR_DISABLED", value_parser = FromVariable(switch))]
    pub disabled: bool,

    /// Add this to the metadata of every event that does not have the key; repeatable
    #[arg(long, value_name = "KEY=VALUE", env = "TELEMETRY_SIDECAR_METADATA")]
    pub metadata: Vec<Word>,

    /// How long queued events may still flow after the worker's end, such as 500ms or 2s
    #[arg(long, value_name = "DURATION", default_value = "500ms", env = "TELEMETRY_SIDECAR_DRAIN_TIMEOUT")]
    pub drain_timeout: Word,

    /// How long to wait, after the worker's end, for a first subscriber and for a last scrape by Prometheus
    #[arg(long, value_name = "DURATION", default_value = "0s", env = "TELEMETRY_SIDECAR_LINGER")]
    pub linger: Word,

    /// Append the worker's raw stderr to this file, for replay
    #[arg(long, value_name = "FILE", env = "TELEMETRY_SIDECAR_RECORD")]
    pub record: Option<PathBuf>,

    /// The sidecar's own log, on stderr; -vv for more
    #[arg(short, long, action = clap::ArgAction::Count, env = "TELEMETRY_SIDECAR_VERBOSE", value_parser = FromVariable(times))]
    pub verbose: u8,

    /// What the sidecar's own log looks like: text or json
    #[arg(long, value_name = "FORMAT", default_value = "text", env = "TELEMETRY_SIDECAR_LOG_FORMAT")]
    pub log_format: Word,

    // Those with a heading of their own come last: what followed would be under it, too.
    /// Who is let in.
    #[command(flatten)]
    pub access: Access,

    /// What clients may take.
    #[command(flatten)]
    pub limits: Limits,

    /// Where else events go.
    #[command(flatten)]
    pub export: Export,
}
