//! The addresses of the server's host name.

use crate::net::address::HostPort;
use std::{io, net::SocketAddr, time::Duration};
use tokio::{
    net::lookup_host,
    time::{Instant, timeout},
};

/// Interval between two lookups of the host name while datagrams are sent: a server may move.
const LOOKUP_INTERVAL: Duration = Duration::from_secs(30);

/// Timeout of a lookup. Events wait in the queue meanwhile.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// Pause after the first failed lookup: often the server, or its name, is about to appear. It doubles with
/// each further failure, up to the interval.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// Looks the host name up, and keeps its addresses.
#[derive(Debug)]
pub struct Resolver {
    /// The first one is in use.
    addresses: Vec<SocketAddr>,
    look_up_at: Instant,
    /// Pause after the next failure.
    retry: Duration,
    /// Why there are no addresses.
    last_error: String,
}

impl Resolver {
    pub fn new() -> Self {
        Self {
            addresses: Vec::new(),
            look_up_at: Instant::now(),
            retry: FIRST_RETRY,
            last_error: String::new(),
        }
    }

    /// When the next lookup is due.
    pub fn look_up_at(&self) -> Instant {
        self.look_up_at
    }

    /// The address to send to, after a lookup if one is due.
    pub async fn address(&mut self, server: &HostPort) -> io::Result<SocketAddr> {
        if self.look_up_at <= Instant::now() {
            let found = timeout(LOOKUP_TIMEOUT, lookup_host((&*server.host, server.port))).await;
            self.update(match found {
                Ok(found) => found.map(Iterator::collect).map_err(|error| error.to_string()),
                Err(_) => {
                    Err(format!("the host name was not resolved within {} s", LOOKUP_TIMEOUT.as_secs()))
                }
            });
        }
        let unknown = || io::Error::new(io::ErrorKind::NotFound, self.last_error.clone());
        self.addresses.first().copied().ok_or_else(unknown)
    }

    /// Takes the result of a lookup. If it failed the known addresses are kept.
    fn update(&mut self, found: Result<Vec<SocketAddr>, String>) {
        match found {
            Ok(found) if !found.is_empty() => self.replace(found),
            Ok(_) => self.last_error = "the host name has no address".into(),
            Err(error) => self.last_error = error,
        }
        let pause = if self.addresses.is_empty() { self.retry } else { LOOKUP_INTERVAL };
        self.retry = (self.retry * 2).min(LOOKUP_INTERVAL);
        self.look_up_at = Instant::now() + pause;
    }

    /// Keeps the address in use if it is still listed. Otherwise prefers IPv4: many servers listen only
    /// there.
    fn replace(&mut self, mut found: Vec<SocketAddr>) {
        found.sort_by_key(|address| (Some(address) != self.addresses.first(), address.is_ipv6()));
        self.addresses = found;
    }

    pub fn try_another(&mut self) {
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

    #[test]
    fn ipv4_is_preferred_and_the_address_in_use_is_kept() {
        let mut resolver = Resolver::new();
        resolver.try_another();
        resolver.replace(addresses(&["[::1]:1", "127.0.0.1:1", "127.0.0.2:1"]));
        assert_eq!(resolver.addresses, addresses(&["127.0.0.1:1", "127.0.0.2:1", "[::1]:1"]));
        resolver.try_another();
        resolver.replace(addresses(&["[::1]:1", "127.0.0.1:1", "127.0.0.2:1"]));
        assert_eq!(resolver.addresses, addresses(&["127.0.0.2:1", "127.0.0.1:1", "[::1]:1"]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_lookup_is_repeated_soon_then_less_often() {
        let mut resolver = Resolver::new();
        let pause = |resolver: &Resolver| (resolver.look_up_at - Instant::now()).as_secs();
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            resolver.update(Err("unknown name".into()));
            assert_eq!(pause(&resolver), seconds);
        }
        // Before the next lookup is due the error is that of the last one.
        let server = "nowhere.invalid:1".parse().unwrap();
        assert_eq!(resolver.address(&server).await.unwrap_err().to_string(), "unknown name");
        resolver.update(Ok(Vec::new()));
        assert_eq!(resolver.address(&server).await.unwrap_err().to_string(), "the host name has no address");

        // Known addresses are kept, and looked up again at the usual interval.
        let known = addresses(&["127.0.0.1:1"]);
        for found in [Ok(known.clone()), Err("unknown name".into())] {
            resolver.update(found);
            assert_eq!((pause(&resolver), resolver.address(&server).await.unwrap()), (30, known[0]));
            advance(Duration::from_secs(29)).await;
        }
    }
}
