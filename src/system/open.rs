//! Opening and reading files that options name.
//!
//! A path may be a FIFO without a process at its other end. The sidecar does not handle signals yet while it
//! starts, so it never waits for that process without a limit.

use super::fd::{is_transient, wait};
use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    libc,
    poll::PollFlags,
};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _},
    os::{
        fd::AsFd as _,
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

/// Opens a file to append to; a new one gets mode 0600, because a worker's output may be confidential.
///
/// `/dev/stdout` and `/dev/stderr` are duplicates of the streams. If they were opened again, a regular file
/// behind them would have two positions, and each writer would overwrite the other's data.
///
/// # Errors
///
/// Those of opening a file, or that it is a FIFO without a reader.
pub fn open_append(path: &Path) -> io::Result<File> {
    match path.to_str() {
        Some("/dev/stdout") => return io::stdout().as_fd().try_clone_to_owned().map(File::from),
        Some("/dev/stderr") => return io::stderr().as_fd().try_clone_to_owned().map(File::from),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600).custom_flags(OFlag::O_NONBLOCK.bits());
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
}
