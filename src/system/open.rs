//! Opening and reading files that options name.
//!
//! A path may be a FIFO without a process at its other end. The sidecar does not handle signals yet while it
//! starts, so it never waits for that process without a limit.

use super::fd::{is_transient, wait};
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, FdFlag, OFlag, fcntl},
    libc,
    poll::PollFlags,
};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _},
    os::{
        fd::{BorrowedFd, RawFd},
        unix::fs::{FileTypeExt as _, OpenOptionsExt as _},
    },
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// How long to wait for the reader of a FIFO, which may be starting at the same time.
const READER_TIMEOUT: Duration = Duration::from_secs(2);

/// Time between two attempts to open a FIFO.
const RETRY_INTERVAL: Duration = Duration::from_millis(5);

/// How long to wait for data, in milliseconds: the command at the other end of a FIFO may have to make a
/// token first.
const DATA_TIMEOUT_MS: u16 = 5000;

/// How many symbolic links may lead to a descriptor (`/dev/stdout` is one).
const MAX_LINKS: usize = 8;

/// Opens a file to append to; a new one gets mode 0600, because a worker's output may be confidential.
///
/// `/dev/stdout`, `/dev/fd/N` and the like are [duplicates](inherited) of the descriptors.
///
/// # Errors
///
/// Those of opening a file, or that it is a FIFO without a reader.
pub fn open_append(path: &Path) -> io::Result<File> {
    if let Some(opened) = inherited(path) {
        return opened;
    }
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600);
    options.custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits());
    let deadline = Instant::now() + READER_TIMEOUT;
    let file = loop {
        match options.open(path) {
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) && is_fifo(path) => {
                if Instant::now() >= deadline {
                    return Err(io::Error::other("a FIFO without a reader"));
                }
                thread::sleep(RETRY_INTERVAL);
            }
            opened => break opened?,
        }
    };
    // Only opening must not block.
    let flags = OFlag::from_bits_retain(fcntl(&file, FcntlArg::F_GETFL)?);
    fcntl(&file, FcntlArg::F_SETFL(flags - OFlag::O_NONBLOCK))?;
    Ok(file)
}

/// A duplicate of the inherited descriptor that this path names, as `/dev/stderr` and `/dev/fd/N` do.
///
/// If it were opened again instead, a regular file behind it would have two positions, and each writer would
/// overwrite the other's data. A socket cannot be opened again at all.
pub fn inherited(path: &Path) -> Option<io::Result<File>> {
    let number = descriptor_number(path)?;
    // SAFETY: it is used for two system calls only, which fail if it is not open.
    let fd = unsafe { BorrowedFd::borrow_raw(number) };
    // The sidecar's own descriptors are closed on exec, inherited ones are not.
    let is_inherited = match fcntl(fd, FcntlArg::F_GETFD) {
        Ok(flags) => !FdFlag::from_bits_retain(flags).contains(FdFlag::FD_CLOEXEC),
        Err(_) => false,
    };
    if !is_inherited {
        return Some(Err(Errno::EBADF.into()));
    }
    Some(fd.try_clone_to_owned().map(File::from))
}

/// The number of this process's descriptor that the path names, through symbolic links.
fn descriptor_number(path: &Path) -> Option<RawFd> {
    let descriptors = fs::canonicalize("/proc/self/fd").ok()?;
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        let parent = fs::canonicalize(path.parent()?).ok()?;
        if parent == descriptors {
            return path.file_name()?.to_str()?.parse().ok().filter(|number| *number >= 0);
        }
        path = parent.join(fs::read_link(&path).ok()?);
    }
    None
}

fn is_fifo(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo())
}

/// Reads a file up to its end, but at most `max_bytes` of it.
///
/// # Errors
///
/// Those of opening and reading, or that no data arrives within 5 seconds.
pub fn read_at_most(path: &Path, max_bytes: usize) -> io::Result<Vec<u8>> {
    let mut file = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    while bytes.len() < max_bytes {
        // Reading a FIFO that has no writer yet would look like its end.
        if !wait(&file, PollFlags::POLLIN, DATA_TIMEOUT_MS.into()) {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "no data arrives"));
        }
        match file.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => bytes.extend_from_slice(chunk.get(..count).unwrap_or_default()),
            Err(error) if is_transient(&error) => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(max_bytes);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::fd::write_all;
    use nix::{sys::stat::Mode, unistd::mkfifo};
    use std::os::fd::AsRawFd as _;

    #[test]
    fn the_other_end_of_a_fifo_may_be_opened_a_little_later() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fifo");
        mkfifo(&path, Mode::S_IRWXU).unwrap();
        assert_eq!(open_append(&path).unwrap_err().to_string(), "a FIFO without a reader");
        let reading = {
            let path = path.clone();
            thread::spawn(move || read_at_most(&path, 4).unwrap())
        };
        let file = open_append(&path).unwrap();
        write_all(&file, b"token").unwrap();
        drop(file);
        assert_eq!(reading.join().unwrap(), b"toke");
    }

    #[test]
    fn a_descriptor_is_duplicated_if_it_was_inherited() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("/dev/stderr", &link).unwrap();
        for path in ["/dev/stderr", "/dev/fd/2", "/proc/self/fd/2", link.to_str().unwrap()] {
            assert_eq!(descriptor_number(Path::new(path)), Some(2), "{path}");
        }
        for path in ["/dev/null", "/proc/self/status", "/dev/fd/x", "/dev/fd/-1", "2", "/", ""] {
            assert_eq!(descriptor_number(Path::new(path)), None, "{path}");
        }
        let own = File::create(dir.path().join("own")).unwrap();
        let named = |file: &File| inherited(Path::new(&format!("/dev/fd/{}", file.as_raw_fd()))).unwrap();
        assert_eq!(named(&own).unwrap_err().raw_os_error(), Some(libc::EBADF));
        fcntl(&own, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
        // Both write at one position.
        write_all(named(&own).unwrap(), b"one ").unwrap();
        write_all(&own, b"two").unwrap();
        assert_eq!(fs::read(dir.path().join("own")).unwrap(), b"one two");
    }
}
