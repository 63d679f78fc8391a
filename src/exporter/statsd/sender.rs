//! The socket: datagrams go out at once or not at all, and a server that is missing or stuck costs next to nothing.
//!
//! After a failure nothing is tried for a second; then there is a new socket, so that a server that was started again
//! is found. Over UDP a refusal is known only when the next datagram is to be sent, and may be all that ever is known. A
//! unix socket tells at once that its server is gone, so one that is back already misses nothing.

use super::settings::Target;
use crate::system::log::Log;
use std::{io, net::SocketAddr, path::Path, time::Duration};
use tokio::{
    net::{UdpSocket, UnixDatagram, lookup_host},
    time::{Instant, timeout},
};

/// How long a datagram waits for room in the server's queue. A server that reads makes some in far less.
const PATIENCE: Duration = Duration::from_millis(100);

/// How long nothing is tried after a failure.
const PAUSE: Duration = Duration::from_secs(1);

/// How often a name is looked up: at most, and while there is something to send at least, for servers move.
const LOOKUP_INTERVAL: Duration = Duration::from_secs(30);

/// How long a lookup may take. All that time events wait in the queue.
const LOOKUP_PATIENCE: Duration = Duration::from_secs(5);

/// Sends datagrams to a server.
pub struct Sender {
    socket: Option<Socket>,
    resolver: Resolver,
    /// Nothing is tried before.
    pause_until: Instant,
    has_failed: bool,
    target: Target,
    log: Log,
}

impl Sender {
    /// A sender that has done nothing yet.
    pub fn new(target: Target, log: Log) -> Self {
        let now = Instant::now();
        let resolver = Resolver { addresses: Vec::new(), look_up_at: now };
        Self { socket: None, resolver, pause_until: now, has_failed: false, target, log }
    }

    /// Looks up and connects before there is something to send.
    pub async fn prepare(&mut self) {
        match self.connect().await {
            Ok(socket) => self.socket = Some(socket),
            Err(error) => self.report(&error),
        }
    }

    /// Sends a datagram, or says that it could not be sent.
    pub async fn send(&mut self, datagram: &[u8]) -> bool {
        if Instant::now() < self.pause_until {
            return false;
        }
        let was_connected = self.socket.is_some();
        let mut sent = self.try_send(datagram).await;
        let is_gone = |error: &io::Error| error.kind() != io::ErrorKind::TimedOut;
        if was_connected && matches!(self.target, Target::Unix(_)) && sent.as_ref().is_err_and(is_gone) {
            sent = self.try_send(datagram).await;
        }
        if let Err(error) = &sent {
            self.pause_until = Instant::now() + PAUSE;
            self.resolver.try_another();
            self.report(error);
        }
        sent.is_ok()
    }

    /// Sends by the socket that is there, or by a new one. After an error there is none.
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
            Target::Udp(host) => Socket::udp(self.resolver.address(host).await?).await,
        }
    }

    /// Once for those who want to know, and each time for those who look for a fault.
    fn report(&mut self, error: &io::Error) {
        let message = format!("statsd: cannot send to {}: {error}; trying again", self.target);
        if self.has_failed {
            self.log.debug(message);
        } else {
            self.log.info(message);
        }
        self.has_failed = true;
    }
}

/// A connected socket.
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
            Self::Udp(socket) => timeout(PATIENCE, socket.send(datagram)).await?,
            Self::Unix(socket) => timeout(PATIENCE, socket.send(datagram)).await?,
        }
    }
}

/// The addresses of a name.
struct Resolver {
    /// The first is the one to use.
    addresses: Vec<SocketAddr>,
    look_up_at: Instant,
}

impl Resolver {
    async fn address(&mut self, host: &str) -> io::Result<SocketAddr> {
        if self.look_up_at <= Instant::now() {
            self.look_up_at = Instant::now() + LOOKUP_INTERVAL;
            let found = timeout(LOOKUP_PATIENCE, lookup_host(host)).await;
            match found.unwrap_or_else(|elapsed| Err(elapsed.into())) {
                Ok(found) => self.replace(found.collect()),
                // A name that cannot be looked up now is where it was.
                Err(error) if self.addresses.is_empty() => return Err(error),
                Err(_) => {}
            }
        }
        let unknown = || io::Error::new(io::ErrorKind::NotFound, "its address is not known");
        self.addresses.first().copied().ok_or_else(unknown)
    }

    /// The address in use stays in use if it is still there. Otherwise IPv4 comes first: many servers listen there
    /// alone.
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
    use crate::system::log::Verbosity;
    use tokio::time::advance;

    fn addresses(words: &[&str]) -> Vec<SocketAddr> {
        words.iter().map(|word| word.parse().unwrap()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_is_missing_or_stuck_is_waited_for_once_a_second() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let mut sender = Sender::new(Target::Unix(path.clone()), Log::new(Verbosity::Silent, || {}));
        assert!(!sender.send(b"a").await);
        let server = std::os::unix::net::UnixDatagram::bind(path).unwrap();
        server.set_nonblocking(true).unwrap();
        // Not even tried.
        assert!(!sender.send(b"b").await);
        advance(PAUSE).await;
        assert!(sender.send(b"c").await);
        let mut datagram = [0; 8];
        assert_eq!((server.recv(&mut datagram).unwrap(), datagram[0]), (1, b'c'));

        // Its queue is full at some time.
        let start = Instant::now();
        while sender.send(b"d").await {
            assert_eq!(start.elapsed(), Duration::ZERO);
        }
        assert!(start.elapsed() >= PATIENCE && start.elapsed() <= PATIENCE + Duration::from_millis(2));
        while server.recv(&mut datagram).is_ok() {}
        assert!(!sender.send(b"e").await);
        advance(PAUSE).await;
        assert!(sender.send(b"f").await);
    }

    #[test]
    fn ipv4_comes_first_and_what_works_stays() {
        let mut resolver = Resolver { addresses: Vec::new(), look_up_at: Instant::now() };
        resolver.try_another();
        resolver.replace(addresses(&["[::1]:1", "127.0.0.1:1", "127.0.0.2:1"]));
        assert_eq!(resolver.addresses, addresses(&["127.0.0.1:1", "127.0.0.2:1", "[::1]:1"]));
        resolver.try_another();
        resolver.replace(addresses(&["[::1]:1", "127.0.0.1:1", "127.0.0.2:1"]));
        assert_eq!(resolver.addresses, addresses(&["127.0.0.2:1", "127.0.0.1:1", "[::1]:1"]));
    }
}
