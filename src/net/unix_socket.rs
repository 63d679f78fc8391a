//! Unix sockets: permissions, and the ownership of their files.
//!
//! A socket that is bound but not listening yet looks like a stale one, so a socket counts as stale only if
//! it does not listen for some time. Of sidecars that start at the same time one serves.
//!
//! A name that starts with @ is an abstract socket: it has no file, and no permissions.

use super::bind_error::{BindError, MAX_PATH_BYTES, PathTooLong};
use crate::system::own_file::{OwnFile, Pinned};
use nix::{
    errno::Errno,
    sys::{
        socket::{self, AddressFamily, SockFlag, SockType, UnixAddr, socket},
        stat::{Mode, umask},
    },
    unistd::geteuid,
};
use std::{
    ffi::OsString,
    fmt, fs, io,
    os::{
        fd::AsRawFd as _,
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::{OsStrExt as _, OsStringExt as _},
            net::{SocketAddr, UnixListener},
        },
    },
    path::{Path, PathBuf},
    str::FromStr,
    thread,
    time::{Duration, Instant},
};
use thiserror::Error;
use tokio::net::UnixStream;

/// How long a socket must not listen to be stale. Programs listen microseconds after they have bound.
const STALE_AFTER: Duration = Duration::from_millis(100);

/// The interval between attempts to connect.
const RETRY_INTERVAL: Duration = Duration::from_millis(5);

const ALL_PERMISSIONS: u32 = 0o777;
/// Connecting needs write permission.
const OTHERS_MAY_CONNECT: u32 = 0o022;

/// The permissions of a unix socket's file: write permission allows connecting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketMode(u32);

impl Default for SocketMode {
    /// Only the owner may connect.
    fn default() -> Self {
        Self(0o600)
    }
}

impl fmt::Display for SocketMode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:04o}", self.0)
    }
}

/// A text is not a file's permissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("expected permissions in octal, such as 0600 or 0660")]
pub struct SocketModeError;

impl FromStr for SocketMode {
    type Err = SocketModeError;

    fn from_str(word: &str) -> Result<Self, SocketModeError> {
        match u32::from_str_radix(word, 8) {
            Ok(mode @ ..=ALL_PERMISSIONS) => Ok(Self(mode)),
            _ => Err(SocketModeError),
        }
    }
}

impl SocketMode {
    /// Whether a peer of this user is served. If the mode lets no other user connect, only the sidecar's user
    /// and root are, even if the file's mode was changed later.
    pub fn admits(self, uid: u32) -> bool {
        self.0 & OTHERS_MAY_CONNECT != 0 || uid == geteuid().as_raw() || uid == 0
    }
}

/// Whether a path, or the name of an abstract socket, is short enough for a unix socket. The @ stands for a
/// NUL, where a path has one at its end.
///
/// # Errors
///
/// If it is too long.
pub fn check_length(path: &Path) -> Result<(), PathTooLong> {
    let bytes = path.as_os_str().as_bytes();
    let length = bytes.strip_prefix(b"@").unwrap_or(bytes).len();
    if length <= MAX_PATH_BYTES { Ok(()) } else { Err(PathTooLong) }
}

/// The name of an abstract socket, without its @, if this stands for one.
pub fn abstract_name(path: &Path) -> Option<&[u8]> {
    path.as_os_str().as_bytes().strip_prefix(b"@")
}

/// Connects to a socket.
///
/// # Errors
///
/// If it does not exist or does not accept the connection.
pub async fn connect(path: &Path) -> io::Result<UnixStream> {
    match abstract_name(path) {
        // tokio takes a path that starts with NUL for an abstract name.
        Some(name) => UnixStream::connect(OsString::from_vec([b"\0", name].concat())).await,
        None => UnixStream::connect(path).await,
    }
}

/// Binds an abstract socket, or a socket to a path. Its file has these permissions from the start. A socket
/// file without a listener is replaced; any other file at the path is left alone, which is an error. Symlinks
/// are not followed.
///
/// # Errors
///
/// Why it cannot be bound.
pub fn bind(path: &Path, mode: SocketMode) -> Result<(UnixListener, Option<OwnFile>), BindError> {
    check_length(path)?;
    if let Some(name) = abstract_name(path) {
        let bound = UnixListener::bind_addr(&SocketAddr::from_abstract_name(name)?);
        return Ok((bound.map_err(BindError::unix)?, None));
    }
    remove_stale(path)?;
    // The umask is the process's, but no other thread creates files yet.
    let restore = umask(Mode::from_bits_truncate(ALL_PERMISSIONS & !mode.0));
    let bound = UnixListener::bind(path);
    umask(restore);
    Ok((bound.map_err(BindError::unix)?, Some(OwnFile::new(path))))
}

/// Removes a socket file without a listener.
fn remove_stale(path: &Path) -> Result<(), BindError> {
    let found = match Pinned::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    if !found.is_socket {
        return Err(BindError::NotASocket);
    }
    let since = Instant::now();
    while since.elapsed() < STALE_AFTER {
        match try_to_connect(path) {
            Err(Errno::ECONNREFUSED) => thread::sleep(RETRY_INTERVAL),
            // Another sidecar has removed it.
            Err(Errno::ENOENT) => return Ok(()),
            _ => return Err(BindError::SocketInUse),
        }
    }
    // Another sidecar may have put its own socket there meanwhile. What is renamed can be examined without a
    // race.
    let mut removed = path.as_os_str().to_owned();
    removed.push(format!(".{:016x}", fastrand::u64(..)));
    let removed = PathBuf::from(removed);
    match fs::rename(path, &removed) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        renamed => renamed?,
    }
    let is_stale = found.is_at(&removed);
    if !is_stale {
        // Unlike a rename this replaces no file.
        fs::hard_link(&removed, path)?;
    }
    fs::remove_file(&removed)?;
    if is_stale { Ok(()) } else { Err(BindError::SocketInUse) }
}

/// Connects without waiting for a listener that is slow to accept.
fn try_to_connect(path: &Path) -> nix::Result<()> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    socket::connect(socket.as_raw_fd(), &UnixAddr::new(path)?)
}
