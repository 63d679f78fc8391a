//! Accepting connections, serving them, and ending them in order.
//!
//! At the end of the stream: wait for a first subscriber, if asked to; let queues drain, each stream ending with
//! status OK; then GOAWAY to its connection, and patience until the peer closes. All of it takes no longer than
//! the drain timeout, whatever clients do; connections without a telemetry stream are not waited for at all.

use super::{
    listener::Listener,
    router::{Router, Services},
    socket::Socket,
    status::StatusService,
    telemetry::Activity,
};
use crate::{hub::Hub, log::Log};
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::{io, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, UnixListener},
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
    /// How long queued events may flow after the end.
    pub drain_timeout: Duration,
    /// How long to wait for a first subscriber, and for exporters that linger, after the end.
    pub linger: Duration,
    /// The sidecar's log.
    pub log: Log,
}

impl Server {
    /// Serves until the hub is closed and drained.
    pub async fn serve(self, listeners: Vec<Listener>) {
        let end = CancellationToken::new();
        let services = Arc::new(Services::new(Arc::clone(&self.hub), self.status, end.clone()));
        let mut accepting = JoinSet::new();
        let connections = Connections { services, end: end.clone(), log: self.log.clone() };
        for listener in listeners {
            accepting.spawn(accept(listener, connections.clone()));
        }

        self.hub.closed().await;
        // A subscriber who comes late is waited for only if there never was one, an exporter if it asked for it.
        // A timeout of nothing would still take a tick of the clock.
        if !self.linger.is_zero() {
            let _ = timeout(self.linger, self.hub.lingered()).await;
        }
        let deadline = Instant::now() + self.drain_timeout;
        let drained = timeout_at(deadline, self.hub.all_left()).await.is_ok();
        if !drained {
            self.log.info("the drain timeout is over; what is still queued is abandoned");
        }
        end.cancel();
        // Accept loops end, taking their connections with them.
        let _ = timeout_at(deadline, async { while accepting.join_next().await.is_some() {} }).await;
    }
}

/// What every connection needs.
#[derive(Clone)]
struct Connections {
    services: Arc<Services>,
    end: CancellationToken,
    log: Log,
}

/// Accepts connections until the end, then waits for those that are left.
async fn accept(listener: Listener, connections: Connections) {
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
                running.spawn(serve_connection(socket, peer, connections.clone()));
            }
            Err(error) => {
                connections.log.debug(format_args!("cannot accept a connection: {error}"));
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(acceptor);
    while running.join_next().await.is_some() {}
}

/// A listener that the runtime watches.
enum Acceptor {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Acceptor {
    fn new(listener: Listener) -> io::Result<Self> {
        match listener {
            Listener::Tcp { socket, .. } => {
                socket.set_nonblocking(true)?;
                Ok(Self::Tcp(TcpListener::from_std(socket)?))
            }
            Listener::Unix { socket, .. } => {
                socket.set_nonblocking(true)?;
                Ok(Self::Unix(UnixListener::from_std(socket)?))
            }
        }
    }

    /// The next connection, and who it is.
    async fn accept(&mut self) -> io::Result<(Socket, String)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // An event is worth a packet of its own.
                stream.set_nodelay(true)?;
                Ok((Socket::Tcp(Arc::new(stream)), peer.to_string()))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Socket::Unix(Arc::new(stream)), "unix".into()))
            }
        }
    }
}

async fn serve_connection(socket: Socket, peer: String, connections: Connections) {
    connections.log.debug(format_args!("{peer}: connected"));
    let activity = Arc::new(Activity::default());
    let router = Router::new(connections.services, peer.clone(), Arc::clone(&activity));
    let mut http2 = http2::Builder::new(TokioExecutor::new());
    http2.timer(TokioTimer::new());
    let mut connection = std::pin::pin!(http2.serve_connection(TokioIo::new(socket.clone()), router));

    let result = tokio::select! {
        result = connection.as_mut() => Some(result),
        () = activity.ended() => None,
        () = connections.end.cancelled() => None,
    };
    match result {
        Some(Ok(())) => connections.log.debug(format_args!("{peer}: gone")),
        Some(Err(error)) => connections.log.debug(format_args!("{peer}: {error}")),
        // The caller's patience bounds all this.
        None if activity.matters() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
            socket.read_to_end().await;
        }
        None => {}
    }
}
