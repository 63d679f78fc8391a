//! The pipe that is the worker's stderr.

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    sys::stat::{Mode, fchmod, fstat},
    unistd::{Gid, Uid, fchown, pipe2},
};
use std::os::fd::{AsFd, OwnedFd};

/// The size of a pipe on Linux, in bytes.
pub(crate) const DEFAULT_BYTES: usize = 64 * 1024;
/// The largest pipe that an unprivileged process may have by default (`/proc/sys/fs/pipe-max-size`).
pub(crate) const MAX_BYTES: usize = 1024 * 1024;

/// How large the pipe is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PipeSize {
    /// As large as by default; the reader enlarges it.
    Default,
    /// This size, in bytes.
    Fixed(usize),
}

/// A worker's stderr: what the sidecar reads, and what the worker writes to.
///
/// Only the end that is read is non-blocking. The worker's end is not.
///
/// # Errors
///
/// If the system refuses a pipe, or one of that size.
pub(crate) fn open(size: PipeSize) -> nix::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
    fcntl(&read, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    match size {
        PipeSize::Default => {}
        PipeSize::Fixed(size) => resize(&read, size)?,
    }
    Ok((read, write))
}

/// Makes a pipe as large as this user may have it, up to [`MAX_BYTES`].
pub(crate) fn enlarge(pipe: impl AsFd) {
    let mut size = MAX_BYTES;
    while size > DEFAULT_BYTES && resize(&pipe, size).is_err() {
        size /= 2;
    }
}

/// Makes a pipe twice as large, up to [`MAX_BYTES`]. False if it cannot become larger.
pub(crate) fn double(pipe: impl AsFd) -> bool {
    size(&pipe).is_ok_and(|size| size < MAX_BYTES && resize(&pipe, size * 2).is_ok())
}

/// A pipe's size, in bytes.
///
/// # Errors
///
/// If it is no pipe.
pub(crate) fn size(pipe: impl AsFd) -> nix::Result<usize> {
    Ok(usize::try_from(fcntl(pipe, FcntlArg::F_GETPIPE_SZ)?).unwrap_or(0))
}

/// Gives a pipe this size, in bytes.
///
/// # Errors
///
/// If the user may not have it, or the pipe holds more bytes.
pub(crate) fn resize(pipe: impl AsFd, size: usize) -> nix::Result<()> {
    let size = i32::try_from(size).map_err(|_| Errno::EINVAL)?;
    fcntl(pipe, FcntlArg::F_SETPIPE_SZ(size)).map(drop)
}

/// Gives the worker's stderr the owner and these permissions of the one that it replaces, as far as the
/// system permits that. A worker that has dropped its privileges can then open `/dev/stderr`, if it could
/// without the sidecar.
pub(crate) fn copy_permissions(from: impl AsFd, to: impl AsFd, which: Mode) {
    let Ok(replaced) = fstat(from) else { return };
    let (owner, group) = (Uid::from_raw(replaced.st_uid), Gid::from_raw(replaced.st_gid));
    let _ = fchown(&to, Some(owner), Some(group));
    let Ok(own) = fstat(&to) else { return };
    // The permissions of one user must not become those of another.
    let copied = if own.st_uid == replaced.st_uid { replaced } else { own };
    let which = which & (Mode::S_IRWXU | Mode::S_IRWXG | Mode::S_IRWXO);
    let _ = fchmod(&to, Mode::from_bits_truncate(copied.st_mode) & which);
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::stat::SFlag;

    #[test]
    fn an_enlarged_pipe_is_larger_than_a_default_one() {
        let (_reader, writer) = open(PipeSize::Default).unwrap();
        let default = size(&writer).unwrap();
        enlarge(&writer);
        assert!(size(&writer).unwrap() > default);
    }

    #[test]
    fn permissions_are_copied_and_the_type_of_the_file_is_not() {
        let file = tempfile::tempfile().unwrap();
        let (_reader, writer) = open(PipeSize::Default).unwrap();
        for (mode, which, copied) in [(0o622, 0o777, 0o622), (0o4666, 0o7777, 0o666), (0o620, 0o222, 0o220)] {
            fchmod(&file, Mode::from_bits_truncate(mode)).unwrap();
            copy_permissions(&file, &writer, Mode::from_bits_truncate(which));
            assert_eq!(fstat(&writer).unwrap().st_mode, SFlag::S_IFIFO.bits() | copied);
        }
    }
}
