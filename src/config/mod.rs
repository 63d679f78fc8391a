//! What to do: the options of the command line, after the checks that need more than one of them.

mod access;

pub use crate::cli::{UsageError, args::Framing};

use crate::{
    cli::{
        Cli, Sub,
        args::{PlaybackArgs, ReplayArgs, ServeArgs, ServingArgs, SourceArgs, SubscriptionArgs},
    },
    control::{Control, Controls, PatternLimits, Refused},
    event::proto::bridge::TelemetryEventFilter,
    exporter::summary,
    fleet::{
        client::ClientAccess,
        gather,
        tail::{self, Wanted, args::TailArgs},
        target::Target,
        top::{Source, Top, args::TopArgs},
    },
    grpc::{auth::AccessFiles, limits::ClientLimits},
    hub::Limits,
    net::{
        address::{Address, ResolvedAddress},
        unix_socket::SocketMode,
    },
    pipeline::output::Output,
    system::{
        option::{Given, Several},
        value::Period,
    },
    upstream::args::{Snakepit, UpstreamArgs},
};
use clap_complete::Shell;
use std::{ffi::OsString, path::PathBuf};

/// What to do.
#[derive(Debug)]
pub enum Task {
    /// Wrap a worker.
    Wrap(Box<Wrap>),
    /// Serve recordings.
    Replay(Box<Replay>),
    /// Print the events of recordings; none is standard input.
    Decode(Framing, Vec<PathBuf>),
    /// Print the events of running sidecars.
    Tail(Box<tail::Settings>),
    /// List the sidecars of this host, as JSON or not.
    Ps(bool, Box<ClientAccess>),
    /// Print the counters of these sidecars, or of all of this host; as JSON or not.
    Status(Vec<Target>, bool, Box<ClientAccess>),
    /// Show running sidecars or recordings.
    Top(Box<Top>),
    /// Serve one page for all sidecars of this host.
    Gather(Box<gather::Settings>, Box<ClientAccess>),
    /// Print completions.
    Completions(Shell),
}

/// A worker to wrap.
#[derive(Debug)]
pub struct Wrap {
    /// How to serve it.
    pub serve: Serve,
    /// Its program.
    pub program: OsString,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Its own gRPC server.
    pub upstream: Option<Upstream>,
}

/// A worker's own gRPC server.
#[derive(Debug)]
pub struct Upstream {
    /// Its address; none if the worker writes its port to a ready file.
    pub address: Option<Address>,
    /// How long after the sidecar's start it is waited for.
    pub start_timeout: Period,
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
    /// The most time that it may take.
    pub timeout: Option<Given<Period>>,
    /// After how many events streams fail, at least 1.
    pub fail_after: Option<usize>,
    /// Whether to leave out ordinary lines.
    pub no_stderr: bool,
    /// The recordings; "-" is standard input.
    pub files: Vec<PathBuf>,
}

/// How to serve a stream.
#[derive(Debug)]
pub struct Serve {
    /// The listeners.
    pub listen: Vec<Given<ResolvedAddress>>,
    /// The permissions of unix sockets.
    pub socket_mode: SocketMode,
    /// Who may connect.
    pub access: AccessFiles,
    /// What clients may take.
    pub client_limits: ClientLimits,
    /// How long to serve, and what to print.
    pub serving: ServingArgs,
    /// What counts as telemetry.
    pub framing: Framing,
    /// What else to do with stderr.
    pub source: SourceArgs,
    /// What may wait for each subscriber.
    pub limits: Limits,
    /// The memory of all queues together.
    pub total_queue_bytes: usize,
    /// What each subscription starts with.
    pub controls: Controls,
    /// How to stand in front of a worker of a Snakepit pool, if it is one.
    pub snakepit: Option<Snakepit>,
    /// Whether subscriptions start disabled, so that exporters have nothing to do.
    pub disabled: bool,
    /// The exporters that are on, with their settings.
    pub exporters: Vec<Box<dyn Output>>,
    /// What to summarize at the end.
    pub summary: summary::Settings,
}

/// Checks a command line.
///
/// # Errors
///
/// What does not go together, in one line that names an option or its variable.
pub fn resolve(cli: Cli) -> Result<Task, UsageError> {
    match cli.subcommand {
        None => {
            let mut words = cli.command.into_iter();
            let program = words.next().ok_or_else(|| {
                "COMMAND: missing: telemetry-sidecar [OPTIONS] -- COMMAND [ARGS]...".to_owned()
            })?;
            let mut serve = serve(cli.serve)?;
            let upstream = upstream(cli.upstream, &mut serve)?;
            Ok(Task::Wrap(Box::new(Wrap { serve, program, arguments: words.collect(), upstream })))
        }
        Some(Sub::Replay(args)) => replay(*args),
        Some(Sub::Decode(args)) => Ok(Task::Decode(args.framing, args.files)),
        Some(Sub::Tail(args)) => Ok(Task::Tail(Box::new(tail(*args)?))),
        Some(Sub::Ps(args)) => Ok(Task::Ps(args.json, Box::new(access::client(args.client, &[])?))),
        Some(Sub::Status(args)) => {
            let targets: Vec<_> = args.targets.into_iter().map(|given| given.value).collect();
            let addresses = targets.iter().map(|target| match target {
                Target::Address(address) => Some(address.clone()),
                Target::Process(_) => None,
            });
            // Of a process it is not known yet whether it has a use for TLS.
            let addresses: Vec<_> = addresses.collect::<Option<_>>().unwrap_or_default();
            let access = access::client(args.client, &addresses)?;
            Ok(Task::Status(targets, args.json, Box::new(access)))
        }
        Some(Sub::Top(args)) => Ok(Task::Top(Box::new(top(*args)?))),
        Some(Sub::Gather(args)) => {
            let (settings, client) = args.settings()?;
            Ok(Task::Gather(Box::new(settings), Box::new(access::client(client, &[])?)))
        }
        Some(Sub::Completions { shell }) => Ok(Task::Completions(shell)),
    }
}

fn replay(args: ReplayArgs) -> Result<Task, UsageError> {
    let ReplayArgs { files, replay, serve: args } = args;
    let serve = serve(args)?;
    let listens = !serve.listen.iter().any(|address| address.origin.is_default());
    // An endpoint after --export-otlp, which takes no value, would be read as a file.
    if let Some(url) = files.iter().filter_map(|file| file.to_str()).find(|file| file.contains("://")) {
        return Err(format!("{url}: not a recording, write --export-otlp --otlp-endpoint {url}").into());
    }
    let default = usize::from(serve.exporters.is_empty() || listens);
    if let Some(Given { value, origin }) = &replay.wait_for_subscribers
        && u32::try_from(*value).is_ok_and(|count| count > serve.client_limits.subscribers)
    {
        return Err(origin.error("more than may subscribe, raise --max-subscribers").into());
    }
    let wait_for_subscribers = replay.wait_for_subscribers.map_or(default, |given| given.value);
    let PlaybackArgs { pace, timeout, fail_after, no_stderr, .. } = replay;
    Ok(Task::Replay(Box::new(Replay {
        serve,
        wait_for_subscribers,
        pace,
        timeout,
        fail_after,
        no_stderr,
        files,
    })))
}

fn top(args: TopArgs) -> Result<Top, UsageError> {
    let from = args.sources()?;
    let addresses: Vec<Address> = from.iter().filter_map(Source::address).cloned().collect();
    let access = access::client(args.client, &addresses)?;
    Ok(Top { from, access, once: args.once, interval: args.interval.0 })
}

fn tail(args: TailArgs) -> Result<tail::Settings, UsageError> {
    let TailArgs { addresses, selection, client } = args;
    let addresses: Vec<_> = addresses.into_iter().map(|given| given.value).collect();
    let access = access::client(client, &addresses)?;
    let (filter, _) = filter(selection.allow, selection.deny)?;
    let is_empty = filter.allow.is_empty() && filter.deny.is_empty();
    Ok(tail::Settings {
        addresses,
        json: selection.json,
        wanted: Wanted { filter: (!is_empty).then_some(filter), newest: selection.newest },
        wait: selection.wait,
        access,
    })
}

fn serve(args: ServeArgs) -> Result<Serve, UsageError> {
    let ServeArgs { mut serving, summary, framing, source, export, subscriptions, access, limits } = args;
    let listen = Several::flatten(std::mem::take(&mut serving.listen)).map(|Given { value, origin }| {
        let value = value.resolve().map_err(|cause| origin.error(cause))?;
        Ok(Given { value, origin })
    });
    let listen = listen.collect::<Result<Vec<_>, String>>()?;
    let exporters = export.settings()?;
    let socket_mode = access.listen_mode;
    let access = access::server(access, &listen)?;
    Ok(Serve {
        listen,
        socket_mode,
        access,
        client_limits: limits,
        serving,
        framing,
        source,
        limits: Limits {
            events: subscriptions.queue_capacity,
            bytes: subscriptions.queue_bytes,
            when_full: subscriptions.when_full,
        },
        total_queue_bytes: subscriptions.total_queue_bytes,
        snakepit: None,
        disabled: subscriptions.disabled,
        controls: controls(subscriptions)?,
        exporters,
        summary: summary.settings(),
    })
}

/// The worker's own server, if it is one that serves gRPC.
fn upstream(args: UpstreamArgs, serve: &mut Serve) -> Result<Option<Upstream>, UsageError> {
    let snakepit = args.snakepit();
    if let Some(snakepit) = &snakepit {
        serve_pool(serve, snakepit)?;
    }
    let start_timeout = args.upstream_timeout;
    let found = match (args.upstream, snakepit) {
        (Some(given), _) => Some(Upstream { address: Some(given.value), start_timeout }),
        (None, Some(Given { value: Snakepit::Relay, .. })) => Some(Upstream { address: None, start_timeout }),
        (None, _) => None,
    };
    Ok(found)
}

/// Makes the sidecar what a Snakepit pool starts: the pool connects to `localhost`, and takes what is printed
/// for the worker's.
fn serve_pool(serve: &mut Serve, snakepit: &Given<Snakepit>) -> Result<(), UsageError> {
    let Given { value, origin } = snakepit;
    if let Some(first) = serve.listen.first()
        && !serve.listen.iter().any(|address| address.value.is_localhost())
    {
        let cause = "with --snakepit a pool connects to 127.0.0.1, add --listen 127.0.0.1:0";
        return Err(first.origin.error(cause).into());
    }
    if serve.access.tls.is_some() || serve.access.tokens.is_some() {
        let cause = "a pool connects without TLS and tokens, remove --tls-cert and --auth-token-file";
        return Err(format!("{}: {cause}", origin.name()).into());
    }
    serve.snakepit = Some(*value);
    serve.serving.quiet = true;
    Ok(())
}

/// What subscriptions start with.
fn controls(args: SubscriptionArgs) -> Result<Controls, UsageError> {
    let (_, mut controls) = filter(args.allow, args.deny)?;
    let start = [
        Control::Toggle(!args.disabled),
        Control::Sampling { rate: args.sampling_rate, patterns: Vec::new() },
    ];
    for control in start {
        controls = controls.changed(control).map_err(|_| "--sampling-rate: not a number".to_owned())?;
    }
    Ok(controls)
}

/// The filter of a subscription, as a message and as controls.
fn filter(
    allow: Vec<Several<String>>,
    deny: Vec<Several<String>>,
) -> Result<(TelemetryEventFilter, Controls), UsageError> {
    let mut names: Vec<String> = Vec::new();
    let mut globs = |all| {
        let globs = Several::flatten(all).map(|Given { value, origin }| {
            if !names.iter().any(|name| name == origin.name()) {
                names.push(origin.name().to_owned());
            }
            value
        });
        globs.collect::<Vec<String>>()
    };
    let (allow, deny) = (globs(allow), globs(deny));
    let count = allow.len() + deny.len();
    let control = Control::Filter { allow: allow.clone(), deny: deny.clone() };
    let controls = Controls::default().changed(control).map_err(|refused| {
        let PatternLimits { count: most, wildcards, .. } = PatternLimits::DEFAULT;
        let cause = match refused {
            Refused::TooManyPatterns => format!("{count} globs together, at most {most} are allowed"),
            Refused::TooManyWildcards => format!("at most {wildcards} wildcards together are allowed"),
            _ => "longer than a filter may be".to_owned(),
        };
        format!("{}: {cause}", names.join(", "))
    })?;
    Ok((TelemetryEventFilter { allow, deny }, controls))
}
