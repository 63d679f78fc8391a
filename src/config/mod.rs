//! What is to be done: the words of the command line as values that can be relied on.

mod access;
mod export;

pub use access::{ClientAccess, ClientTls};
pub use export::Export;

use crate::{
    cli::{
        Cli, Lines, Options, Sub, Word,
        word::{COUNT, SIZE, duration, share, whole},
    },
    control::{Control, Controls, Refused},
    grpc::{auth::AccessFiles, limits::ClientLimits},
    hub::{Limits, WhenFull},
    input::splitter::Embedded,
    net::{
        address::{Address, ResolvedAddress},
        unix_socket::SocketMode,
    },
    system::log,
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
    Tail(Address, Box<ClientAccess>),
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
    pub listen: Vec<ResolvedAddress>,
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
    /// Whether that is nothing, so that exporters have nothing to do.
    pub disabled: bool,
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
    /// What the sidecar logs, and how.
    pub log: log::Settings,
}

/// Makes a task of a command line.
///
/// # Errors
///
/// What is wrong with it: `<option>: '<value>': <cause>`, whether the value is the command line's or a variable's.
pub fn resolve(cli: Cli) -> Result<Task, String> {
    match cli.subcommand {
        None => {
            let mut words = cli.command.into_iter();
            let program =
                words.next().ok_or("COMMAND: missing: telemetry-sidecar [OPTIONS] -- COMMAND [ARGS]...")?;
            let pipe_size = pipe_size(&cli.options)?;
            let serve = serve(cli.options)?;
            Ok(Task::Wrap(Box::new(Wrap { serve, pipe_size, program, arguments: words.collect() })))
        }
        Some(Sub::Replay { options, wait_for_subscribers: wait, pace, files }) => {
            // Of no effect, but a mistake is one here, too.
            pipe_size(&options)?;
            let listens = !options.listen.is_empty();
            let serve = serve(*options)?;
            let room = serve.client_limits.subscribers;
            let count = |word: &str| {
                let count: usize = whole(0..=*COUNT.end())(word)?;
                let fits = u32::try_from(count).is_ok_and(|count| count <= room);
                if fits { Ok(count) } else { Err("so many are not let in, raise --max-subscribers".into()) }
            };
            let alone = serve.export.any() && !listens;
            let wait_for_subscribers =
                wait.map_or(Ok(usize::from(!alone)), |word| word.parse("--wait-for-subscribers", count))?;
            Ok(Task::Replay(Box::new(Replay { serve, wait_for_subscribers, pace, files })))
        }
        Some(Sub::Decode { lines, files }) => Ok(Task::Decode(framing(&lines)?, files)),
        Some(Sub::Tail { address, client }) => {
            let address = address.parse("ADDRESS", str::parse)?;
            let access = access::client(client, &address)?;
            Ok(Task::Tail(address, Box::new(access)))
        }
    }
}

fn serve(options: Options) -> Result<Serve, String> {
    let resolve = |word: &str| word.parse::<Address>()?.resolve();
    let mut listen = all("--listen", &options.listen, resolve)?;
    if listen.is_empty() {
        listen.push(Address::default().resolve()?);
    }
    let controls = controls(&options)?;
    let export = export::export(options.export, options.access.insecure)?;
    let (access, socket_mode) = access::access(options.access, &listen)?;
    Ok(Serve {
        announce: !options.quiet && options.ready_file.is_none(),
        listen,
        socket_mode,
        access,
        client_limits: access::client_limits(&options.limits)?,
        limits: Limits {
            events: options.queue_capacity.parse("--queue-capacity", whole(COUNT))?,
            bytes: options.queue_bytes.parse("--queue-bytes", whole(SIZE))?,
            when_full: options.when_full.parse("--when-full", when_full)?,
        },
        framing: framing(&options.lines)?,
        controls,
        disabled: options.disabled,
        metadata: all("--metadata", &options.metadata, key_value)?,
        drain_timeout: options.drain_timeout.parse("--drain-timeout", duration)?,
        linger: options.linger.parse("--linger", duration)?,
        ready_file: options.ready_file,
        record: options.record,
        export,
        log: log::Settings {
            level: log::Level::from_count(options.verbose),
            format: options.log_format.parse("--log-format", log_format)?,
        },
    })
}

/// The values of an option that can be repeated.
fn all<T>(option: &str, words: &[Word], parse: fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    words.iter().map(|word| word.parse(option, parse)).collect()
}

fn when_full(word: &str) -> Result<WhenFull, String> {
    match word {
        "drop-newest" => Ok(WhenFull::DropNewest),
        "drop-oldest" => Ok(WhenFull::DropOldest),
        _ => Err("expected drop-newest or drop-oldest".into()),
    }
}

fn log_format(word: &str) -> Result<log::Format, String> {
    match word {
        "text" => Ok(log::Format::Text),
        "json" => Ok(log::Format::Json),
        _ => Err("expected text or json".into()),
    }
}

fn pipe_size(options: &Options) -> Result<Option<usize>, String> {
    // What the system call takes.
    let sizes = 1..=u64::from(i32::MAX.unsigned_abs());
    options.pipe_size.as_ref().map(|word| word.parse("--pipe-size", whole(sizes))).transpose()
}

fn framing(lines: &Lines) -> Result<Framing, String> {
    let embedded = |word: &str| match word {
        "copy" => Ok(Embedded::Copy),
        "strip" => Ok(Embedded::Strip),
        "ignore" => Ok(Embedded::Ignore),
        _ => Err("expected copy, strip or ignore".into()),
    };
    Ok(Framing {
        embedded: lines.embedded.parse("--embedded", embedded)?,
        max_line_bytes: lines.max_line_bytes.parse("--max-line-bytes", whole(SIZE))?,
    })
}

fn controls(options: &Options) -> Result<Controls, String> {
    let limits = access::pattern_limits(&options.limits)?;
    let glob = |word: &str| match word.len() {
        0 => Err("an empty glob matches no event".into()),
        length if length > limits.bytes => {
            Err(format!("longer than {} bytes, raise --max-pattern-bytes", limits.bytes))
        }
        _ => Ok(word.to_owned()),
    };
    let globs = |option, words: &[Word]| -> Result<Vec<_>, _> {
        words.iter().map(|word| word.parse(option, glob)).collect()
    };
    let (allow, deny) = (globs("--allow", &options.allow)?, globs("--deny", &options.deny)?);
    let count = allow.len() + deny.len();
    let mut controls = Controls::within(limits);
    let start = [
        Control::Toggle(!options.disabled),
        Control::Sampling {
            rate: options.sampling_rate.parse("--sampling-rate", share)?,
            patterns: Vec::new(),
        },
        Control::Filter { allow, deny },
    ];
    for control in start {
        controls = controls.changed(control).map_err(|refused| match refused {
            Refused::TooManyPatterns => {
                let most = limits.count;
                format!("--allow, --deny: {count} globs together, more than {most}, raise --max-patterns")
            }
            Refused::TooManyWildcards => {
                let most = limits.wildcards;
                format!("--allow, --deny: more than {most} wildcards together, raise --max-wildcards")
            }
            _ => "--allow, --deny: more than a filter may be".into(),
        })?;
    }
    Ok(controls)
}

fn key_value(word: &str) -> Result<(String, String), String> {
    match word.split_once('=') {
        Some(("", _)) => Err("the key is empty".into()),
        Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
        None => Err("expected KEY=VALUE".into()),
    }
}
