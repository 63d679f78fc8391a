//! The option of the JSON lines.

use crate::system::option::{Given, path};
use clap::Args;
use std::path::PathBuf;

/// The options of the command line.
#[derive(Debug, Args)]
#[command(next_help_heading = "Exporters")]
pub struct JsonlArgs {
    /// Append events as JSON lines
    #[arg(
        long,
        value_name = "PATH",
        env = "TELEMETRY_SIDECAR_EXPORT_JSONL",
        value_parser = path(),
        long_help = "Append every event to this file as a JSON line. A FIFO needs a reader within 2 s \
            of the start"
    )]
    pub export_jsonl: Option<Given<PathBuf>>,
}
