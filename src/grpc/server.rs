//! Accepting connections, serving them, and ending them in order.
//!
//! At the end of the stream: wait for a first subscriber, if asked to; let queues drain, each stream ending with
//! status OK; then GOAWAY to its connection, and patience until the peer closes. All of it takes no longer than
//! the drain timeout, whatever clients do, if there is one: a replay has none, since there nothing is to be lost.
//! Connections without a telemetry stream are not waited for at all.

use super::{
    auth::Access,
    connection::Connections,
    limits::{ClientLimits, permits},
    router::Services,
    service::{status::StatusService, telemetry::Telemetry},
    unary::Requests,
};
use crate::hub::Hub;
use crate::net::{
    accept::{AboveLimit, Acceptor, ConnectionLimit, accept},
    listener::Listener,
};
use std::{sync::Arc, time::Duration};
use tokio::{
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

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
}

impl Server {
    /// Serves until the hub is closed and drained.
    pub async fn serve(self, listeners: Vec<Listener>) {
        let end = CancellationToken::new();
        let access = Arc::new(self.access);
        let telemetry = Telemetry::new(Arc::clone(&self.hub), &self.limits);
        let requests = Requests::new(self.limits.handshake_timeout.0, end.clone());
        let services = Services::new(telemetry, self.status, Arc::clone(&access), requests);
        let limit = ConnectionLimit {
            permits: Arc::new(permits(self.limits.connections)),
            above: AboveLimit::Close { option: "--max-connections" },
        };
        let connections = Arc::new(Connections {
            services: Arc::new(services),
            access,
            limits: self.limits,
            end: end.clone(),
        });
        let mut accepting = JoinSet::new();
        for listener in listeners {
            accepting.spawn(serve_listener(listener, Arc::clone(&connections), limit.clone()));
        }

        self.hub.closed().await;
        // A subscriber who comes late is waited for only if there never was one, an exporter if it asked for it.
        // A timeout of nothing would still take a tick of the clock.
        if !self.linger.is_zero() {
            let _ = timeout(self.linger, self.hub.lingered()).await;
        }
        let deadline = self.drain_timeout.map(|drain_timeout| Instant::now() + drain_timeout);
        if !is_done_by(deadline, self.hub.all_left()).await {
            tracing::info!("drain timeout expired; queued events are abandoned");
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

/// Serves one listener's connections until the end, then waits for those that are left.
async fn serve_listener(listener: Listener, connections: Arc<Connections>, limit: ConnectionLimit) {
    let acceptor = match Acceptor::new(listener) {
        Ok(acceptor) => acceptor,
        Err(error) => {
            return tracing::info!("cannot accept connections: {error}");
        }
    };
    let serve = |socket, peer| {
        let connections = Arc::clone(&connections);
        async move { connections.serve(socket, peer).await }
    };
    accept("grpc", acceptor, limit, connections.end.cancelled(), serve).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        control::Controls,
        event::{
            batch::{BatchBuilder, Event},
            stats::StreamStats,
        },
        grpc::auth::AccessFiles,
        hub::{Limits, WhenFull},
        net::{address::Address, unix_socket::SocketMode},
    };
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::UnixStream,
        time::sleep,
    };

    /// What HTTP/2 starts with, and an empty SETTINGS frame.
    const GREETING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

    /// The default limits of time; the drain timeout is half a second.
    fn server(hub: &Arc<Hub>, linger: Duration) -> Server {
        let hub = Arc::clone(hub);
        Server {
            status: StatusService { hub: Arc::clone(&hub), worker: None, recorder: None, prometheus: None },
            hub,
            access: Access::load(AccessFiles::default()).unwrap(),
            limits: ClientLimits::default(),
            drain_timeout: Some(Duration::from_millis(500)),
            linger,
        }
    }

    fn hub() -> Arc<Hub> {
        let limits = Limits { events: 10, bytes: 1_000, when_full: WhenFull::DropNewest };
        let hub = Hub::new(Controls::default(), limits);
        let event = Event { name: b"a", correlation_id: b"", timestamp_ns: 0, timestamp_given: true };
        let mut builder = BatchBuilder::default();
        builder.push(b"a", event);
        hub.publish(builder.take(), &StreamStats::default());
        hub
    }

    #[track_caller]
    fn assert_took(start: Instant, milliseconds: u64) {
        let (took, expected) = (start.elapsed(), Duration::from_millis(milliseconds));
        // The clock's ticks are milliseconds.
        assert!(
            expected <= took && took <= expected + Duration::from_millis(2),
            "{took:?}, not {expected:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_waits_for_those_who_may_come_and_for_those_who_are_there_but_not_for_long() {
        let minute = Duration::from_secs(60);
        for (linger, somebody_was_there, expected) in
            [(Duration::ZERO, false, 0), (minute, true, 0), (minute, false, 60_000)]
        {
            let hub = hub();
            if somebody_was_there {
                hub.subscribe("");
            }
            hub.close();
            let start = Instant::now();
            server(&hub, linger).serve(Vec::new()).await;
            assert_took(start, expected);
        }
        for (stays, expected) in [(Duration::from_millis(100), 10_100), (minute, 10_500)] {
            let hub = hub();
            hub.close();
            let start = Instant::now();
            let coming = async {
                sleep(Duration::from_secs(10)).await;
                let subscriber = hub.subscribe("");
                sleep(stays).await;
                drop(subscriber);
            };
            tokio::select! {
                () = server(&hub, minute).serve(Vec::new()) => {}
                never = async { coming.await; std::future::pending().await } => never,
            }
            assert_took(start, expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_has_time_to_begin_and_to_show_that_it_is_there_and_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        // What is written to a unix socket is there at once: while something can be read the clock stands still.
        let address = Address::Unix(path.clone()).resolve().unwrap();
        let mut listener = Listener::bind(&address, SocketMode::default()).unwrap();
        let _file = listener.take_file();
        let serving = tokio::spawn(server(&hub(), Duration::ZERO).serve(vec![listener]));
        for (greeting, expected) in [(&b""[..], 5_000), (&GREETING[..24], 5_000), (GREETING, 50_000)] {
            let mut peer = UnixStream::connect(&path).await.unwrap();
            peer.write_all(greeting).await.unwrap();
            let start = Instant::now();
            let _ = peer.read_to_end(&mut Vec::new()).await;
            assert_took(start, expected);
        }
        serving.abort();
    }
}
