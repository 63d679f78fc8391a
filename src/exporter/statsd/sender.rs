//! The socket. Datagrams are sent immediately or dropped, so a server that is down or stuck costs almost
//! nothing.
//!
//! After a failure nothing is sent for a second; then a new socket is created, so that a restarted server is
//! found. Over UDP a refusal is reported by the next send at the earliest, if at all. A unix socket reports
//! at once that its server is down, so the send is retried once with a new socket: a server that has already
//! restarted misses nothing.

use super::{resolver::Resolver, target::Target};
use crate::system::log;
use std::{io, net::SocketAddr, path::Path, time::Duration};
use thiserror::Error;
use tokio::{
    net::{UdpSocket, UnixDatagram},
    time::{Instant, sleep_until, timeout},
};

/// How long a datagram may wait for room in the server's queue. A server that reads needs far less.
const SEND_TIMEOUT: Duration = Duration::from_millis(100);

/// Pause after a failure.
const PAUSE: Duration = Duration::from_secs(1);

/// Why a datagram was not sent.
#[derive(Debug, Clone, Error)]
#[error("{0}")]
pub struct SendError(String);

/// Why an attempt failed.
#[derive(Debug, Error)]
enum Failure {
    /// The server's host name has no known address.
    #[error(transparent)]
    Unresolved(io::Error),
    /// The server does not read.
    #[error(transparent)]
    Stuck(io::Error),
    /// The system did not send it.
    #[error(transparent)]
    Refused(#[from] io::Error),
}

/// Sends datagrams to a server.
pub struct Sender {
    socket: Option<Socket>,
    resolver: Resolver,
    /// No attempt before this time.
    pause_until: Instant,
    /// Whether the server is waited for.
    lossless: bool,
    last_error: SendError,
    target: Target,
}

impl Sender {
    /// A `lossless` sender waits as long as the server does not read or its host name has no address.
    pub fn new(target: Target, lossless: bool) -> Self {
        let last_error = SendError(String::new());
        let (resolver, pause_until) = (Resolver::new(), Instant::now());
        Self { socket: None, resolver, pause_until, lossless, last_error, target }
    }

    /// Resolves the host and connects before the first datagram. If that fails, the first datagram tries it
    /// again.
    pub async fn prepare(&mut self) {
        match self.connect().await {
            Ok(socket) => self.socket = Some(socket),
            Err(error) => self.log(&error),
        }
    }

    /// Sends a datagram.
    ///
    /// # Errors
    ///
    /// If it was not sent, or an earlier one has just failed. It is not to be sent again.
    pub async fn send(&mut self, datagram: &[u8]) -> Result<(), SendError> {
        if Instant::now() < self.pause_until {
            return Err(self.last_error.clone());
        }
        let was_connected = self.socket.is_some();
        let mut sent = self.try_send(datagram).await;
        let is_refused = matches!(sent, Err(Failure::Refused(_)));
        if was_connected && is_refused && matches!(self.target, Target::Unix(_)) {
            sent = self.try_send(datagram).await;
        }
        while self.lossless && matches!(sent, Err(Failure::Unresolved(_) | Failure::Stuck(_))) {
            if let Err(error @ Failure::Unresolved(_)) = &sent {
                self.log(error);
                sleep_until(self.resolver.look_up_at()).await;
            }
            sent = self.try_send(datagram).await;
        }
        sent.map_err(|error| {
            self.log(&error);
            self.pause_until = Instant::now() + PAUSE;
            self.resolver.try_another();
            self.last_error = SendError(format!("{error} at {}", self.target));
            self.last_error.clone()
        })
    }

    /// Sends with the present socket or a new one. An error discards the socket.
    async fn try_send(&mut self, datagram: &[u8]) -> Result<(), Failure> {
        let is_old = matches!(self.target, Target::Udp(_)) && self.resolver.look_up_at() <= Instant::now();
        let socket = match self.socket.take() {
            Some(socket) if !is_old => socket,
            _ => self.connect().await?,
        };
        timeout(SEND_TIMEOUT, socket.send(datagram)).await.map_err(|late| Failure::Stuck(late.into()))??;
        self.socket = Some(socket);
        Ok(())
    }

    async fn connect(&mut self) -> Result<Socket, Failure> {
        match &self.target {
            Target::Unix(path) => Ok(Socket::unix(path)?),
            Target::Udp(server) => {
                let address = self.resolver.address(server).await.map_err(Failure::Unresolved)?;
                Ok(Socket::udp(address).await?)
            }
        }
    }

    fn log(&self, error: &Failure) {
        log::limited!(INFO, "statsd: cannot send to {}: {error}; trying again", self.target);
    }
}

enum Socket {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

impl Socket {
    async fn udp(address: SocketAddr) -> io::Result<Self> {
        let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any).await?;
        socket.connect(address).await?;
        Ok(Self::Udp(socket))
    }

    fn unix(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(path)?;
        Ok(Self::Unix(socket))
    }

    async fn send(&self, datagram: &[u8]) -> io::Result<usize> {
        match self {
            Self::Udp(socket) => socket.send(datagram).await,
            Self::Unix(socket) => socket.send(datagram).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn a_server_that_is_down_or_stuck_is_retried_once_a_second() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let mut sender = Sender::new(Target::Unix(path.clone()), false);
        assert!(sender.send(b"a").await.is_err());
        let server = std::os::unix::net::UnixDatagram::bind(path).unwrap();
        server.set_nonblocking(true).unwrap();
        // Within the pause no attempt is made.
        assert!(sender.send(b"b").await.is_err());
        advance(PAUSE).await;
        assert!(sender.send(b"c").await.is_ok());
        let mut datagram = [0; 8];
        assert_eq!((server.recv(&mut datagram).unwrap(), datagram[0]), (1, b'c'));

        // Fill the server's queue.
        let start = Instant::now();
        while sender.send(b"d").await.is_ok() {
            assert_eq!(start.elapsed(), Duration::ZERO);
        }
        let took = start.elapsed();
        assert!(took >= SEND_TIMEOUT && took <= SEND_TIMEOUT + Duration::from_millis(2), "{took:?}");
        while server.recv(&mut datagram).is_ok() {}
        assert!(sender.send(b"e").await.is_err());
        advance(PAUSE).await;
        assert!(sender.send(b"f").await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_lossless_sender_waits_for_a_server_that_does_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let server = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
        server.set_nonblocking(true).unwrap();
        let mut sender = Sender::new(Target::Unix(path), true);
        let mut sent = 0;
        while timeout(Duration::from_secs(60), sender.send(b"a")).await.is_ok_and(|sent| sent.is_ok()) {
            sent += 1;
        }
        assert!(sent > 0);
        while server.recv(&mut [0; 8]).is_ok() {}
        assert!(sender.send(b"b").await.is_ok());
    }
}
