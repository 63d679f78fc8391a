//! `gather`: one page of metrics for all sidecars of this host, and their own pages as targets.
//!
//! A task for each worker fetches its page, at intervals and when the common page is requested. The latest
//! pages are kept in memory, so a slow or stopped sidecar delays no request: its last values stay.

pub mod args;
mod ask;
mod family;
mod fetch;
mod first;
mod follow;
mod names;
mod origin;
mod page;
mod parse;
mod sd;
mod slots;

pub use args::Settings;

use super::client::Connector;
use crate::{
    exporter::prometheus::{
        page::Format,
        server::{PLAIN, Server, Site, serve},
    },
    net::{accept::Acceptor, listener::Listener},
    system::{log::error_line, thread},
};
use page::{Fetches, LeftOut};
use slots::Slots;
use std::{
    fmt::Display,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{Semaphore, watch},
    time::timeout,
};

/// How long the common page waits for pages that are fetched because it was requested.
const REFRESH_TIMEOUT: Duration = Duration::from_millis(500);

/// How many pages are fetched at a time; those of sidecars that did not answer the last time have permits of
/// their own.
const FETCHES: usize = 32;
const LATE_FETCHES: usize = 8;

/// How many sidecars are asked at a time for the first time, and again because they did not answer.
const QUESTIONS: usize = 64;
const LATE_QUESTIONS: usize = 8;

/// What `/` shows.
const INDEX: &str = "telemetry-sidecar gather: the sidecars of this host

/metrics    one page for all workers, for Prometheus
/sd         the page of each sidecar, for Prometheus' http_sd_configs
/-/healthy  200 while this runs
";

/// Serves until the process ends.
///
/// # Errors
///
/// If the system refuses what it needs, or `/proc` cannot be read.
pub fn run(listener: Listener, settings: Settings, connector: Connector) -> io::Result<()> {
    let Settings { interval, hosts, quiet, .. } = settings;
    thread::runtime().enable_all().build()?.block_on(async {
        let address = listener.to_string();
        let acceptor = Acceptor::new(listener)?;
        let server = Arc::new(Server::new(Gatherer::new(connector, quiet), hosts));
        let serving = tokio::spawn(serve(acceptor, Arc::clone(&server)));
        let followed = follow::follow(&server, interval, &address).await;
        serving.abort();
        followed
    })
}

/// The state of all workers.
#[derive(Debug)]
struct Gatherer {
    /// Whether to suppress messages about sidecars that are gathered or left out.
    quiet: bool,
    shared: Mutex<Shared>,
    connector: Arc<Connector>,
    /// The number of the latest request for all pages.
    wanted: watch::Sender<u64>,
    /// Sent when a page was fetched.
    fetched: watch::Sender<()>,
    prompt: Semaphore,
    late: Semaphore,
    asking: Semaphore,
    asking_again: Semaphore,
}

#[derive(Debug, Default)]
struct Shared {
    slots: Slots,
    left_out: Vec<LeftOut>,
    fetches: Fetches,
}

impl Gatherer {
    fn new(connector: Connector, quiet: bool) -> Self {
        Self {
            quiet,
            shared: Mutex::default(),
            connector: Arc::new(connector),
            wanted: watch::Sender::new(0),
            fetched: watch::Sender::new(()),
            prompt: Semaphore::new(FETCHES),
            late: Semaphore::new(LATE_FETCHES),
            asking: Semaphore::new(QUESTIONS),
            asking_again: Semaphore::new(LATE_QUESTIONS),
        }
    }

    /// Prints a line about a sidecar.
    fn say(&self, line: impl Display) {
        if !self.quiet {
            error_line(line);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Requests the pages of all workers. Returns the number of the request.
    fn request(&self) -> u64 {
        self.wanted.send_modify(|number| *number += 1);
        *self.wanted.borrow()
    }

    /// Waits until a request was followed, except by workers that are late.
    async fn wait_for(&self, request: u64) {
        let mut fetched = self.fetched.subscribe();
        let is_followed = || {
            let shared = self.lock();
            shared.slots.workers().all(|(_, worker)| worker.late.is_some() || worker.fetched >= request)
        };
        while !is_followed() {
            // The sender lives as long as this.
            let _ = fetched.changed().await;
        }
    }
}

impl Site for Gatherer {
    const NAME: &'static str = "gather";
    const ALLOWED_HOST: &'static str = "--allowed-host";
    const PATHS: &'static str = "there are /metrics, /sd and /-/healthy\n";

    fn format(&self, _: Format) -> Format {
        page::FORMAT
    }

    async fn refresh(&self) {
        // A page that is late keeps its last values.
        let _ = timeout(REFRESH_TIMEOUT, self.wait_for(self.request())).await;
    }

    /// It is never complete: workers may come.
    fn page(&self, _: Format) -> (String, bool) {
        let shared = self.lock();
        (page::page(&shared.slots, &shared.left_out, shared.fetches), false)
    }

    fn resource(&self, path: &str) -> Option<(&'static str, String)> {
        match path {
            "/" => Some((PLAIN, INDEX.to_owned())),
            "/sd" => Some(("application/json", sd::targets(&self.lock().slots))),
            "/-/healthy" | "/healthz" => Some((PLAIN, "ok\n".to_owned())),
            _ => None,
        }
    }
}
