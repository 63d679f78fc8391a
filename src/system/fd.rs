//! Files and streams that somebody else has named or made.
//!
//! A path may be a FIFO, which may have nobody at its other end: while the sidecar starts nothing waits for that for ever,
//! since signals are not looked at yet. A stream may have been inherited non-blocking (the flag belongs to whoever made it
//! and stays as it is): when it is full it is waited for, and nothing is given up.

use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    libc,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    unistd::write,
};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _},
    os::{
        fd::AsFd,
        unix::fs::{FileTypeExt as _, OpenOptionsExt as _},
    },
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// How long a FIFO may be without a reader: it may be started just now, too.
const READER_PATIENCE: Duration = Duration::from_secs(2);

/// How often a reader is looked for in that time.
const LOOK: Duration = Duration::from_millis(5);

/// How long there may be nothing to read: a command may have to make a token first.
const WRITER_PATIENCE_MS: u16 = 5000;

/// Opens a file to append to, made with mode 0600: what workers print is nobody else's business.
///
/// `/dev/stdout` and `/dev/stderr` are the streams themselves: opened anew, a file behind them would have two
/// positions, and each writer would overwrite the other.
///
/// # Errors
///
/// Those of opening a file, or that it is a FIFO that nobody reads.
pub fn open_append(path: &Path) -> io::Result<File> {
    match path.to_str() {
        Some("/dev/stdout") => return io::stdout().as_fd().try_clone_to_owned().map(File::from),
        Some("/dev/stderr") => return io::stderr().as_fd().try_clone_to_owned().map(File::from),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600).custom_flags(OFlag::O_NONBLOCK.bits());
    let deadline = Instant::now() + READER_PATIENCE;
    let file = loop {
        match options.open(path) {
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) && is_fifo(path) => {
                if Instant::now() >= deadline {
                    return Err(io::Error::other("a FIFO that nobody reads"));
                }
                thread::sleep(LOOK);
            }
            opened => break opened?,
        }
    };
    // It was for opening alone.
    let flags = OFlag::from_bits_retain(fcntl(&file, FcntlArg::F_GETFL)?);
    fcntl(&file, FcntlArg::F_SETFL(flags - OFlag::O_NONBLOCK))?;
    Ok(file)
}

fn is_fifo(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo())
}

/// Reads a file to its end, but no more than so many bytes of it.
///
/// # Errors
///
/// Those of opening and reading, or that nothing comes.
pub fn read_at_most(path: &Path, max_bytes: usize) -> io::Result<Vec<u8>> {
    let mut file = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    while bytes.len() < max_bytes {
        // A FIFO that nobody has opened yet to write to would look as if it were at its end.
        if !wait(&file, PollFlags::POLLIN, WRITER_PATIENCE_MS.into()) {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "nothing comes from it"));
        }
        match file.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => bytes.extend_from_slice(chunk.get(..count).unwrap_or_default()),
            Err(error) if passes(&error) => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(max_bytes);
    Ok(bytes)
}

/// Bytes that could not all be written.
#[derive(Debug)]
pub struct Unwritten {
    /// How many were.
    pub written: usize,
    /// Why not the others.
    pub error: io::Error,
}

/// Writes all of these bytes, waiting as long as it takes.
///
/// # Errors
///
/// How many were written, and why not all.
pub fn write_all(to: impl AsFd, bytes: &[u8]) -> Result<(), Unwritten> {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match write(&to, rest).map_err(io::Error::from) {
            Ok(0) => return Err(Unwritten { written, error: io::ErrorKind::WriteZero.into() }),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                wait(&to, PollFlags::POLLOUT, PollTimeout::NONE);
            }
            Err(error) if passes(&error) => {}
            Err(error) => return Err(Unwritten { written, error }),
        }
    }
    Ok(())
}

/// Whether the same may work when it is tried again.
fn passes(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock)
}

/// Waits for that, or an error to be had from trying; false if it took too long.
fn wait(fd: impl AsFd, for_what: PollFlags, timeout: PollTimeout) -> bool {
    // An interrupted wait is no long one.
    poll(&mut [PollFd::new(fd.as_fd(), for_what)], timeout) != Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::{sys::stat::Mode, unistd::mkfifo};

    #[test]
    fn what_is_full_for_now_is_waited_for() {
        let (mut reader, writer) = io::pipe().unwrap();
        fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        let bytes = vec![7; 1_000_000];
        let reading = thread::spawn(move || {
            let mut read = Vec::new();
            reader.read_to_end(&mut read).map(|_| read)
        });
        write_all(&writer, &bytes).unwrap();
        drop(writer);
        assert!(reading.join().unwrap().unwrap() == bytes);
    }

    #[test]
    fn how_much_was_written_before_an_error_is_told() {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let unwritten = write_all(&full, b"abc").unwrap_err();
        assert_eq!((unwritten.written, unwritten.error.kind()), (0, io::ErrorKind::StorageFull));
    }

    #[test]
    fn a_fifos_other_end_may_come_a_little_later() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fifo");
        mkfifo(&path, Mode::S_IRWXU).unwrap();
        assert_eq!(open_append(&path).unwrap_err().to_string(), "a FIFO that nobody reads");
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
