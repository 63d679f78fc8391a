//! Unix sockets: who may reach one, and whose file it is.
//!
//! A path is a name that anybody with a right to its directory may give to something else at any moment. So nothing
//! is removed for its name alone: an open descriptor keeps the inode from being used again, and what has the name
//! is compared with it.
//!
//! A socket that is bound and does not listen yet looks as one does that nobody listens at any more. So sidecars that are
//! started at the same time take turns: whoever binds in a directory has a lock on it.

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg, OFlag},
    sys::{
        socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket},
        stat::{Mode, umask},
    },
    unistd::geteuid,
};
use std::{
    fmt,
    fs::{self, File, Metadata, OpenOptions},
    io,
    os::{
        fd::AsRawFd as _,
        unix::{
            fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _},
            net::UnixListener,
        },
    },
    path::{Path, PathBuf},
    str::FromStr,
    thread,
    time::{Duration, Instant},
};

/// The longest path, in bytes: a NUL follows it (unix(7)).
const MAX_PATH_BYTES: usize = 107;

/// How long to wait for one's turn. A turn takes microseconds; a stranger with a lock is not to keep a sidecar from starting.
const TURN_PATIENCE: Duration = Duration::from_secs(5);

/// How often one's turn is asked for.
const ASK: Duration = Duration::from_millis(2);

const ALL_PERMISSIONS: u32 = 0o777;
/// To connect is to write.
const OTHERS_MAY_CONNECT: u32 = 0o022;

/// The permissions of a unix socket's file: whoever may write to it may connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketMode(u32);

impl Default for SocketMode {
    /// The owner's alone.
    fn default() -> Self {
        Self(0o600)
    }
}

impl fmt::Display for SocketMode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:04o}", self.0)
    }
}

impl FromStr for SocketMode {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match u32::from_str_radix(word, 8) {
            Ok(mode @ ..=ALL_PERMISSIONS) => Ok(Self(mode)),
            _ => Err("expected permissions in octal, such as 0600 or 0660".into()),
        }
    }
}

impl SocketMode {
    /// Whether a peer of this user is to be served: with a mode that lets nobody else connect only the sidecar's own
    /// and root, whatever has become of the file since.
    pub fn admits(self, uid: u32) -> bool {
        self.0 & OTHERS_MAY_CONNECT != 0 || uid == geteuid().as_raw() || uid == 0
    }
}

/// Whether a path is short enough for a unix socket.
///
/// # Errors
///
/// That it is not.
pub fn check_length(path: &Path) -> Result<(), String> {
    if path.as_os_str().len() <= MAX_PATH_BYTES {
        Ok(())
    } else {
        Err(format!("the path is too long for a unix socket ({MAX_PATH_BYTES} bytes at most)"))
    }
}

/// Binds a socket to a path, which has these permissions from its first moment. A socket that nobody listens at any
/// more is replaced; anything else that is in the way stays. No symlink is followed.
///
/// # Errors
///
/// Why it cannot be bound.
pub fn bind(path: &Path, mode: SocketMode) -> Result<(UnixListener, SocketFile), String> {
    check_length(path)?;
    let _turn = take_turn(path);
    remove_stale(path)?;
    // Nothing else runs yet that could make a file meanwhile.
    let restore = umask(Mode::from_bits_truncate(ALL_PERMISSIONS & !mode.0));
    let bound = UnixListener::bind(path);
    umask(restore);
    let listener = bound.map_err(|error| explain(&error))?;
    Ok((listener, SocketFile::new(path)))
}

/// Waits until no other sidecar is binding in this directory. Without the right to read it there is no telling.
fn take_turn(path: &Path) -> Option<Flock<File>> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let flags = OFlag::O_DIRECTORY | OFlag::O_NONBLOCK;
    let options = OpenOptions::new().read(true).custom_flags(flags.bits()).to_owned();
    let mut directory = options.open(directory.unwrap_or(Path::new("."))).ok()?;
    let deadline = Instant::now() + TURN_PATIENCE;
    loop {
        directory = match Flock::lock(directory, FlockArg::LockExclusiveNonblock) {
            Ok(turn) => return Some(turn),
            Err((directory, Errno::EWOULDBLOCK)) if Instant::now() < deadline => directory,
            Err(_) => return None,
        };
        thread::sleep(ASK);
    }
}

/// Removes a socket file that nobody listens at.
fn remove_stale(path: &Path) -> Result<(), String> {
    let found = match Pinned::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found.map_err(|error| explain(&error))?,
    };
    if !found.is_socket {
        return Err("a file that is not a socket is in the way".into());
    }
    match try_to_connect(path) {
        // The one that refused, or somebody has put another there since.
        Err(Errno::ECONNREFUSED) if found.is_at(path) => {
            fs::remove_file(path).map_err(|error| explain(&error))
        }
        _ => Err("address in use: something listens at this socket".into()),
    }
}

/// Connects, but does not wait for somebody who is slow to accept.
fn try_to_connect(path: &Path) -> nix::Result<()> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    connect(socket.as_raw_fd(), &UnixAddr::new(path)?)
}

fn explain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "address in use".into(),
        _ => error.to_string(),
    }
}

/// The file of a unix socket, removed when dropped if it is still the same.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    file: Option<Pinned>,
}

impl SocketFile {
    /// The file of a socket that has just been bound.
    fn new(path: &Path) -> Self {
        // If it is gone already there is nothing to remove.
        Self { path: path.to_owned(), file: Pinned::open(path).ok() }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Somebody may have put another one there since.
        if self.file.as_ref().is_some_and(|file| file.is_at(&self.path)) {
            // At exit there is nobody to tell.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A file of any kind, held so that its inode's number is given to no other.
#[derive(Debug)]
struct Pinned {
    _file: File,
    identity: (u64, u64),
    is_socket: bool,
}

impl Pinned {
    /// Holds what is at a path, be it a symlink, without opening what that stands for.
    fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW;
        let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
        let found = file.metadata()?;
        Ok(Self { _file: file, identity: identity(&found), is_socket: found.file_type().is_socket() })
    }

    /// Whether it is what is at this path.
    fn is_at(&self, path: &Path) -> bool {
        fs::symlink_metadata(path).is_ok_and(|found| identity(&found) == self.identity)
    }
}

fn identity(found: &Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}
