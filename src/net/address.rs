//! Addresses as options name them: parsing, printing and looking up names.

use crate::worker::startup::note_descriptors;
use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs as _},
    path::PathBuf,
    str::FromStr,
};
use thiserror::Error;

/// `HOST:PORT`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// A name or an IP address, an IPv6 address without its brackets.
    pub host: String,
    /// Port 0 lets the system choose one when a socket is bound.
    pub port: u16,
}

/// Why a text is not `HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HostPortError {
    /// There is no host, no port, or an IPv6 address without brackets.
    #[error("expected HOST:PORT")]
    Malformed,
    /// The text after the last colon is not a number from 0 to 65535.
    #[error("'{0}' is not a port (0 to 65535)")]
    InvalidPort(String),
}

impl FromStr for HostPort {
    type Err = HostPortError;

    fn from_str(text: &str) -> Result<Self, HostPortError> {
        let (host, port) = text.rsplit_once(':').ok_or(HostPortError::Malformed)?;
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        if bracketed.unwrap_or(host).is_empty()
            || (bracketed.is_none() && host.contains(':'))
            || port.starts_with("//")
        {
            return Err(HostPortError::Malformed);
        }
        let port = port.parse().map_err(|_| HostPortError::InvalidPort(port.to_owned()))?;
        Ok(Self { host: bracketed.unwrap_or(host).to_owned(), port })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') {
            write!(formatter, "[{host}]:{port}")
        } else {
            write!(formatter, "{host}:{port}")
        }
    }
}

/// An address to listen on, or to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// `HOST:PORT`
    Tcp(HostPort),
    /// `unix:PATH`, or `unix:@NAME` for an abstract socket.
    Unix(PathBuf),
}

impl Default for Address {
    /// Any free port on the loopback interface.
    fn default() -> Self {
        Self::localhost(0)
    }
}

impl Address {
    /// This port of the loopback interface.
    pub(crate) fn localhost(port: u16) -> Self {
        Self::Tcp(HostPort { host: "127.0.0.1".into(), port })
    }
}

/// Why a text is not an address.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AddressError {
    /// Neither of the two forms.
    #[error("expected HOST:PORT, unix:PATH or unix:@NAME")]
    Malformed,
    /// Neither of the two forms, but this may have been meant.
    #[error("expected HOST:PORT, unix:PATH or unix:@NAME, such as {0}")]
    Meant(String),
    /// Only the port is wrong.
    #[error(transparent)]
    InvalidPort(HostPortError),
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        match text.strip_prefix("unix:") {
            Some("" | "@") => Err(AddressError::Malformed),
            Some(path) => Ok(Self::Unix(path.into())),
            None => text.parse().map(Self::Tcp).map_err(|error| match error {
                HostPortError::Malformed => meant(text).map_or(AddressError::Malformed, AddressError::Meant),
                HostPortError::InvalidPort(_) => AddressError::InvalidPort(error),
            }),
        }
    }
}

/// The address that may have been meant by a port alone, with or without a colon.
pub(crate) fn address_of_port(text: &str) -> Option<String> {
    let port = text.strip_prefix(':').unwrap_or(text).parse::<u16>().ok()?;
    Some(format!("127.0.0.1:{port}"))
}

/// The address that may have been meant by a port alone, a URL, a path or the name of an abstract socket.
fn meant(text: &str) -> Option<String> {
    if let Some(address) = address_of_port(text) {
        return Some(address);
    }
    if let Some((_, rest)) = text.split_once("://") {
        let address = rest.split('/').next().unwrap_or_default();
        return address.parse::<HostPort>().ok().map(|address| address.to_string());
    }
    (text.contains('/') || text.starts_with('@')).then(|| format!("unix:{text}"))
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(formatter),
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

/// Why a host's name has no address.
#[derive(Debug, Error)]
#[error("cannot be resolved: {0}")]
pub struct ResolveError(io::Error);

impl Address {
    /// Looks up the host's name. The check whether other hosts can reach the address and the bind both use
    /// this one answer: a second lookup could give another.
    ///
    /// # Errors
    ///
    /// If the name cannot be resolved.
    pub fn resolve(self) -> Result<ResolvedAddress, ResolveError> {
        let sockets = match &self {
            Self::Tcp(HostPort { host, port }) => {
                if host.parse::<IpAddr>().is_err() {
                    note_descriptors();
                }
                let found = (host.as_str(), *port).to_socket_addrs().map_err(ResolveError)?;
                let mut sockets: Vec<SocketAddr> = Vec::new();
                found.for_each(|address| {
                    if !sockets.contains(&address) {
                        sockets.push(address);
                    }
                });
                sockets
            }
            Self::Unix(_) => Vec::new(),
        };
        Ok(ResolvedAddress { address: self, sockets })
    }
}

/// An address and what its host's name was resolved to.
#[derive(Debug, Clone)]
pub struct ResolvedAddress {
    address: Address,
    /// Empty for a unix socket.
    sockets: Vec<SocketAddr>,
}

impl ResolvedAddress {
    /// The address as it was given.
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// The socket addresses of a TCP address, each once.
    pub(crate) fn sockets(&self) -> &[SocketAddr] {
        &self.sockets
    }

    /// Whether a client of this host that connects to `localhost` over IPv4 reaches it.
    pub(crate) fn is_localhost(&self) -> bool {
        self.sockets.iter().any(is_localhost)
    }

    /// Whether only this host can reach it.
    pub(crate) fn is_local(&self) -> bool {
        self.sockets.iter().all(|address| address.ip().to_canonical().is_loopback())
    }
}

/// Whether a socket that is bound to this address is reached at 127.0.0.1. The wildcard of IPv6 takes IPv4,
/// too.
pub(super) fn is_localhost(address: &SocketAddr) -> bool {
    let ip = address.ip().to_canonical();
    ip == Ipv4Addr::LOCALHOST || ip.is_unspecified()
}

impl fmt::Display for ResolvedAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_port_are_parsed_and_printed() {
        for (text, host, port) in [
            ("localhost:80", "localhost", 80),
            ("127.0.0.1:0", "127.0.0.1", 0),
            ("[::1]:65535", "::1", 65535),
            ("-:1", "-", 1),
        ] {
            let parsed: HostPort = text.parse().unwrap();
            assert_eq!((parsed.host.as_str(), parsed.port, parsed.to_string()), (host, port, text.into()));
        }
        for text in ["", "8080", "host", ":1", "[]:1", "::1:80", "[::1:80", "http://x:1"] {
            assert_eq!(text.parse::<HostPort>(), Err(HostPortError::Malformed), "{text}");
        }
        for port in ["", "x", "-1", "65536", " 1"] {
            let error = format!("host:{port}").parse::<HostPort>().unwrap_err();
            assert_eq!(error, HostPortError::InvalidPort(port.into()));
        }
    }

    #[test]
    fn an_address_is_tcp_or_unix() {
        assert_eq!("unix:a:1".parse(), Ok(Address::Unix("a:1".into())));
        assert_eq!(Address::default().to_string(), "127.0.0.1:0");
        for (text, cause) in [
            ("unix:", "expected HOST:PORT, unix:PATH or unix:@NAME"),
            ("unix:@", "expected HOST:PORT, unix:PATH or unix:@NAME"),
            (":8080", "expected HOST:PORT, unix:PATH or unix:@NAME, such as 127.0.0.1:8080"),
            ("8080", "expected HOST:PORT, unix:PATH or unix:@NAME, such as 127.0.0.1:8080"),
            ("http://a:1/x", "expected HOST:PORT, unix:PATH or unix:@NAME, such as a:1"),
            ("http://a", "expected HOST:PORT, unix:PATH or unix:@NAME"),
            ("/run/s", "expected HOST:PORT, unix:PATH or unix:@NAME, such as unix:/run/s"),
            ("unix", "expected HOST:PORT, unix:PATH or unix:@NAME"),
            ("a:b", "'b' is not a port (0 to 65535)"),
        ] {
            assert_eq!(text.parse::<Address>().unwrap_err().to_string(), cause);
        }
    }

    #[test]
    fn localhost_reaches_its_address_and_wildcards() {
        let reached = |text: &str| text.parse::<Address>().unwrap().resolve().unwrap().is_localhost();
        assert!(["127.0.0.1:0", "0.0.0.0:1", "[::]:0", "[::ffff:127.0.0.1]:1"].into_iter().all(reached));
        assert!(!["127.0.0.2:0", "[::1]:0", "192.0.2.1:1", "unix:/x"].into_iter().any(reached));
    }

    #[test]
    fn unix_sockets_and_loopback_addresses_are_local() {
        let local = |text: &str| text.parse::<Address>().unwrap().resolve().unwrap().is_local();
        assert!(
            ["unix:/x", "127.0.0.1:0", "127.9.9.9:1", "[::1]:0", "[::ffff:127.0.0.1]:1"]
                .into_iter()
                .all(local)
        );
        assert!(!["0.0.0.0:0", "[::]:0", "192.0.2.1:1", "[::ffff:192.0.2.1]:1"].into_iter().any(local));
    }
}
