//! What is done with a worker's stderr, or with a recorded one.

use crate::{
    input::splitter::{Embedded, MAX_LINE_BYTES},
    system::{
        option::{Given, Several, named, one_of, value},
        template::{path_template, repeated_template},
        value::{SIZE, integer_in},
    },
    worker::{number::Number, pty::StderrKind},
};
use clap::Args;
use std::path::PathBuf;

/// What counts as telemetry.
#[derive(Debug, Clone, Copy, Args)]
#[command(next_help_heading = "Telemetry lines")]
pub struct Framing {
    /// Events that start in mid-line
    #[arg(
        long,
        value_name = "MODE",
        value_enum,
        default_value_t,
        env = "TELEMETRY_SIDECAR_EMBEDDED",
        value_parser = one_of::<Embedded>(),
        long_help = "What to do with an event that starts in mid-line, such as behind a progress bar"
    )]
    pub embedded: Embedded,

    /// Longest telemetry line, prefix and newline included; a longer one passes through
    #[arg(
        long,
        value_name = "N",
        default_value_t = MAX_LINE_BYTES,
        env = "TELEMETRY_SIDECAR_MAX_LINE_BYTES",
        value_parser = value(integer_in::<usize>(SIZE))
    )]
    pub max_line_bytes: usize,
}

/// What else to do with the worker's stderr.
#[derive(Debug, Args)]
#[command(next_help_heading = "Telemetry lines")]
pub struct SourceArgs {
    /// Add this to the metadata of events; repeatable
    #[arg(
        long,
        value_name = "KEY=VALUE",
        env = "TELEMETRY_SIDECAR_METADATA",
        value_parser = repeated_template(|_| Ok(()), key_value),
        long_help = "Add this to the metadata of every event that does not have the key; repeatable. {pid}, \
            {ppid} and {env:NAME} in it are replaced as in --listen; {{ and }} write braces"
    )]
    pub metadata: Vec<Several<(String, String)>>,

    /// Append raw stderr to this file, for replay
    #[arg(
        long,
        value_name = "FILE",
        env = "TELEMETRY_SIDECAR_RECORD",
        value_parser = path_template(),
        long_help = "Append the worker's raw stderr to this file, for replay. Recording stops for good \
            rather than slow the worker. A FIFO needs a reader within 2 s of the start. {pid}, {ppid} and \
            {env:NAME} in the path are replaced as in --listen"
    )]
    pub record: Option<Given<PathBuf>>,

    /// Size of the worker's stderr pipe [default: grows to 1 MiB while reads fill it]
    #[arg(
        long,
        value_name = "BYTES",
        env = "TELEMETRY_SIDECAR_PIPE_SIZE",
        // What the system call takes.
        value_parser = named(integer_in::<usize>(1..=i32::MAX as u64)),
        long_help = "Size of the worker's stderr pipe, which the system rounds up to a power of two and at \
            least a page; without root at most /proc/sys/fs/pipe-max-size. A replay and a pseudo-terminal \
            ignore it [default: grows to 1 MiB while reads fill it, and starts with 1 MiB for Node]"
    )]
    pub pipe_size: Option<Given<usize>>,

    /// What the worker's stderr is
    #[arg(
        long,
        value_name = "KIND",
        value_enum,
        default_value_t,
        env = "TELEMETRY_SIDECAR_STDERR",
        value_parser = one_of::<StderrKind>(),
        long_help = "What the worker's stderr is. A pseudo-terminal changes no byte and has the size of the \
            sidecar's terminal, or that in LINES and COLUMNS if there is none. A replay ignores it"
    )]
    pub stderr: StderrKind,

    /// Send the worker this signal when the sidecar's parent has ended
    #[arg(
        long,
        value_name = "SIGNAL",
        env = "TELEMETRY_SIDECAR_STOP_WITH_PARENT",
        value_parser = value(str::parse::<Number>),
        long_help = "Send the worker this signal, such as TERM, when the sidecar's parent has ended: for \
            workers that watch their parent's process id, which is the sidecar's. A replay ignores it"
    )]
    pub(crate) stop_with_parent: Option<Number>,
}

fn key_value(word: &str) -> Result<(String, String), String> {
    match word.split_once('=') {
        Some(("", _)) => Err("the key is empty".into()),
        Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
        None => Err("expected KEY=VALUE".into()),
    }
}
