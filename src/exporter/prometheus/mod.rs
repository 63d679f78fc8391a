//! `--export-prometheus`: metrics for Prometheus to scrape.
//!
//! One thread takes events from the hub, adds them up and answers scrapes, in turns: a page is made between two chunks of
//! events and never of half of one. Making it takes milliseconds for thousands of series, in which events wait in the
//! exporter's queue and nobody else waits at all.
//!
//! The page is there from before the worker's start until the sidecar's end. What came after the last scrape is not
//! seen by anyone, unless the sidecar lingers (`--linger`): then it waits for one more scrape, which has everything,
//! the worker's exit status included.

mod accept;
pub mod args;
mod exemplar;
mod names;
pub mod own;
pub mod page;
mod process;
pub mod series;
mod server;

pub use args::Settings;

use super::feed::{self, Feed};
use crate::net::accept::Acceptor;
use own::Own;
use page::{Format, Page};
use series::Metrics;
pub use series::RejectReason;
use std::{
    io,
    net::TcpListener,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::Notify, time::timeout};

/// The exporter's name in the books.
pub const NAME: &str = "prometheus";

/// Starts the thread. It serves until the process ends; after the stream's end it is done as soon as everything is
/// counted or, if it is to linger, has been scraped or `linger` is over.
///
/// # Errors
///
/// If there can be no thread.
pub fn start(
    settings: &Settings,
    listener: TcpListener,
    feed: Feed<RejectReason>,
    own: Own,
    linger: Duration,
) -> io::Result<()> {
    let metrics = Metrics::new(settings.measures.clone(), settings.max_series);
    if !linger.is_zero() {
        feed.linger();
    }
    listener.set_nonblocking(true)?;
    feed::spawn(NAME, move || async move {
        match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => export(metrics, Acceptor::Tcp(listener), feed, own, linger).await,
            Err(error) => tracing::info!("prometheus: cannot accept connections: {error}"),
        }
    })
}

async fn export(metrics: Metrics, acceptor: Acceptor, feed: Feed<RejectReason>, own: Own, linger: Duration) {
    // Labels whose names collide.
    metrics.rejected().into_iter().for_each(|(reason, count)| feed.count(reason, count));
    let state = State { metrics, own, ended: false };
    let scrape = Arc::new(Scrape { state: Mutex::new(state), last_page: Notify::new() });
    let serving = tokio::spawn(server::serve(acceptor, Arc::clone(&scrape)));
    while let Some(events) = feed.next().await {
        let mut state = scrape.lock();
        let before = state.metrics.rejected();
        for event in &events {
            state.metrics.add(event);
        }
        for ((reason, now), (_, before)) in state.metrics.rejected().into_iter().zip(before) {
            feed.count(reason, now - before);
        }
        // Under the lock, so that no page has events that its counters do not have.
        feed.acknowledge(events.len() as u64);
    }
    scrape.lock().ended = true;
    if !linger.is_zero() {
        let _ = timeout(linger, scrape.last_page.notified()).await;
    }
    drop(feed);
    // It ends with the process.
    let _ = serving.await;
}

/// What a scrape shows.
#[derive(Debug)]
pub struct Scrape {
    state: Mutex<State>,
    /// Somebody has the last page.
    last_page: Notify,
}

#[derive(Debug)]
struct State {
    metrics: Metrics,
    own: Own,
    /// No more events will come.
    ended: bool,
}

impl Scrape {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The page of this moment, and whether it is one of those that have everything.
    pub fn page(&self, format: Format) -> (String, bool) {
        let mut state = self.lock();
        let State { metrics, own, ended } = &mut *state;
        let mut page = Page::new(format);
        metrics.write(&mut page);
        own.write(&mut page);
        (page.finish(), *ended)
    }

    /// Says that somebody has got a page that has everything.
    pub fn last_page_was_served(&self) {
        self.last_page.notify_one();
    }
}
