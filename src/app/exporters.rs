//! Starting the exporters. Each has a thread and a queue of its own.

use super::session::{no_thread, open_output};
use crate::{
    config::Export,
    exporter::{
        feed::{self, Feed},
        jsonl,
        otlp::{self, client::Authorities, environment::Environment},
        prometheus::{self, own::Own},
        statsd,
    },
    hub::Hub,
    net::{listener::Listener, unix_socket::SocketMode},
    pipeline::record::Recorder,
    system::option::Given,
    worker::state::WorkerState,
};
use std::{env, net::SocketAddr, sync::Arc, time::Duration};

/// What exporters know of the session besides events.
pub struct Context<'a> {
    pub hub: &'a Arc<Hub>,
    pub worker: Option<&'a Arc<WorkerState>>,
    pub recorder: Option<&'a Arc<Recorder>>,
    pub drain_timeout: Duration,
    pub linger: Duration,
}

/// What the session is to know of them.
#[derive(Default)]
pub struct Started {
    /// Where metrics are served.
    pub prometheus: Option<SocketAddr>,
}

/// Starts those that are wanted: they take what the hub is handed from now on.
pub fn start(export: &Export, context: &Context<'_>) -> Result<Started, String> {
    let Context { hub, .. } = context;
    let mut started = Started::default();
    if let Some(file) = &export.jsonl {
        let file = open_output(file)?;
        jsonl::start(hub.register(jsonl::NAME, feed::options(true), None), file)
            .map_err(|error| no_thread(&error))?;
    }
    if let Some(settings) = &export.prometheus {
        let Given { value: address, origin } = &settings.address;
        let Listener::Tcp { socket, address, .. } =
            Listener::bind(address, SocketMode::default()).map_err(|cause| origin.error(cause))?
        else {
            return Err(origin.error("expected HOST:PORT"));
        };
        let feed = Feed::register(hub, prometheus::NAME, false);
        let own = Own::new(Arc::clone(hub), context.worker.cloned(), context.recorder.cloned());
        prometheus::start(settings, socket, feed, own, context.linger).map_err(|error| no_thread(&error))?;
        tracing::info!("metrics at http://{address}/metrics");
        started.prometheus = Some(address);
    }
    if let Some(settings) = &export.statsd {
        let feed = Feed::register(hub, statsd::NAME, false);
        statsd::start(feed, settings.clone()).map_err(|error| no_thread(&error))?;
    }
    if let Some(settings) = &export.otlp {
        let endpoint = settings.endpoint.as_ref();
        let (environment, warnings) = Environment::read(endpoint, &|name| env::var_os(name));
        for warning in warnings {
            tracing::info!("otlp: {warning}");
        }
        let start = otlp::Start {
            settings: settings.clone(),
            authorities: Authorities::read(&environment)?,
            environment,
            feed: Feed::register(hub, otlp::NAME, true),
            worker: context.worker.cloned(),
            drain_timeout: context.drain_timeout,
        };
        otlp::start(start).map_err(|error| no_thread(&error))?;
    }
    Ok(started)
}
