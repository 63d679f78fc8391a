//! Unix sockets: who may reach one, and whose file it is.
//!
//! A path is a name that anybody with a right to its directory may give to something else at any moment. So nothing
//! is removed for its name alone: an open descriptor keeps the inode from being used again, and what has the name
//! is compared with it.

use nix::{
    fcntl::OFlag,
    sys::stat::{Mode, umask},
    unistd::geteuid,
};
use std::{
    fs::{self, File, Metadata, OpenOptions},
    io,
    os::unix::{
        fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    str::FromStr,
};

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

/// Binds a socket to a path, which has these permissions from its first moment. A socket that nobody listens at any
/// more is replaced; anything else that is in the way stays. No symlink is followed.
///
/// # Errors
///
/// Why it cannot be bound.
pub fn bind(path: &Path, mode: SocketMode) -> Result<UnixListener, String> {
    remove_stale(path)?;
    // Nothing else runs yet that could make a file meanwhile.
    let restore = umask(Mode::from_bits_truncate(ALL_PERMISSIONS & !mode.0));
    let bound = UnixListener::bind(path);
    umask(restore);
    bound.map_err(|error| explain(&error))
}

/// Removes a socket file that nobody listens at.
fn remove_stale(path: &Path) -> Result<(), String> {
    let found = match Pinned::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found.map_err(|error| explain(&error))?,
    };
    if !found.metadata.file_type().is_socket() {
        return Err("a file that is not a socket is in the way".into());
    }
    match UnixStream::connect(path) {
        // The one that refused, or there is another now: that of a sidecar started at the same time.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused && found.is_at(path) => {
            fs::remove_file(path).map_err(|error| explain(&error))
        }
        _ => Err("address in use: something listens at this socket".into()),
    }
}

fn explain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "address in use".into(),
        io::ErrorKind::InvalidInput => "the path is too long for a unix socket (107 bytes at most)".into(),
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
    pub fn new(path: &Path) -> Self {
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
    metadata: Metadata,
}

impl Pinned {
    /// Holds what is at a path, be it a symlink, without opening what that stands for.
    fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW;
        let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
        Ok(Self { metadata: file.metadata()?, _file: file })
    }

    /// Whether it is what is at this path.
    fn is_at(&self, path: &Path) -> bool {
        let identity = |metadata: &Metadata| (metadata.dev(), metadata.ino());
        fs::symlink_metadata(path).is_ok_and(|found| identity(&found) == identity(&self.metadata))
    }
}
