//! Sockets to listen on. They are bound before the worker starts.

use super::{
    address::{Address, HostPort, ResolvedAddress},
    bind_error::BindError,
    unix_socket::{self, SocketFile, SocketMode},
};
use std::{
    fmt,
    net::{SocketAddr, TcpListener},
    os::unix::net::UnixListener,
    path::PathBuf,
};

/// A bound socket.
#[derive(Debug)]
pub enum Listener {
    Tcp {
        socket: TcpListener,
        address: SocketAddr,
        /// Whether the system chose the port.
        chosen: bool,
    },
    Unix {
        socket: UnixListener,
        path: PathBuf,
        /// `None` after [`take_file`](Listener::take_file).
        file: Option<SocketFile>,
        mode: SocketMode,
    },
}

impl Listener {
    /// Binds a socket.
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
                let socket = TcpListener::bind(address.sockets())?;
                let address = socket.local_addr()?;
                Ok(Self::Tcp { socket, address, chosen: *port == 0 })
            }
            Address::Unix(path) => {
                let (socket, file) = unix_socket::bind(path, mode)?;
                Ok(Self::Unix { socket, path: path.clone(), file: Some(file), mode })
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
    pub fn take_file(&mut self) -> Option<SocketFile> {
        match self {
            Self::Tcp { .. } => None,
            Self::Unix { file, .. } => file.take(),
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
            Self::Tcp { address, .. } => address.fmt(formatter),
            Self::Unix { path, .. } => write!(formatter, "unix:{}", path.display()),
        }
    }
}
