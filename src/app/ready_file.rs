//! The file that says where the sidecar listens.
//!
//! The path may be wrong, or another user may have put something there: only what is a ready file, or empty,
//! is ever replaced.

use crate::{
    net::listener::Listener,
    system::{
        fd::write_all,
        file_error::directory,
        open::{inherited, open_append},
        option::Given,
    },
};
use nix::fcntl::OFlag;
use std::{
    fmt::Write as _,
    fs::{self, File, OpenOptions, Permissions},
    io::{self, ErrorKind, Read as _, Write as _},
    net::SocketAddr,
    os::{
        fd::OwnedFd,
        unix::{
            fs::{FileTypeExt as _, OpenOptionsExt as _, PermissionsExt as _},
            net::{UnixDatagram, UnixStream},
        },
    },
    path::{Path, PathBuf},
};

/// No ready file is longer: it has a line for each address.
pub(super) const MAX_BYTES: u64 = 64 * 1024;

/// What new files are allowed by default; the umask takes away from it.
const MODE: u32 = 0o666;

/// Where to write the addresses, checked before anything else is started.
#[derive(Debug)]
pub struct ReadyFile {
    file: Given<PathBuf>,
    target: Target,
    old: Old,
}

/// Which existing files may be replaced: those of an earlier sidecar.
#[derive(Debug, Clone, Copy)]
pub(super) struct Old {
    /// What it is, in error messages.
    pub(super) what: &'static str,
    /// No such file is longer, in bytes.
    pub(super) max_bytes: u64,
    /// Whether the content is that of such a file.
    pub(super) is_one: fn(&[u8]) -> bool,
}

#[derive(Debug)]
enum Target {
    /// A file to be made. Nothing is there, or an old ready file was removed.
    New(PathBuf),
    /// A FIFO, a device, a socket or an inherited descriptor, which is written into.
    Open(File),
}

impl ReadyFile {
    /// Removes the ready file that another sidecar has left: it must not be taken for this one's. Opens what
    /// is to be written into.
    ///
    /// # Errors
    ///
    /// If something else is at the path, or it cannot be opened.
    pub fn prepare(file: &Given<PathBuf>) -> Result<Self, String> {
        Self::prepare_with(file, Old { what: "a ready file", max_bytes: MAX_BYTES, is_one: is_ready_file })
    }

    /// The same for a file with other content.
    ///
    /// # Errors
    ///
    /// If something else is at the path, or it cannot be opened.
    pub(super) fn prepare_with(file: &Given<PathBuf>, old: Old) -> Result<Self, String> {
        let target = target(&file.value, old).map_err(|error| file.origin.error(error))?;
        Ok(Self { file: file.clone(), target, old })
    }

    /// The same for a file that is written when it is too late for an error.
    ///
    /// # Errors
    ///
    /// Also if no file can be made in the directory.
    pub(super) fn prepare_for_later(file: &Given<PathBuf>, old: Old) -> Result<Self, String> {
        let prepared = Self::prepare_with(file, old)?;
        if let Target::New(path) = &prepared.target {
            // Removed at once.
            tempfile::tempfile_in(directory(path)).map_err(|error| file.origin.error(error))?;
        }
        Ok(prepared)
    }

    /// Whether it is written into, which may have to wait for a reader.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.target, Target::Open(_))
    }

    /// The path that was named.
    pub(super) fn path(&self) -> &Path {
        &self.file.value
    }

    /// Writes a line for each listener, and then one for each other address, with its name.
    ///
    /// # Errors
    ///
    /// Why it cannot be written.
    pub fn write(self, listeners: &[Listener], served: &[(&str, SocketAddr)]) -> Result<(), String> {
        let mut lines = String::new();
        for listener in listeners {
            let _ = writeln!(lines, "{}", listener.ready_line());
        }
        for (name, address) in served {
            let _ = writeln!(lines, "{name} {}", address.port());
        }
        self.write_text(&lines)
    }

    /// Writes this text. A file is written under a temporary name and then renamed, so that readers see all
    /// of it or nothing.
    ///
    /// # Errors
    ///
    /// Why it cannot be written.
    pub(super) fn write_text(self, text: &str) -> Result<(), String> {
        let written = match self.target {
            Target::Open(file) => write_all(file, text.as_bytes()).map_err(|partial| partial.error),
            Target::New(path) => write_new(&path, text.as_bytes(), self.old),
        };
        written.map_err(|error| self.file.origin.error(error))
    }
}

fn target(path: &Path, old: Old) -> io::Result<Target> {
    if let Some(opened) = inherited(path) {
        return opened.map(Target::Open);
    }
    let found = match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if fs::symlink_metadata(path).is_ok() {
                return Err(io::Error::other("it is a symbolic link to a file that does not exist"));
            }
            // If the directory is missing nothing else is to be started.
            fs::metadata(directory(path))?;
            return Ok(Target::New(path.to_owned()));
        }
        found => found?.file_type(),
    };
    if found.is_file() {
        if !is_replaceable(path, old)? {
            let what = old.what;
            return Err(io::Error::other(format!(
                "the file there is not {what}; remove it or name another path"
            )));
        }
        // What a link leads to is replaced, not the link.
        let path = fs::canonicalize(path)?;
        fs::remove_file(&path)?;
        Ok(Target::New(path))
    } else if found.is_fifo() || found.is_char_device() {
        open_append(path).map(Target::Open)
    } else if found.is_socket() {
        connect(path).map(|socket| Target::Open(socket.into()))
    } else if found.is_dir() {
        Err(ErrorKind::IsADirectory.into())
    } else {
        // To write to the start of a disk would destroy what is on it.
        Err(io::Error::other("it is a block device"))
    }
}

/// Connects to a stream socket or a datagram socket.
fn connect(path: &Path) -> io::Result<OwnedFd> {
    let wrong_type = |error: &io::Error| error.raw_os_error() == Some(nix::libc::EPROTOTYPE);
    match UnixStream::connect(path) {
        Err(error) if wrong_type(&error) => {
            let socket = UnixDatagram::unbound()?;
            socket.connect(path)?;
            Ok(socket.into())
        }
        connected => connected.map(Into::into),
    }
}

/// Whether the regular file is empty or an old one.
fn is_replaceable(path: &Path, old: Old) -> io::Result<bool> {
    // If it has become a FIFO in the meantime, opening it must not wait.
    let file = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
    let mut content = Vec::new();
    file.take(old.max_bytes + 1).read_to_end(&mut content)?;
    let is_short = content.len() as u64 <= old.max_bytes;
    Ok(content.is_empty() || is_short && (old.is_one)(&content))
}

/// Whether all lines are complete and like those of [`ReadyFile::write`].
fn is_ready_file(content: &[u8]) -> bool {
    let Some(content) = content.strip_suffix(b"\n") else { return false };
    let is_port = |word: &[u8]| matches!(word.len(), 1..=5) && word.iter().all(u8::is_ascii_digit);
    let mut lines = content.split(|byte| *byte == b'\n');
    lines.all(|line| match line.iter().position(|byte| *byte == b' ') {
        _ if line.starts_with(b"unix:") => true,
        Some(space) => {
            let (name, port) = (&line[..space], &line[space + 1..]);
            !name.is_empty() && name.iter().all(u8::is_ascii_lowercase) && is_port(port)
        }
        None => is_port(line),
    })
}

/// Makes the file. Other users may be able to write to the directory, as to /tmp: the temporary name cannot
/// be predicted, and a file that has it already is never written to.
fn write_new(path: &Path, content: &[u8], old: Old) -> io::Result<()> {
    let mut temporary =
        tempfile::Builder::new().permissions(Permissions::from_mode(MODE)).tempfile_in(directory(path))?;
    temporary.write_all(content)?;
    let Err(exists) = temporary.persist_noclobber(path) else { return Ok(()) };
    if exists.error.kind() != ErrorKind::AlreadyExists {
        return Err(exists.error);
    }
    // Made since the start: by another sidecar, or it is the file of another option as well.
    let is_ready_file = fs::symlink_metadata(path).is_ok_and(|found| found.is_file() && found.len() > 0)
        && is_replaceable(path, old)?;
    if !is_ready_file {
        return Err(io::Error::other("another file was made there since the start"));
    }
    exists.file.persist(path).map(drop).map_err(|failed| failed.error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_sidecar_writes_is_taken_for_a_ready_file() {
        for content in ["50051\n", "0\n1\n", "unix:/run/w.sock\n", "50051\nunix:@x y\nprometheus 9464\n"] {
            assert!(is_ready_file(content.as_bytes()), "{content:?}");
        }
        let other = [
            "\n",
            "text\n",
            "123456\n",
            "50051\n\n",
            "5005x\n",
            "a b\n",
            " 1\n",
            "50051",
            "Port 1\n",
            "1\nTELEMETRY:{}\n",
        ];
        for content in other {
            assert!(!is_ready_file(content.as_bytes()), "{content:?}");
        }
    }
}
