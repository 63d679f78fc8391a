//! Sockets to listen on. They are bound before the worker starts.

use super::{
    address::{Address, HostPort, ResolvedAddress, is_localhost},
    bind_error::BindError,
    unix_socket::{self, SocketMode},
};
use crate::system::own_file::OwnFile;
use nix::libc;
use std::{
    fmt, io,
    net::{IpAddr, SocketAddr, TcpListener},
    os::unix::net::UnixListener,
    path::PathBuf,
};

/// How many ports to try until one is free at all addresses.
const PORT_ATTEMPTS: usize = 32;

/// What is bound to an address.
#[derive(Debug)]
pub enum Listener {
    Tcp {
        /// One for each address of the host, all with the same port.
        sockets: Vec<TcpListener>,
        /// The address of the first.
        address: SocketAddr,
        /// Whether the system chose the port.
        chosen: bool,
    },
    Unix {
        socket: UnixListener,
        path: PathBuf,
        /// `None` after [`take_file`](Listener::take_file), and for an abstract socket.
        file: Option<OwnFile>,
        mode: SocketMode,
    },
}

impl Listener {
    /// Binds every address that a host's name was resolved to, or a unix socket.
    ///
    /// A unix socket's file gets this mode. A socket file without a listener is replaced; any other file at
    /// the path is left alone, which is an error.
    ///
    /// # Errors
    ///
    /// Why it cannot be bound.
    pub fn bind(address: &ResolvedAddress, mode: SocketMode) -> Result<Self, BindError> {
        match address.address() {
            Address::Tcp(HostPort { port, .. }) => {
                let (sockets, bound) =
                    bind_tcp(address.sockets(), *port).map_err(|error| BindError::tcp(error, *port))?;
                Ok(Self::Tcp { sockets, address: bound, chosen: *port == 0 })
            }
            Address::Unix(path) => {
                let (socket, file) = unix_socket::bind(path, mode)?;
                Ok(Self::Unix { socket, path: path.clone(), file, mode })
            }
        }
    }

    /// The listener's line in the ready file.
    pub fn ready_line(&self) -> String {
        match self {
            Self::Tcp { address, .. } => address.port().to_string(),
            Self::Unix { path, .. } => format!("unix:{}", path.display()),
        }
    }

    /// The socket's file, which is removed when it is dropped.
    pub fn take_file(&mut self) -> Option<OwnFile> {
        match self {
            Self::Tcp { .. } => None,
            Self::Unix { file, .. } => file.take(),
        }
    }

    /// The port at which a client of this host that connects to `localhost` over IPv4 reaches it.
    pub fn localhost_port(&self) -> Option<u16> {
        let Self::Tcp { sockets, .. } = self else { return None };
        let addresses = sockets.iter().filter_map(|socket| socket.local_addr().ok());
        addresses.filter(is_localhost).map(|address| address.port()).next()
    }

    /// Whether a client of this host that connects to this address reaches it.
    pub fn is_at(&self, other: &Address) -> bool {
        match (self, other) {
            (Self::Tcp { sockets, .. }, Address::Tcp(HostPort { host, port })) => {
                let own = sockets.iter().filter_map(|socket| socket.local_addr().ok());
                let mut own = own.filter(|own| own.port() == *port).map(|own| own.ip().to_canonical());
                match host.parse::<IpAddr>() {
                    Ok(ip) => own.any(|own| own == ip || own.is_unspecified() && ip.is_loopback()),
                    Err(_) => host == "localhost" && own.any(|own| own.is_loopback() || own.is_unspecified()),
                }
            }
            (Self::Unix { path, .. }, Address::Unix(other)) => path == other,
            _ => false,
        }
    }

    /// The port if the system chose it: it has to be announced.
    pub fn announced_port(&self) -> Option<u16> {
        match self {
            Self::Tcp { address, chosen: true, .. } => Some(address.port()),
            _ => None,
        }
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { sockets, address, .. } => {
                address.fmt(formatter)?;
                let others = sockets.iter().skip(1).filter_map(|socket| socket.local_addr().ok());
                others.into_iter().try_for_each(|other| write!(formatter, " and {other}"))
            }
            Self::Unix { path, .. } => write!(formatter, "unix:{}", path.display()),
        }
    }
}

/// Binds all addresses to the port; 0 stands for any that is free at all of them. Addresses that this host
/// does not have are left out as long as it has one: `localhost` may name ::1 where there is no IPv6.
fn bind_tcp(addresses: &[SocketAddr], port: u16) -> io::Result<(Vec<TcpListener>, SocketAddr)> {
    let mut attempts = if port == 0 { PORT_ATTEMPTS } else { 1 };
    loop {
        attempts -= 1;
        match bind_same_port(addresses, port) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempts > 0 => {}
            bound => return bound,
        }
    }
}

fn bind_same_port(addresses: &[SocketAddr], mut port: u16) -> io::Result<(Vec<TcpListener>, SocketAddr)> {
    let (mut sockets, mut first, mut unavailable) = (Vec::new(), None, None);
    for address in addresses {
        match TcpListener::bind((address.ip(), port)) {
            Ok(socket) => {
                let bound = socket.local_addr()?;
                port = bound.port();
                first.get_or_insert(bound);
                sockets.push(socket);
            }
            Err(error) if is_unavailable(&error) => unavailable = Some(error),
            Err(error) => return Err(error),
        }
    }
    match first {
        Some(first) => Ok((sockets, first)),
        None => Err(unavailable.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into())),
    }
}

fn is_unavailable(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(libc::EAFNOSUPPORT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(address: &str) -> ResolvedAddress {
        address.parse::<Address>().unwrap().resolve().unwrap()
    }

    #[test]
    fn all_addresses_have_the_same_port_and_those_that_do_not_exist_are_left_out() {
        let ip = |ip: &str| SocketAddr::new(ip.parse().unwrap(), 0);
        let addresses = [ip("192.0.2.1"), ip("127.0.0.1"), ip("127.0.0.2")];
        let (sockets, first) = bind_tcp(&addresses, 0).unwrap();
        let bound: Vec<_> = sockets.iter().map(|socket| socket.local_addr().unwrap()).collect();
        let expected = |address: &str| SocketAddr::new(address.parse().unwrap(), first.port());
        assert_eq!(bound, [expected("127.0.0.1"), expected("127.0.0.2")]);
        assert!(first.port() != 0 && first == bound[0]);

        assert_eq!(bind_tcp(&addresses[..1], 0).unwrap_err().kind(), io::ErrorKind::AddrNotAvailable);
    }

    #[test]
    fn a_port_that_is_taken_at_one_address_is_an_error() {
        let taken = TcpListener::bind("127.0.0.2:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let addresses = ["127.0.0.1", "127.0.0.2"].map(|ip| SocketAddr::new(ip.parse().unwrap(), port));
        assert_eq!(bind_tcp(&addresses, port).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn a_name_is_bound_at_every_address() {
        let localhost = resolved("localhost:0");
        let listener = Listener::bind(&localhost, SocketMode::default()).unwrap();
        let Listener::Tcp { sockets, address, chosen: true } = &listener else { panic!("{listener:?}") };
        assert!(!sockets.is_empty() && sockets.len() <= localhost.sockets().len());
        for socket in sockets {
            let bound = socket.local_addr().unwrap();
            assert_eq!(bound.port(), address.port());
            assert!(listener.to_string().contains(&bound.to_string()), "{listener}");
        }
        assert_eq!(listener.ready_line(), address.port().to_string());
    }
}
