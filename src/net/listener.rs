//! Where the sidecar listens: addresses, and sockets bound to them before the worker starts.

use super::unix_socket::{self, SocketFile, SocketMode};
use std::{
    fmt, io,
    net::{SocketAddr, TcpListener, ToSocketAddrs as _},
    os::unix::net::UnixListener,
    path::PathBuf,
    str::FromStr,
};

/// An address to listen at, or to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// `HOST:PORT`
    Tcp {
        /// A name or an address; IPv6 addresses in brackets.
        host: String,
        /// 0 lets the system choose.
        port: u16,
    },
    /// `unix:PATH`
    Unix(PathBuf),
}

impl Default for Address {
    /// Any free port, for this host alone.
    fn default() -> Self {
        Self::Tcp { host: "127.0.0.1".into(), port: 0 }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let expected = "expected HOST:PORT or unix:PATH";
        if let Some(path) = word.strip_prefix("unix:") {
            return if path.is_empty() { Err(expected.into()) } else { Ok(Self::Unix(path.into())) };
        }
        let (host, port) = word.rsplit_once(':').ok_or(expected)?;
        if host.is_empty() || (host.contains(':') && !(host.starts_with('[') && host.ends_with(']'))) {
            return Err(expected.into());
        }
        let port = port.parse().map_err(|_| format!("'{port}' is not a port (0 to 65535)"))?;
        Ok(Self::Tcp { host: host.to_owned(), port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } => write!(formatter, "{host}:{port}"),
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

impl Address {
    /// Whether this host alone can reach it.
    ///
    /// # Errors
    ///
    /// If the name cannot be resolved.
    pub fn is_local(&self) -> Result<bool, String> {
        let Self::Tcp { host, port } = self else {
            return Ok(true);
        };
        Ok(resolve(host, *port)?.iter().all(|address| address.ip().to_canonical().is_loopback()))
    }

    /// Binds a socket.
    ///
    /// A unix socket is made with this mode. A socket file that nobody listens at any more is replaced; anything else
    /// that is in the way stays.
    ///
    /// # Errors
    ///
    /// Why it cannot be bound.
    pub fn bind(&self, mode: SocketMode) -> Result<Listener, String> {
        match self {
            Self::Tcp { host, port } => {
                let addresses = resolve(host, *port)?;
                let socket = TcpListener::bind(&addresses[..]).map_err(|error| explain(&error))?;
                let address = socket.local_addr().map_err(|error| explain(&error))?;
                Ok(Listener::Tcp { socket, address, chosen: *port == 0 })
            }
            Self::Unix(path) => {
                let (socket, file) = unix_socket::bind(path, mode)?;
                Ok(Listener::Unix { socket, path: path.clone(), file: Some(file), mode })
            }
        }
    }
}

fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let addresses = (host, port).to_socket_addrs().map_err(|error| format!("cannot be resolved: {error}"))?;
    Ok(addresses.collect())
}

fn explain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "address in use".into(),
        _ => error.to_string(),
    }
}

/// A bound socket.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp {
        /// The socket.
        socket: TcpListener,
        /// What it is bound to.
        address: SocketAddr,
        /// Whether the system chose the port.
        chosen: bool,
    },
    /// A unix socket.
    Unix {
        /// The socket.
        socket: UnixListener,
        /// Its path.
        path: PathBuf,
        /// Its file, until somebody has [taken](Listener::take_file) it.
        file: Option<SocketFile>,
        /// The permissions of its file.
        mode: SocketMode,
    },
}

impl Listener {
    /// What a ready file says of it.
    pub fn ready_line(&self) -> String {
        match self {
            Self::Tcp { address, .. } => address.port().to_string(),
            Self::Unix { path, .. } => format!("unix:{}", path.display()),
        }
    }

    /// The file to remove at exit, which is when it is dropped.
    pub fn take_file(&mut self) -> Option<SocketFile> {
        match self {
            Self::Tcp { .. } => None,
            Self::Unix { file, .. } => file.take(),
        }
    }

    /// The port that has to be announced because nobody could know it.
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
            Self::Tcp { address, .. } => address.fmt(formatter),
            Self::Unix { path, .. } => write!(formatter, "unix:{}", path.display()),
        }
    }
}
