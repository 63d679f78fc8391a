//! Why a socket cannot be bound.

use std::io;
use thiserror::Error;

/// The longest path of a unix socket, in bytes: a NUL follows it (unix(7)).
pub(super) const MAX_PATH_BYTES: usize = 107;

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
    #[error("address in use")]
    AddressInUse,
    #[error(transparent)]
    System(io::Error),
}

impl From<io::Error> for BindError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::AddrInUse => Self::AddressInUse,
            _ => Self::System(error),
        }
    }
}
