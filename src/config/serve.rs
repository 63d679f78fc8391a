//! Wrapping and `replay`: listeners, access, limits, and the upstream server.

use super::{Framing, UsageError, access, subscription::controls};
use crate::{
    cli::args::{ServeArgs, ServingArgs, SourceArgs},
    control::Controls,
    exporter::summary,
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
use std::time::Duration;

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
    /// How long events may wait to be sent together.
    pub flush_interval: Duration,
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

impl Serve {
    /// Whether it opens files or unix sockets, which may have to wait for a process at the other end.
    pub fn opens_files(&self) -> bool {
        let is_unix = |address: &Given<ResolvedAddress>| address.value.sockets().is_empty();
        self.access.tls.is_some()
            || self.access.tokens.is_some()
            || self.source.record.is_some()
            || !self.exporters.is_empty()
            || self.listen.iter().any(is_unix)
    }
}

/// A worker's own gRPC server.
#[derive(Debug)]
pub struct Upstream {
    /// Its address; none if the worker writes its port to a ready file.
    pub address: Option<Address>,
    /// How long after the sidecar's start it is waited for.
    pub start_timeout: Period,
}

/// How to serve, according to the options that wrapping and `replay` have in common.
pub(super) fn serve(args: ServeArgs) -> Result<Serve, UsageError> {
    let ServeArgs { mut serving, summary, framing, source, export, subscriptions, access, limits } = args;
    let listen = Several::flatten(std::mem::take(&mut serving.listen)).map(|Given { value, origin }| {
        let value = value.resolve().map_err(|cause| origin.error(cause))?;
        Ok(Given { value, origin })
    });
    let listen = listen.collect::<Result<Vec<_>, String>>()?;
    let exporters = export.settings(subscriptions.disabled)?;
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
        flush_interval: subscriptions.flush_interval.0,
        snakepit: None,
        disabled: subscriptions.disabled,
        controls: controls(subscriptions)?,
        exporters,
        summary: summary.settings(),
    })
}

/// The worker's own server, if it is one that serves gRPC.
pub(super) fn upstream(args: UpstreamArgs, serve: &mut Serve) -> Result<Option<Upstream>, UsageError> {
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
