//! The accept loop of every server: limits the number of connections and survives running out of descriptors.

use super::{listener::Listener, socket::Socket, unix_socket::SocketMode};
use crate::system::log;
use std::{future::poll_fn, io, pin::pin, sync::Arc, task::Poll, time::Duration};
use tokio::{
    net::{TcpListener, UnixListener},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::sleep,
};

/// How long to wait when no connection can be accepted because descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listener that is registered with the runtime.
pub(crate) enum Acceptor {
    /// All addresses of a host.
    Tcp(Vec<TcpListener>),
    Unix(UnixListener, SocketMode),
}

impl Acceptor {
    /// Registers a listener with the current runtime.
    pub(crate) fn new(listener: Listener) -> io::Result<Self> {
        match listener {
            Listener::Tcp { sockets, .. } => {
                let registered = sockets.into_iter().map(|socket| {
                    socket.set_nonblocking(true)?;
                    TcpListener::from_std(socket)
                });
                Ok(Self::Tcp(registered.collect::<io::Result<_>>()?))
            }
            Listener::Unix { socket, mode, .. } => {
                socket.set_nonblocking(true)?;
                Ok(Self::Unix(UnixListener::from_std(socket)?, mode))
            }
        }
    }

    /// The next connection and its peer. Fails with `PermissionDenied` if the socket's mode excludes the
    /// peer's user.
    async fn accept(&self) -> io::Result<(Socket, String)> {
        match self {
            Self::Tcp(listeners) => {
                let (stream, peer) = poll_fn(|context| {
                    let accepted = |listener: &TcpListener| match listener.poll_accept(context) {
                        Poll::Ready(accepted) => Some(accepted),
                        Poll::Pending => None,
                    };
                    listeners.iter().find_map(accepted).map_or(Poll::Pending, Poll::Ready)
                })
                .await?;
                // Send each event at once. If this fails the peer has disconnected, which the first read
                // reports.
                let _ = stream.set_nodelay(true);
                Ok((Socket::Tcp(Arc::new(stream)), peer.to_string()))
            }
            Self::Unix(listener, mode) => {
                let (stream, _) = listener.accept().await?;
                let uid = stream.peer_cred()?.uid();
                if !mode.admits(uid) {
                    let cause = format!("user {uid} is not this one (see --listen-mode)");
                    return Err(io::Error::new(io::ErrorKind::PermissionDenied, cause));
                }
                Ok((Socket::Unix(Arc::new(stream)), "unix".into()))
            }
        }
    }
}

/// What happens to connections above the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AboveLimit {
    /// They are accepted and closed at once. The log names the option that sets the limit.
    Close { option: &'static str },
    /// They wait in the kernel's queue until another connection ends.
    Wait,
}

/// How many connections may be open at a time.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionLimit {
    /// One for each connection; several listeners can share them.
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) above: AboveLimit,
}

impl ConnectionLimit {
    /// The next connection with its permit, or without one if it is above the limit. Nothing is lost when the
    /// future is dropped.
    async fn accept(
        &self,
        acceptor: &Acceptor,
    ) -> io::Result<(Socket, String, Option<OwnedSemaphorePermit>)> {
        let permits = Arc::clone(&self.permits);
        let waited = match self.above {
            AboveLimit::Wait => permits.acquire_owned().await.ok(),
            AboveLimit::Close { .. } => None,
        };
        let (socket, peer) = acceptor.accept().await?;
        let permit = waited.or_else(|| Arc::clone(&self.permits).try_acquire_owned().ok());
        Ok((socket, peer, permit))
    }
}

/// Accepts connections and serves each in a task, until `stop` resolves; then waits for the connections that
/// are open. Dropping the future aborts them. `server` is what the log calls the server.
pub(crate) async fn accept<F: Future<Output = ()> + Send + 'static>(
    server: &str,
    acceptor: Acceptor,
    limit: ConnectionLimit,
    stop: impl Future<Output = ()>,
    serve: impl Fn(Socket, String) -> F,
) {
    let mut running = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = limit.accept(&acceptor) => accepted,
            // Removes finished tasks from the set.
            Some(_) = running.join_next() => continue,
            () = &mut stop => break,
        };
        match accepted {
            Ok((socket, peer, Some(permit))) => {
                let connection = serve(socket, peer);
                running.spawn(async move {
                    connection.await;
                    drop(permit);
                });
            }
            Ok((_, peer, None)) => {
                if let AboveLimit::Close { option } = limit.above {
                    log::limited!(DEBUG, %peer, "{server}: connection closed: {option} is reached");
                }
            }
            Err(error) => {
                log::limited!(DEBUG, "{server}: cannot accept a connection: {error}");
                if !concerns_one_connection(&error) {
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
    drop(acceptor);
    while running.join_next().await.is_some() {}
}

/// Whether accepting failed because of this one connection, so that the next one can be accepted at once.
fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, PermissionDenied};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | PermissionDenied)
}
