//! Where the sidecar listens: addresses, and sockets bound to them before the worker starts.

use nix::sys::stat::{Mode, umask};
use std::{
    fmt, fs, io,
    net::{SocketAddr, TcpListener, ToSocketAddrs as _},
    os::unix::{
        fs::{FileTypeExt as _, MetadataExt as _},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
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
    /// Refuses an address that other hosts can reach.
    ///
    /// # Errors
    ///
    /// What is wrong and what to do.
    pub fn require_local(&self) -> Result<(), String> {
        let Self::Tcp { host, port } = self else {
            return Ok(());
        };
        if resolve(host, *port)?.iter().all(|address| address.ip().to_canonical().is_loopback()) {
            Ok(())
        } else {
            Err("other hosts can reach it: use 127.0.0.1 or unix:PATH, or allow it with --insecure".into())
        }
    }

    /// Binds a socket.
    ///
    /// A unix socket is made with mode 0600. A socket file that nobody listens at any more is replaced; anything
    /// else that is in the way stays.
    ///
    /// # Errors
    ///
    /// Why it cannot be bound.
    pub fn bind(&self) -> Result<Listener, String> {
        match self {
            Self::Tcp { host, port } => {
                let addresses = resolve(host, *port)?;
                let socket = TcpListener::bind(&addresses[..]).map_err(|error| explain(&error))?;
                let address = socket.local_addr().map_err(|error| explain(&error))?;
                Ok(Listener::Tcp { socket, address, chosen: *port == 0 })
            }
            Self::Unix(path) => {
                remove_stale(path)?;
                let restore = umask(Mode::from_bits_truncate(0o177));
                let bound = UnixListener::bind(path);
                umask(restore);
                let socket = bound.map_err(|error| explain(&error))?;
                Ok(Listener::Unix { socket, path: path.clone() })
            }
        }
    }
}

fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let addresses = (host, port).to_socket_addrs().map_err(|error| format!("cannot be resolved: {error}"))?;
    Ok(addresses.collect())
}

/// Removes a socket file that nobody listens at.
fn remove_stale(path: &Path) -> Result<(), String> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(explain(&error)),
        Ok(found) if !found.file_type().is_socket() => {
            Err("a file that is not a socket is in the way".into())
        }
        Ok(_) => match UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path).map_err(|error| explain(&error))
            }
            _ => Err("address in use: something listens at this socket".into()),
        },
    }
}

fn explain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "address in use".into(),
        io::ErrorKind::InvalidInput => "the path is too long for a unix socket (107 bytes at most)".into(),
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

    /// The file to remove at exit.
    pub fn socket_file(&self) -> Option<SocketFile> {
        match self {
            Self::Tcp { .. } => None,
            Self::Unix { path, .. } => Some(SocketFile { path: path.clone(), identity: identity(path) }),
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

/// The file of a unix socket, removed when dropped if it is still the same.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    identity: Option<(u64, u64)>,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Somebody may have put another one there since.
        if self.identity.is_some() && identity(&self.path) == self.identity {
            // At exit there is nobody to tell.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let found = fs::symlink_metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}
