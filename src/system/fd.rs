//! Writing to descriptors that may be non-blocking.
//!
//! An inherited stream may be: the flag belongs to the process that set it and stays as it is. A full stream
//! is waited for; nothing is dropped.

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    unistd::write,
};
use std::{io, os::fd::AsFd};

/// An error after some of the bytes were written.
#[derive(Debug)]
pub struct PartialWrite {
    /// The number of bytes that were written.
    pub written: usize,
    /// The error that ended it.
    pub error: io::Error,
}

/// Writes all bytes and waits as long as that takes.
///
/// # Errors
///
/// The error, and how many bytes were written before it.
pub fn write_all(to: impl AsFd, bytes: &[u8]) -> Result<(), PartialWrite> {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match write(&to, rest).map_err(io::Error::from) {
            Ok(0) => return Err(PartialWrite { written, error: io::ErrorKind::WriteZero.into() }),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                wait(&to, PollFlags::POLLOUT, PollTimeout::NONE);
            }
            Err(error) if is_transient(&error) => {}
            Err(error) => return Err(PartialWrite { written, error }),
        }
    }
    Ok(())
}

/// Whether the same call may succeed when it is repeated.
pub(super) fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock)
}

/// Waits until the descriptor is ready or the next call on it fails; false after the timeout.
pub(super) fn wait(fd: impl AsFd, ready_for: PollFlags, timeout: PollTimeout) -> bool {
    // An interrupted wait is not a timeout.
    poll(&mut [PollFd::new(fd.as_fd(), ready_for)], timeout) != Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    use std::{fs::OpenOptions, io::Read as _, thread};

    #[test]
    fn write_all_waits_for_a_full_pipe() {
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
    fn a_write_error_says_how_many_bytes_were_written() {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let partial = write_all(&full, b"abc").unwrap_err();
        assert_eq!((partial.written, partial.error.kind()), (0, io::ErrorKind::StorageFull));
    }
}
