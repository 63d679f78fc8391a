//! The options of `expect`.

use super::args::Framing;
use crate::{
    golden::{Fields, Ignored},
    system::option::{Given, Several, path, repeated},
};
use clap::Args;
use std::{ffi::OsString, path::PathBuf};

/// The options of `expect`.
#[derive(Debug, Args)]
pub struct ExpectArgs {
    /// The expected events: JSON lines, such as decode prints, or recorded stderr
    #[arg(value_name = "GOLDEN", value_parser = path())]
    pub golden: Given<PathBuf>,

    /// The worker's command line
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,

    /// Do not compare this: correlation_id, measurements.duration, metadata.span_id; repeatable
    #[arg(
        long,
        value_name = "KEY",
        value_parser = repeated(str::parse::<Ignored>),
        long_help = "Do not compare this part of events: correlation_id, measurements, metadata, or one of \
            their keys, such as measurements.duration or metadata.span_id. The key may be a glob, such as \
            measurements.*_ms. Repeatable"
    )]
    ignore: Vec<Several<Ignored>>,

    /// Compare timestamp_ns as well, as the worker has printed it
    #[arg(long)]
    timestamps: bool,

    /// Write the events of this run to GOLDEN, without the ignored parts
    #[arg(
        long,
        long_help = "Write the events of this run to GOLDEN as JSON lines, without the ignored parts, \
            unless the worker fails"
    )]
    pub update: bool,

    #[command(flatten)]
    pub(crate) framing: Framing,
}

impl ExpectArgs {
    /// What to compare.
    pub fn fields(&mut self) -> Fields {
        let ignored = Several::flatten(std::mem::take(&mut self.ignore)).map(|given| given.value);
        Fields { ignored: ignored.collect(), timestamps: self.timestamps }
    }
}
