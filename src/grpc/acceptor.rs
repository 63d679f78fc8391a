//! Connections as they come: which of a listener's peers are served at all.

use crate::net::{listener::Listener, socket::Socket, unix_socket::SocketMode};
use std::{io, sync::Arc};
use tokio::net::{TcpListener, UnixListener};

/// A listener that the runtime watches.
pub enum Acceptor {
    Tcp(TcpListener),
    Unix(UnixListener, SocketMode),
}

impl Acceptor {
    /// Hands a listener to the runtime.
    pub fn new(listener: Listener) -> io::Result<Self> {
        match listener {
            Listener::Tcp { socket, .. } => {
                socket.set_nonblocking(true)?;
                Ok(Self::Tcp(TcpListener::from_std(socket)?))
            }
            Listener::Unix { socket, mode, .. } => {
                socket.set_nonblocking(true)?;
                Ok(Self::Unix(UnixListener::from_std(socket)?, mode))
            }
        }
    }

    /// The next connection, and who it is.
    ///
    /// # Errors
    ///
    /// If there is none, or it is not to be served. [`concerns_one`] tells whether the next one may be.
    pub async fn accept(&mut self) -> io::Result<(Socket, String)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // An event is worth a packet of its own. It fails if the peer is gone, which reading will tell.
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

/// Whether a failure to accept concerns that one connection, so that the next one may be tried at once.
pub fn concerns_one(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, PermissionDenied};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | PermissionDenied)
}
