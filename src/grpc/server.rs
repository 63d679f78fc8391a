//! Accepting connections, serving them, and ending them in order.
//!
//! At the end of the stream: wait for a first subscriber, if asked to; let queues drain, each stream ending with
//! status OK; then GOAWAY to its connection, and patience until the peer closes. All of it takes no longer than
//! the drain timeout, whatever clients do, if there is one: a replay has none, since there nothing is to be lost.
//! Connections without a telemetry stream are not waited for at all.

use super::{
    acceptor::{Acceptor, concerns_one},
    access::Access,
    connection::Connections,
    limits::{ClientLimits, places},
    listener::Listener,
    router::Services,
    status::StatusService,
    telemetry::Telemetry,
};
use crate::{hub::Hub, log::Log};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

/// How long to wait when no connection can be accepted because descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What to serve, and for how long after the end.
pub struct Server {
    /// Where events come from.
    pub hub: Arc<Hub>,
    /// The sidecar's own service.
    pub status: StatusService,
    /// Who is let in.
    pub access: Access,
    /// What clients may take.
    pub limits: ClientLimits,
    /// How long queued events may flow after the end; none is as long as it takes.
    pub drain_timeout: Option<Duration>,
    /// How long to wait for a first subscriber, and for exporters that linger, after the end.
    pub linger: Duration,
    /// The sidecar's log.
    pub log: Log,
}

impl Server {
    /// Serves until the hub is closed and drained.
    pub async fn serve(self, listeners: Vec<Listener>) {
        let end = CancellationToken::new();
        let access = Arc::new(self.access);
        let telemetry = Telemetry::new(Arc::clone(&self.hub), &self.limits);
        let services =
            Services::new(telemetry, self.status, Arc::clone(&access), end.clone(), self.log.clone());
        let places = Arc::new(places(self.limits.connections));
        let connections = Arc::new(Connections {
            services: Arc::new(services),
            access,
            limits: self.limits,
            end: end.clone(),
            log: self.log.clone(),
        });
        let mut accepting = JoinSet::new();
        for listener in listeners {
            accepting.spawn(accept(listener, Arc::clone(&connections), Arc::clone(&places)));
        }

        self.hub.closed().await;
        // A subscriber who comes late is waited for only if there never was one, an exporter if it asked for it.
        // A timeout of nothing would still take a tick of the clock.
        if !self.linger.is_zero() {
            let _ = timeout(self.linger, self.hub.lingered()).await;
        }
        let deadline = self.drain_timeout.map(|drain_timeout| Instant::now() + drain_timeout);
        if !is_done_by(deadline, self.hub.all_left()).await {
            self.log.info("the drain timeout is over; what is still queued is abandoned");
        }
        end.cancel();
        // Accept loops end, taking their connections with them.
        is_done_by(deadline, async { while accepting.join_next().await.is_some() {} }).await;
    }
}

/// Waits for something, up to a deadline if there is one; whether it was done by then.
async fn is_done_by(deadline: Option<Instant>, work: impl Future<Output = ()>) -> bool {
    if let Some(deadline) = deadline {
        timeout_at(deadline, work).await.is_ok()
    } else {
        work.await;
        true
    }
}

/// Accepts connections until the end, then waits for those that are left.
async fn accept(listener: Listener, connections: Arc<Connections>, places: Arc<Semaphore>) {
    let mut running = JoinSet::new();
    let mut acceptor = match Acceptor::new(listener) {
        Ok(acceptor) => acceptor,
        Err(error) => {
            return connections.log.info(format_args!("cannot accept connections: {error}"));
        }
    };
    loop {
        let accepted = tokio::select! {
            accepted = acceptor.accept() => accepted,
            // Finished connections are taken off the list.
            Some(_) = running.join_next() => continue,
            () = connections.end.cancelled() => break,
        };
        match accepted {
            Ok((socket, peer)) => {
                let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                    connections
                        .log
                        .debug(format_args!("{peer}: closed, there are --max-connections already"));
                    continue;
                };
                let connections = Arc::clone(&connections);
                running.spawn(async move {
                    connections.serve(socket, peer).await;
                    drop(place);
                });
            }
            Err(error) => {
                connections.log.debug(format_args!("cannot accept a connection: {error}"));
                if !concerns_one(&error) {
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
    drop(acceptor);
    while running.join_next().await.is_some() {}
}
