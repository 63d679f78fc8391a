//! Standard output of the commands that print.

use crate::{system::fd::write_all, worker::startup::was_closed};
use nix::errno::Errno;
use std::io::{self, ErrorKind};

/// Writes all bytes.
///
/// # Errors
///
/// If they cannot be written. A standard output that was closed at the start is an error, too: Rust's runtime
/// has opened /dev/null in its place.
pub fn write(bytes: &[u8]) -> io::Result<()> {
    require_open()?;
    write_all(io::stdout(), bytes).map_err(|unwritten| unwritten.error)
}

/// Fails if standard output was closed at the start.
///
/// # Errors
///
/// EBADF if it was.
pub fn require_open() -> io::Result<()> {
    if was_closed(1) { Err(Errno::EBADF.into()) } else { Ok(()) }
}

/// The result of printing, with an error in one line. A closed pipe is not an error: the reader has what it
/// wants.
///
/// # Errors
///
/// The error of standard output, unless its reader has closed it.
pub fn printed(result: &io::Result<()>) -> Result<(), String> {
    match result {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(format!("standard output: {error}")),
        _ => Ok(()),
    }
}
