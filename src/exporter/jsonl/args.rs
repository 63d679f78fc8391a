//! The option of the JSON lines.

use crate::system::{option::Given, template::path_template};
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
        value_parser = path_template(),
        long_help = "Append every event to this file as a JSON line. A FIFO needs a reader within 2 s \
            of the start. {pid}, {ppid} and {env:NAME} in the path are replaced as in --listen"
    )]
    export_jsonl: Option<Given<PathBuf>>,
}

/// Where to write.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The file.
    pub file: Given<PathBuf>,
}

impl JsonlArgs {
    /// Where to write, if the exporter is on.
    pub fn settings(self) -> Option<Settings> {
        self.export_jsonl.map(|file| Settings { file })
    }
}
