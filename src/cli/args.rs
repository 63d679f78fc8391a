//! The options of wrapping and of the subcommands that are not defined in the room that they configure.

mod serving;
mod stderr;
mod subscriptions;

pub use serving::ServingArgs;
pub use stderr::{Framing, SourceArgs};
pub use subscriptions::SubscriptionArgs;

use crate::{
    exporter::{args::ExportArgs, summary::args::SummaryArgs},
    grpc::{args::AccessArgs, limits::ClientLimits},
    system::{
        option::{Given, named, value},
        value::{COUNT, Period, integer_in, nonzero_duration, switch},
    },
};
use clap::Args;
use std::path::PathBuf;

/// The options of wrapping and of `replay`. Each group has a heading; exporters come before limits.
#[derive(Debug, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    pub(crate) serving: ServingArgs,
    #[command(flatten)]
    pub(crate) summary: SummaryArgs,
    #[command(flatten)]
    pub(crate) framing: Framing,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    #[command(flatten)]
    pub(crate) export: ExportArgs,
    #[command(flatten)]
    pub(crate) subscriptions: SubscriptionArgs,
    #[command(flatten)]
    pub(crate) access: AccessArgs,
    #[command(flatten)]
    pub(crate) limits: ClientLimits,
}

/// The options of `replay`.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// Recorded stderr; "-" is standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,

    #[command(flatten)]
    pub(crate) replay: PlaybackArgs,

    #[command(flatten)]
    pub(crate) serve: ServeArgs,
}

/// How to replay.
#[derive(Debug, Args)]
#[command(next_help_heading = "Replay")]
pub struct PlaybackArgs {
    /// Start when this many have subscribed [default: 1; 0 with exporters and no --listen]
    #[arg(
        long,
        value_name = "N",
        env = "TELEMETRY_SIDECAR_WAIT_FOR_SUBSCRIBERS",
        value_parser = named(integer_in::<usize>(0..=*COUNT.end()))
    )]
    pub wait_for_subscribers: Option<Given<usize>>,

    /// Keep the recorded time between events
    #[arg(long, env = "TELEMETRY_SIDECAR_PACE", value_parser = value(switch))]
    pub pace: bool,

    /// Give up after this time, with exit status 124
    #[arg(
        long,
        value_name = "DURATION",
        env = "TELEMETRY_SIDECAR_TIMEOUT",
        value_parser = named(nonzero_duration),
        long_help = "Give up when the replay takes longer than this in all, waiting for subscribers \
            included: a line says what it was waiting for, and the exit status is 124"
    )]
    pub timeout: Option<Given<Period>>,

    /// End streams with UNAVAILABLE after every N events
    #[arg(
        long,
        value_name = "N",
        env = "TELEMETRY_SIDECAR_FAIL_AFTER",
        value_parser = value(integer_in::<usize>(COUNT)),
        long_help = "End all streams with UNAVAILABLE each time that N more events were delivered and there \
            are others, to test that a consumer subscribes again. The next event waits for as many \
            subscribers as the first one"
    )]
    pub fail_after: Option<usize>,

    /// Do not write ordinary lines to stderr
    #[arg(
        long,
        env = "TELEMETRY_SIDECAR_NO_STDERR",
        value_parser = value(switch),
        long_help = "Do not write ordinary lines to stderr: a replay waits for a reader of stderr that does \
            not read"
    )]
    pub no_stderr: bool,
}

/// The options of `decode`.
#[derive(Debug, Args)]
pub struct DecodeArgs {
    /// Recorded stderr; "-" or none is standard input
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,

    #[command(flatten)]
    pub(crate) framing: Framing,
}
