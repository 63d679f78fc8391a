//! Writing to descriptors that may be non-blocking, and the size of terminals.
//!
//! An inherited stream may be: the flag belongs to the process that set it and stays as it is. A full stream
//! is waited for; nothing is dropped.

use nix::{
    errno::Errno,
    fcntl::{OFlag, open},
    libc::{self, winsize},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        socket::{MsgFlags, sendmsg},
        stat::{Mode, SFlag, fstat},
        uio::writev,
    },
    unistd::write,
};
use std::{
    io::{self, IoSlice},
    os::fd::{AsFd, AsRawFd as _, OwnedFd},
};

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

/// The device number of `/dev/null` (Linux, Documentation/admin-guide/devices.txt).
const NULL_DEVICE: libc::dev_t = libc::makedev(1, 3);

/// How to write to a stream that other processes share, whose flags must not be changed.
#[derive(Debug)]
pub(crate) enum WriteMethod {
    /// As the stream's flags say.
    Plain,
    /// The same, for a file or `/dev/null`, which have room always.
    Immediate,
    /// Through an open file of this process's own, which is non-blocking.
    NonBlocking(OwnedFd),
    /// A socket, of which each call can be non-blocking.
    Socket,
}

impl WriteMethod {
    /// The method that never blocks, if there is one for this stream.
    pub(crate) fn without_blocking(stream: impl AsFd) -> Self {
        let stream = stream.as_fd();
        let Ok(found) = fstat(stream) else { return Self::Plain };
        let format = found.st_mode & SFlag::S_IFMT.bits();
        if format == SFlag::S_IFSOCK.bits() {
            return Self::Socket;
        }
        if format == SFlag::S_IFREG.bits()
            || (format == SFlag::S_IFCHR.bits() && found.st_rdev == NULL_DEVICE)
        {
            return Self::Immediate;
        }
        let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let path = format!("/proc/self/fd/{}", stream.as_raw_fd());
        // A regular file must not be opened again, since that has its own position. The pipe of another user
        // cannot be.
        Some(format)
            .filter(|format| *format == SFlag::S_IFIFO.bits())
            .and_then(|_| open(path.as_str(), flags, Mode::empty()).ok())
            .map_or(Self::Plain, Self::NonBlocking)
    }

    /// Whether a write never waits for a reader.
    pub(crate) fn never_blocks(&self) -> bool {
        !matches!(self, Self::Plain)
    }

    /// Writes some of the bytes.
    pub(crate) fn write(&self, stream: impl AsFd, slices: &[IoSlice<'_>]) -> nix::Result<usize> {
        match self {
            Self::Plain | Self::Immediate => writev(stream, slices),
            Self::NonBlocking(own) => writev(own, slices),
            Self::Socket => {
                let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
                sendmsg::<()>(stream.as_fd().as_raw_fd(), slices, &[], flags, None)
            }
        }
    }
}

/// Whether the same call may succeed when it is repeated.
pub(super) fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock)
}

/// Waits until the descriptor is ready or the next call on it fails; false after the timeout.
pub(crate) fn wait(fd: impl AsFd, ready_for: PollFlags, timeout: PollTimeout) -> bool {
    // An interrupted wait is not a timeout.
    poll(&mut [PollFd::new(fd.as_fd(), ready_for)], timeout) != Ok(0)
}

/// Waits until the read end of a pipe or a socket is closed, or a terminal hangs up. It never returns for a
/// file.
pub(crate) fn wait_for_hangup(fd: impl AsFd) {
    let gone = PollFlags::POLLERR | PollFlags::POLLHUP | PollFlags::POLLNVAL;
    loop {
        // These are reported unasked.
        let mut polled = [PollFd::new(fd.as_fd(), PollFlags::empty())];
        let result = poll(&mut polled, PollTimeout::NONE);
        let [polled] = polled;
        if polled.revents().is_some_and(|events| events.intersects(gone)) {
            return;
        }
        // No other error goes away.
        if result.is_err_and(|error| error != Errno::EINTR) {
            std::thread::park();
        }
    }
}

/// A terminal's size.
///
/// # Errors
///
/// ENOTTY if it is no terminal.
pub fn window_size(terminal: impl AsFd) -> nix::Result<winsize> {
    let mut size = winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the kernel writes a winsize through the pointer, which is valid for that.
    unsafe { get_winsize(terminal.as_fd().as_raw_fd(), &raw mut size) }?;
    Ok(size)
}

nix::ioctl_read_bad!(get_winsize, libc::TIOCGWINSZ, winsize);

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
    fn a_reader_that_goes_away_is_noticed_without_a_write() {
        let (reader, writer) = io::pipe().unwrap();
        let waiting = thread::spawn(move || wait_for_hangup(writer));
        drop(reader);
        waiting.join().unwrap();
    }

    #[test]
    fn a_write_error_says_how_many_bytes_were_written() {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let partial = write_all(&full, b"abc").unwrap_err();
        assert_eq!((partial.written, partial.error.kind()), (0, io::ErrorKind::StorageFull));
    }
}
