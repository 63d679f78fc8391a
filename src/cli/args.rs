//! The options of wrapping and of the subcommands that are not defined in the room that they configure.

use crate::{
    control::PatternLimits,
    exporter::{args::ExportArgs, summary::args::SummaryArgs},
    grpc::{args::AccessArgs, limits::ClientLimits},
    hub::WhenFull,
    input::splitter::{Embedded, MAX_LINE_BYTES},
    net::address::Address,
    system::{
        log::{self, Format, Level},
        option::{Given, Several, named, one_of, repeated, value},
        template::{has_process_id, path_template, repeated_template},
        value::{COUNT, Period, SIZE, duration, integer_in, nonzero_duration, ratio, switch},
    },
    worker::number::Number,
    worker::pty::StderrKind,
};
use clap::{ArgAction, Args};
use std::{path::PathBuf, time::Duration};

/// Any free port, which only this host can reach.
const LISTEN: &str = "127.0.0.1:0";

/// A second's worth of events of a busy worker.
const QUEUE_CAPACITY: usize = 1024;

/// Holds four of the longest lines.
const QUEUE_BYTES: usize = 16 * 1024 * 1024;

/// Waking a thread and sending costs more than decoding some events. This is too short for people to notice,
/// and at a thousand events a second it saves four of five sends.
const FLUSH_INTERVAL: Period = Period(Duration::from_millis(5));

/// Four full queues. What is not read leaves room for others, so that all subscribers of one worker get by
/// with it.
const TOTAL_QUEUE_BYTES: usize = 64 * 1024 * 1024;

/// Every trace: less is a choice of the subscriber.
const SAMPLING_RATE: f64 = 1.0;

/// Enough for a subscriber on the same network, and unnoticeable at the end of a job.
const DRAIN_TIMEOUT: Period = Period(Duration::from_millis(500));

/// By default the exit does not wait for a subscriber that may never connect.
const LINGER: Period = Period(Duration::ZERO);

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
            to \
            OpenTelemetry and --record only: subscribers are waited for without limit"
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
            server can repeat is \
            logged once in 10 s with -v, ten times with -vv; the next one says how many were suppressed. \
            The variable is \
            a count"
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
            rather than slow \
            the worker. A FIFO needs a reader within 2 s of the start. {pid}, {ppid} \
            and {env:NAME} in the path are replaced as in --listen"
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

/// What subscriptions start with, and what may wait for them.
#[derive(Debug, Args)]
#[command(next_help_heading = "Subscriptions")]
pub struct SubscriptionArgs {
    /// Default filter: events to send; repeatable [default: all]
    #[arg(
        long,
        value_name = "GLOB",
        env = "TELEMETRY_SIDECAR_ALLOW",
        value_parser = repeated(PatternLimits::glob),
        long_help = "Default filter of subscriptions: events to send, as a glob over the name; repeatable. \
            Exporters get only these, too [default: all]"
    )]
    pub allow: Vec<Several<String>>,

    /// Default filter: events to leave out; repeatable
    #[arg(
        long,
        value_name = "GLOB",
        env = "TELEMETRY_SIDECAR_DENY",
        value_parser = repeated(PatternLimits::glob),
        long_help = "Default filter of subscriptions: events to leave out, as a glob over the name; \
            repeatable. Exporters do not get these either"
    )]
    pub deny: Vec<Several<String>>,

    /// Share of traces that a subscription starts with, 0 to 1
    #[arg(
        long,
        value_name = "R",
        default_value_t = SAMPLING_RATE,
        env = "TELEMETRY_SIDECAR_SAMPLING_RATE",
        value_parser = value(ratio),
        long_help = "Share of traces that a subscription starts with, 0 to 1. It applies to OpenTelemetry \
            and JSON lines, too, not to Prometheus and StatsD"
    )]
    pub sampling_rate: f64,

    /// Subscribers get nothing until they enable their stream; exporters get nothing
    #[arg(long, env = "TELEMETRY_SIDECAR_DISABLED", value_parser = value(switch))]
    pub disabled: bool,

    /// Events that may wait for each subscriber
    #[arg(
        long,
        value_name = "N",
        default_value_t = QUEUE_CAPACITY,
        env = "TELEMETRY_SIDECAR_QUEUE_CAPACITY",
        value_parser = value(integer_in::<usize>(COUNT))
    )]
    pub queue_capacity: usize,

    /// Bytes that may wait for each subscriber
    #[arg(
        long,
        value_name = "N",
        default_value_t = QUEUE_BYTES,
        env = "TELEMETRY_SIDECAR_QUEUE_BYTES",
        value_parser = value(integer_in::<usize>(SIZE))
    )]
    pub queue_bytes: usize,

    /// Memory of all queues together
    #[arg(
        long,
        value_name = "N",
        default_value_t = TOTAL_QUEUE_BYTES,
        env = "TELEMETRY_SIDECAR_TOTAL_QUEUE_BYTES",
        value_parser = value(integer_in::<usize>(SIZE)),
        long_help = "Memory of all queues together, in bytes: those of subscribers and exporters, and the \
            backlog. A queue \
            takes no more than is left for all, so that others have room; an empty one always takes an event"
    )]
    pub total_queue_bytes: usize,

    /// How long events that follow another one may wait to be sent together
    #[arg(
        long,
        value_name = "DURATION",
        default_value_t = FLUSH_INTERVAL,
        env = "TELEMETRY_SIDECAR_FLUSH_INTERVAL",
        value_parser = value(duration),
        long_help = "How long events may wait to be sent together. An event after a pause is sent at once, \
            those that follow within this time are sent together at its end; 0s sends each as it comes. \
            Full chunks (32 KiB, or half a queue) and the last events do not wait. It applies to \
            exporters, too. A replay sends events as it reads them"
    )]
    pub flush_interval: Period,

    /// Which event a full queue drops
    #[arg(
        long,
        value_name = "WHICH",
        value_enum,
        default_value_t,
        env = "TELEMETRY_SIDECAR_WHEN_FULL",
        value_parser = one_of::<WhenFull>()
    )]
    pub when_full: WhenFull,
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

/// A process id is no port: it may be larger than any, or another program's port.
fn is_listen_template(word: &str) -> Result<(), &'static str> {
    if !word.starts_with("unix:") && has_process_id(word) {
        return Err("a process id is not a port; use port 0, which --ready-file names, or unix:PATH");
    }
    Ok(())
}

fn key_value(word: &str) -> Result<(String, String), String> {
    match word.split_once('=') {
        Some(("", _)) => Err("the key is empty".into()),
        Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
        None => Err("expected KEY=VALUE".into()),
    }
}
