//! Files that the sidecar makes and removes at its end.
//!
//! Any process with write access to a directory can replace a file in it at any time. So a file is removed
//! only if it is still the same one: an open descriptor keeps the inode number from being reused, and the
//! file at the path is compared with it.

use nix::{
    fcntl::{OFlag, open},
    sys::stat::Mode,
};
use std::{
    fs::{self, File, Metadata},
    io,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

/// A file that is removed when this is dropped, if it is still the same.
#[derive(Debug)]
pub struct OwnFile {
    path: PathBuf,
    file: Option<Pinned>,
}

impl OwnFile {
    /// A file that has just been made.
    pub(crate) fn new(path: &Path) -> Self {
        // If it is missing already there is nothing to remove.
        Self { path: path.to_owned(), file: Pinned::open(path).ok() }
    }
}

impl Drop for OwnFile {
    fn drop(&mut self) {
        // Another process may have replaced it.
        if self.file.as_ref().is_some_and(|file| file.is_at(&self.path)) {
            // At exit an error cannot be reported.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A file of any kind, held open so that its inode number is not reused.
#[derive(Debug)]
pub(crate) struct Pinned {
    _file: File,
    identity: (u64, u64),
    pub(crate) is_socket: bool,
}

impl Pinned {
    /// Opens the file at a path, or the symlink itself, without access to its contents.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        // std::fs::OpenOptions drops O_PATH where the C library is musl.
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = File::from(open(path, flags, Mode::empty())?);
        let found = file.metadata()?;
        Ok(Self { _file: file, identity: identity(&found), is_socket: found.file_type().is_socket() })
    }

    /// Whether it is what is at this path.
    pub(crate) fn is_at(&self, path: &Path) -> bool {
        fs::symlink_metadata(path).is_ok_and(|found| identity(&found) == self.identity)
    }
}

fn identity(found: &Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}
