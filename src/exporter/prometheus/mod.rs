//! `--export-prometheus`: metrics for Prometheus to scrape.
//!
//! One thread aggregates events and serves scrapes in turn, so a page never contains half a chunk of events.
//! Rendering thousands of series takes milliseconds, during which events wait in the exporter's queue and
//! nothing else waits.
//!
//! The page is there from before the worker's start until the sidecar's end. What came after the last scrape
//! is not seen by anyone, unless the sidecar lingers (`--linger`): then it waits until each regular scraper
//! has a page with everything, the worker's exit status included.

mod accept;
pub mod args;
mod exemplar;
pub(crate) mod host;
pub mod names;
pub mod page;
mod pages;
mod process;
mod scrapers;
pub mod self_metrics;
pub mod series;
pub(crate) mod server;
pub(crate) mod targets;
mod vitals;

pub use args::Settings;

use super::feed::{Feed, spawn_async};
use crate::{
    event::view::Views,
    net::{accept::Acceptor, listener::Listener, unix_socket::SocketMode},
    pipeline::output::{Context, Done, DrainEnd, Loss, Output, Running, StartError},
    status::Status,
    system::option::Given,
};
use page::{Format, Page};
use self_metrics::SelfMetrics;
use series::Metrics;
pub use series::RejectReason;
use server::{PLAIN, Server, Site};
use std::{
    io::ErrorKind,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::sleep;

/// The exporter's name in counters.
pub const NAME: &str = "prometheus";

impl Output for Settings {
    /// It serves until the process ends, and has drained as soon as everything is counted or, if it is to
    /// linger, was scraped.
    fn start(self: Box<Self>, context: &Context) -> Result<Running, StartError> {
        let Given { value: address, origin } = &self.address;
        let listener = Listener::bind(address, SocketMode::default());
        let listener = listener.map_err(|cause| StartError::Option(origin.error(cause)))?;
        let Listener::Tcp { address, .. } = listener else {
            return Err(StartError::Option(origin.error("expected HOST:PORT")));
        };
        let Context { hub, mode, recording, linger, drain_end, .. } = context.clone();
        let feed = Feed::<RejectReason>::without_samples(&hub, NAME, false);
        if !linger.is_zero() {
            feed.linger();
        }
        let worker = mode.worker();
        let file = self.targets_dir.as_ref().map(|Given { value: directory, origin }| {
            let file = targets::write(directory, address, worker.map(|worker| worker.program()));
            file.map_err(|error| {
                let hint = if error.kind() == ErrorKind::NotFound { ": create the directory" } else { "" };
                StartError::Option(origin.error(format_args!("{error}{hint}")))
            })
        });
        let file = file.transpose()?;
        tracing::info!("metrics at http://{address}/metrics");
        let own = SelfMetrics::new(Status::new(hub, worker.cloned(), recording), self.all);
        // A replay has no worker.
        let run = self.run.filter(|_| worker.is_some());
        let mut metrics = Metrics::new(self.measures, self.max_series, &self.prefix).of_run(run);
        if own.worker().is_some_and(|worker| worker.vitals().is_some()) {
            metrics.reserve(&vitals::FAMILIES);
        }
        let state = Mutex::new(State { metrics, own, ended: false });
        let server = Server::new(Scrape { state }, self.allowed_hosts);
        let running = spawn_async(NAME, move |done| async move {
            match Acceptor::new(listener) {
                Ok(acceptor) => export(Arc::new(server), acceptor, feed, linger, drain_end, done).await,
                Err(error) => done.drained([Loss::Failed(format!("cannot accept connections: {error}"))]),
            }
        })?;
        Ok(running.at(address).with(file))
    }
}

async fn export(
    server: Arc<Server<Scrape>>,
    acceptor: Acceptor,
    feed: Feed<RejectReason>,
    linger: Duration,
    drain_end: DrainEnd,
    done: Done,
) {
    let scrape = &server.site;
    // Labels whose names collide.
    scrape.lock().metrics.rejected().into_iter().for_each(|(reason, count)| feed.count(reason, count));
    let serving = tokio::spawn(server::serve(acceptor, Arc::clone(&server)));
    while let Some(chunk) = feed.chunk().await {
        let mut state = scrape.lock();
        let before = state.metrics.rejected();
        let mut events = Views::of(&chunk.frames);
        while let Some(event) = events.read() {
            state.metrics.add(event);
        }
        for ((reason, now), (_, before)) in state.metrics.rejected().into_iter().zip(before) {
            feed.count(reason, now - before);
        }
        // Under the lock, so that no page has events that its counters do not have.
        feed.acknowledge(events.count());
        feed.drop_unread(&chunk, &events);
    }
    scrape.lock().ended = true;
    if !linger.is_zero() {
        tokio::select! {
            () = server.all_served() => {}
            () = sleep(linger) => {}
            _ = drain_end.ended() => {}
        }
    }
    drop(feed);
    done.drained(None);
    // Serve until the process exits.
    let _ = serving.await;
}

/// The state that scrapes show.
#[derive(Debug)]
pub struct Scrape {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    metrics: Metrics,
    own: SelfMetrics,
    /// Whether the stream has ended.
    ended: bool,
}

impl Scrape {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Site for Scrape {
    const NAME: &'static str = NAME;
    const ALLOWED_HOST: &'static str = "--prometheus-allowed-host";
    const PATHS: &'static str = "there are /metrics and /healthz\n";

    fn format(&self, preferred: Format) -> Format {
        preferred
    }

    async fn refresh(&self) {}

    /// Complete once the stream has ended.
    fn page(&self, format: Format) -> (String, bool) {
        let mut state = self.lock();
        let State { metrics, own, ended } = &mut *state;
        let mut page = Page::new(format);
        if let Some(worker) = own.worker() {
            vitals::write(worker, &mut page, false);
        }
        metrics.write(&mut page);
        own.write(&mut page);
        (page.finish(), *ended)
    }

    /// `/healthz` does not check the worker.
    fn resource(&self, path: &str) -> Option<(&'static str, String)> {
        (path == "/healthz").then(|| (PLAIN, "ok\n".to_owned()))
    }
}
