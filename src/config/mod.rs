//! What is to be done: the words of the command line as values that can be relied on.

mod access;
mod export;

pub use access::{ClientAccess, ClientTls};
pub use export::Export;

use crate::{
    cli::{Cli, Lines, Options, Sub},
    control::{Control, Controls, Refused},
    grpc::{access::AccessFiles, limits::ClientLimits, listener::Address, unix_socket::SocketMode},
    hub::{Limits, WhenFull},
    log::Verbosity,
    splitter::Embedded,
};
use std::{ffi::OsString, path::PathBuf, time::Duration};

/// What to do.
#[derive(Debug)]
pub enum Task {
    /// Wrap a worker.
    Wrap(Box<Wrap>),
    /// Serve recordings.
    Replay(Box<Replay>),
    /// Print the events of recordings; none is standard input.
    Decode(Framing, Vec<PathBuf>),
    /// Print the events of a running sidecar.
    Tail(Address, ClientAccess),
}

/// A worker to wrap.
#[derive(Debug)]
pub struct Wrap {
    /// How to serve it.
    pub serve: Serve,
    /// The size of its stderr pipe in bytes; `None` adapts.
    pub pipe_size: Option<usize>,
    /// Its program.
    pub program: OsString,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

/// Recordings to serve.
#[derive(Debug)]
pub struct Replay {
    /// How to serve them.
    pub serve: Serve,
    /// How many subscribers to wait for.
    pub wait_for_subscribers: usize,
    /// Whether to keep the recorded time between events.
    pub pace: bool,
    /// The recordings; "-" is standard input.
    pub files: Vec<PathBuf>,
}

/// What is telemetry and what is not.
#[derive(Debug, Clone, Copy)]
pub struct Framing {
    /// What to do with events in mid-line.
    pub embedded: Embedded,
    /// The longest telemetry line, in bytes.
    pub max_line_bytes: usize,
}

/// How to serve a stream.
#[derive(Debug)]
pub struct Serve {
    /// Where.
    pub listen: Vec<Address>,
    /// The permissions of unix sockets.
    pub socket_mode: SocketMode,
    /// Who is let in.
    pub access: AccessFiles,
    /// What clients may take.
    pub client_limits: ClientLimits,
    /// Where to write what was bound.
    pub ready_file: Option<PathBuf>,
    /// Whether to announce the port.
    pub announce: bool,
    /// What may wait for each subscriber.
    pub limits: Limits,
    /// What is telemetry.
    pub framing: Framing,
    /// What each subscription starts with.
    pub controls: Controls,
    /// What is added to events.
    pub metadata: Vec<(String, String)>,
    /// How long queued events may flow after the end.
    pub drain_timeout: Duration,
    /// How long to wait for a first subscriber after the end.
    pub linger: Duration,
    /// Where raw stderr is recorded.
    pub record: Option<PathBuf>,
    /// Where else events go.
    pub export: Export,
    /// How much the sidecar says.
    pub verbosity: Verbosity,
}

/// Makes a task of a command line.
///
/// # Errors
///
/// What is wrong with it, in one line: `<option>: <value>: <cause>`.
pub fn resolve(cli: Cli) -> Result<Task, String> {
    match cli.subcommand {
        None => {
            let mut words = cli.command.into_iter();
            let program =
                words.next().ok_or("COMMAND: missing: telemetry-sidecar [OPTIONS] -- COMMAND [ARGS]...")?;
            let pipe_size = cli.options.pipe_size.map(|size| at_least_1("--pipe-size", size)).transpose()?;
            let serve = serve(cli.options)?;
            Ok(Task::Wrap(Box::new(Wrap { serve, pipe_size, program, arguments: words.collect() })))
        }
        Some(Sub::Replay { options, wait_for_subscribers, pace, files }) => {
            let alone = options.export.any() && options.listen.is_empty();
            let wait_for_subscribers = wait_for_subscribers.unwrap_or(usize::from(!alone));
            if u32::try_from(wait_for_subscribers)
                .map_or(true, |count| count > options.limits.max_subscribers)
            {
                let cause = "so many are not let in: raise --max-subscribers";
                return Err(format!("--wait-for-subscribers: '{wait_for_subscribers}': {cause}"));
            }
            let serve = serve(*options)?;
            Ok(Task::Replay(Box::new(Replay { serve, wait_for_subscribers, pace, files })))
        }
        Some(Sub::Decode { lines, files }) => Ok(Task::Decode(framing(&lines)?, files)),
        Some(Sub::Tail { address, client }) => {
            let address = address.parse().map_err(|cause| format!("ADDRESS: '{address}': {cause}"))?;
            let access = access::client(client, &address)?;
            Ok(Task::Tail(address, access))
        }
    }
}

fn serve(options: Options) -> Result<Serve, String> {
    let parse = |word: &String| word.parse().map_err(|cause| format!("--listen: '{word}': {cause}"));
    let mut listen: Vec<Address> = options.listen.iter().map(parse).collect::<Result<_, _>>()?;
    if listen.is_empty() {
        listen.push(Address::default());
    }
    let controls = controls(&options)?;
    let export = export::export(options.export, options.access.insecure)?;
    let (access, socket_mode) = access::access(options.access, &listen)?;
    let when_full = match options.when_full.as_str() {
        "drop-newest" => WhenFull::DropNewest,
        "drop-oldest" => WhenFull::DropOldest,
        other => {
            return Err(format!("--when-full: '{other}': expected drop-newest or drop-oldest"));
        }
    };
    Ok(Serve {
        announce: !options.quiet && options.ready_file.is_none(),
        listen,
        socket_mode,
        access,
        client_limits: access::client_limits(&options.limits)?,
        limits: Limits {
            events: at_least_1("--queue-capacity", options.queue_capacity)?,
            bytes: at_least_1("--queue-bytes", options.queue_bytes)?,
            when_full,
        },
        framing: framing(&options.lines)?,
        controls,
        metadata: options.metadata.iter().map(|word| key_value(word)).collect::<Result<_, _>>()?,
        drain_timeout: duration("--drain-timeout", &options.drain_timeout)?,
        linger: duration("--linger", &options.linger)?,
        ready_file: options.ready_file,
        record: options.record,
        export,
        verbosity: Verbosity::from_count(options.verbose),
    })
}

fn framing(lines: &Lines) -> Result<Framing, String> {
    let embedded = match lines.embedded.as_str() {
        "copy" => Embedded::Copy,
        "strip" => Embedded::Strip,
        "ignore" => Embedded::Ignore,
        other => return Err(format!("--embedded: '{other}': expected copy, strip or ignore")),
    };
    Ok(Framing { embedded, max_line_bytes: at_least_1("--max-line-bytes", lines.max_line_bytes)? })
}

fn controls(options: &Options) -> Result<Controls, String> {
    if !(0.0..=1.0).contains(&options.sampling_rate) {
        return Err(format!("--sampling-rate: '{}': expected a number from 0 to 1", options.sampling_rate));
    }
    for (option, globs) in [("--allow", &options.allow), ("--deny", &options.deny)] {
        if globs.iter().any(String::is_empty) {
            return Err(format!("{option}: '': an empty glob matches no event"));
        }
    }
    let limits = access::pattern_limits(&options.limits)?;
    let mut controls = Controls::within(limits);
    let start = [
        Control::Toggle(!options.disabled),
        Control::Sampling { rate: options.sampling_rate, patterns: Vec::new() },
        Control::Filter { allow: options.allow.clone(), deny: options.deny.clone() },
    ];
    for control in start {
        controls.apply(control).map_err(|refused| match refused {
            Refused::PatternTooLong => format!("--allow, --deny: a glob of more than {} bytes", limits.bytes),
            Refused::TooManyPatterns | Refused::NotANumber => {
                format!("--allow, --deny: more than {} globs", limits.count)
            }
        })?;
    }
    Ok(controls)
}

fn key_value(word: &str) -> Result<(String, String), String> {
    match word.split_once('=') {
        Some(("", _)) => Err(format!("--metadata: '{word}': the key is empty")),
        Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
        None => Err(format!("--metadata: '{word}': expected KEY=VALUE")),
    }
}

fn duration(option: &str, word: &str) -> Result<Duration, String> {
    humantime::parse_duration(word)
        .map_err(|cause| format!("{option}: '{word}': {cause}; expected such as 500ms or 2s"))
}

fn at_least_1<N: Default + PartialEq>(option: &str, value: N) -> Result<N, String> {
    if value == N::default() { Err(format!("{option}: '0': expected at least 1")) } else { Ok(value) }
}
