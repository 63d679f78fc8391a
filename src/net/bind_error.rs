//! Why a socket cannot be bound.

use std::io;
use thiserror::Error;

/// The longest path of a unix socket, in bytes: a NUL follows it (unix(7)).
pub(super) const MAX_PATH_BYTES: usize = 107;

/// Every user may bind a port from this one on; /proc/sys/net/ipv4/ip_unprivileged_port_start may be lower.
const FIRST_FREE_PORT: u16 = 1024;

/// A path is too long for a unix socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the path is too long for a unix socket ({MAX_PATH_BYTES} bytes at most)")]
pub struct PathTooLong;

/// Why a socket cannot be bound.
#[derive(Debug, Error)]
pub enum BindError {
    #[error(transparent)]
    PathTooLong(#[from] PathTooLong),
    #[error("a file that is not a socket is in the way")]
    NotASocket,
    #[error("address in use: something listens at this socket")]
    SocketInUse,
    #[error("address in use: name another port, or port 0 for any that is free")]
    PortInUse,
    #[error("{0}: ports below {FIRST_FREE_PORT} are for root")]
    Privileged(io::Error),
    #[error("this host does not have the address")]
    NotLocal,
    #[error(transparent)]
    System(#[from] io::Error),
}

impl BindError {
    /// The meaning of an error of a TCP socket that was to be bound to this port.
    pub(super) fn tcp(error: io::Error, port: u16) -> Self {
        match error.kind() {
            io::ErrorKind::AddrInUse => Self::PortInUse,
            io::ErrorKind::AddrNotAvailable => Self::NotLocal,
            io::ErrorKind::PermissionDenied if (1..FIRST_FREE_PORT).contains(&port) => {
                Self::Privileged(error)
            }
            _ => Self::System(error),
        }
    }

    /// The meaning of an error of a unix socket that was to be bound.
    pub(super) fn unix(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::AddrInUse => Self::SocketInUse,
            _ => Self::System(error),
        }
    }
}
