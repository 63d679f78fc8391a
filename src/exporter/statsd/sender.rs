//! The socket. Datagrams are sent immediately or dropped, so a server that is down or stuck costs almost
//! nothing.
//!
//! After a failure nothing is sent for a second; then a new socket is created, so that a restarted server is
//! found. Over UDP a refusal is reported by the next send at the earliest, if at all. A unix socket reports
//! at once that its server is down, so the send is retried once with a new socket: a server that has already
//! restarted misses nothing.

use super::target::Target;
use crate::net::address::HostPort;
use std::{io, net::SocketAddr, path::Path, time::Duration};
use thiserror::Error;
use tokio::{
    net::{UdpSocket, UnixDatagram, lookup_host},
    time::{Instant, timeout},
};

/// How long a datagram may wait for room in the server's queue. A server that reads needs far less.
const SEND_TIMEOUT: Duration = Duration::from_millis(100);

/// Pause after a failure.
const PAUSE: Duration = Duration::from_secs(1);

/// Interval between two lookups of the host name while datagrams are sent: a server may move.
const LOOKUP_INTERVAL: Duration = Duration::from_secs(30);

/// Timeout of a lookup. Events wait in the queue meanwhile.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a datagram was not sent.
#[derive(Debug, Error)]
pub enum SendError {
    /// The system did not send it.
    #[error(transparent)]
    Failed(io::Error),
    /// An earlier one has just failed, for this reason.
    #[error("{0}")]
    Paused(String),
}

/// Sends datagrams to a server.
pub struct Sender {
    socket: Option<Socket>,
    resolver: Resolver,
    /// No attempt before this time.
    pause_until: Instant,
    /// Whether a server that does not read is waited for.
    lossless: bool,
    /// The text of the last error; empty if there was none.
    last_error: String,
    target: Target,
}

impl Sender {
    /// A `lossless` sender waits as long as a server does not read.
    pub fn new(target: Target, lossless: bool) -> Self {
        let now = Instant::now();
        let resolver = Resolver { addresses: Vec::new(), look_up_at: now };
        Self { socket: None, resolver, pause_until: now, lossless, last_error: String::new(), target }
    }

    /// Resolves the host and connects before the first datagram.
    ///
    /// # Errors
    ///
    /// If that fails. The first datagram tries it again.
    pub async fn prepare(&mut self) -> io::Result<()> {
        self.socket = Some(self.connect().await?);
        Ok(())
    }

    /// Sends a datagram.
    ///
    /// # Errors
    ///
    /// If it was not sent. It is not to be sent again.
    pub async fn send(&mut self, datagram: &[u8]) -> Result<(), SendError> {
        if Instant::now() < self.pause_until {
            return Err(SendError::Paused(self.last_error.clone()));
        }
        let was_connected = self.socket.is_some();
        let mut sent = self.try_send(datagram).await;
        let is_gone = |error: &io::Error| error.kind() != io::ErrorKind::TimedOut;
        if was_connected && matches!(self.target, Target::Unix(_)) && sent.as_ref().is_err_and(is_gone) {
            sent = self.try_send(datagram).await;
        }
        while self.lossless && sent.as_ref().is_err_and(|error| !is_gone(error)) {
            sent = self.try_send(datagram).await;
        }
        sent.map_err(|error| {
            self.pause_until = Instant::now() + PAUSE;
            self.resolver.try_another();
            self.last_error = error.to_string();
            SendError::Failed(error)
        })
    }

    /// Sends with the present socket or a new one. An error discards the socket.
    async fn try_send(&mut self, datagram: &[u8]) -> io::Result<()> {
        let is_old = matches!(self.target, Target::Udp(_)) && self.resolver.look_up_at <= Instant::now();
        let socket = match self.socket.take() {
            Some(socket) if !is_old => socket,
            _ => self.connect().await?,
        };
        socket.send(datagram).await?;
        self.socket = Some(socket);
        Ok(())
    }

    async fn connect(&mut self) -> io::Result<Socket> {
        match &self.target {
            Target::Unix(path) => Socket::unix(path),
            Target::Udp(server) => Socket::udp(self.resolver.address(server).await?).await,
        }
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
            Self::Udp(socket) => timeout(SEND_TIMEOUT, socket.send(datagram)).await?,
            Self::Unix(socket) => timeout(SEND_TIMEOUT, socket.send(datagram)).await?,
        }
    }
}

/// The addresses of the server's host name.
struct Resolver {
    /// The first one is in use.
    addresses: Vec<SocketAddr>,
    look_up_at: Instant,
}

impl Resolver {
    async fn address(&mut self, server: &HostPort) -> io::Result<SocketAddr> {
        if self.look_up_at <= Instant::now() {
            self.look_up_at = Instant::now() + LOOKUP_INTERVAL;
            let found = timeout(LOOKUP_TIMEOUT, lookup_host((&*server.host, server.port))).await;
            match found.unwrap_or_else(|elapsed| Err(elapsed.into())) {
                Ok(found) => self.replace(found.collect()),
                // Keep the known addresses if the lookup fails.
                Err(error) if self.addresses.is_empty() => return Err(error),
                Err(_) => {}
            }
        }
        let unknown = || io::Error::new(io::ErrorKind::NotFound, "the host name could not be resolved");
        self.addresses.first().copied().ok_or_else(unknown)
    }

    /// Keeps the address in use if it is still listed. Otherwise prefers IPv4: many servers listen only
    /// there.
    fn replace(&mut self, mut found: Vec<SocketAddr>) {
        found.sort_by_key(|address| (Some(address) != self.addresses.first(), address.is_ipv6()));
        self.addresses = found;
    }

    fn try_another(&mut self) {
        if !self.addresses.is_empty() {
            self.addresses.rotate_left(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    fn addresses(words: &[&str]) -> Vec<SocketAddr> {
        words.iter().map(|word| word.parse().unwrap()).collect()
    }

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

    #[test]
    fn ipv4_is_preferred_and_the_address_in_use_is_kept() {
        let mut resolver = Resolver { addresses: Vec::new(), look_up_at: Instant::now() };
        resolver.try_another();
        resolver.replace(addresses(&["[::1]:1", "127.0.0.1:1", "127.0.0.2:1"]));
        assert_eq!(resolver.addresses, addresses(&["127.0.0.1:1", "127.0.0.2:1", "[::1]:1"]));
        resolver.try_another();
        resolver.replace(addresses(&["[::1]:1", "127.0.0.1:1", "127.0.0.2:1"]));
        assert_eq!(resolver.addresses, addresses(&["127.0.0.2:1", "127.0.0.1:1", "[::1]:1"]));
    }
}
