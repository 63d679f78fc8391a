//! The options of `tail`.

use crate::{
    control::PatternLimits,
    fleet::{args::ClientArgs, target::Target},
    system::{
        option::{Given, Several, named, repeated, value},
        value::{COUNT, Period, integer_in, nonzero_duration},
    },
};
use clap::Args;

/// The options of the command line.
#[derive(Debug, Args)]
pub struct TailArgs {
    /// HOST:PORT, unix:PATH, unix:@NAME or PID [default: all of this host]
    #[arg(
        value_name = "SIDECAR",
        value_parser = named(str::parse::<Target>),
        long_help = "Sidecars to subscribe to: HOST:PORT, unix:PATH or unix:@NAME, or the process id of one \
            of this host or of its worker. Without one all sidecars of this host are followed, those that \
            start meanwhile included, until all of them have ended"
    )]
    pub targets: Vec<Given<Target>>,

    #[command(flatten)]
    pub selection: SelectionArgs,

    #[command(flatten)]
    pub client: ClientArgs,
}

/// Which events to print, and how.
#[derive(Debug, Args)]
#[command(next_help_heading = "Events")]
pub struct SelectionArgs {
    /// Print JSON lines on a terminal as well
    #[arg(long)]
    pub json: bool,

    /// Print only the newest N of the events that have waited
    #[arg(
        short = 'n',
        long = "lines",
        value_name = "N",
        value_parser = value(integer_in::<u64>(0..=*COUNT.end())),
        long_help = "Of the events that have waited for a subscriber print only the newest N of each \
            sidecar, 0 for none, then those that follow [default: all]"
    )]
    pub newest: Option<u64>,

    /// Events to print; repeatable [default: all]
    #[arg(
        long,
        value_name = "GLOB",
        value_parser = repeated(PatternLimits::glob),
        long_help = "Events to print: a glob over the name; repeatable. With --allow or --deny the sidecar's \
            own filter does not apply to this subscription [default: all]"
    )]
    pub allow: Vec<Several<String>>,

    /// Events to leave out; repeatable
    #[arg(
        long,
        value_name = "GLOB",
        value_parser = repeated(PatternLimits::glob),
        long_help = "Events to leave out: a glob over the name; repeatable"
    )]
    pub deny: Vec<Several<String>>,

    /// Wait this long for a sidecar that is not there yet
    #[arg(
        long,
        value_name = "DURATION",
        value_parser = value(nonzero_duration),
        long_help = "Wait this long for a sidecar that is not there yet: for each address to accept \
            connections, or without one for the first sidecar"
    )]
    pub wait: Option<Period>,
}
