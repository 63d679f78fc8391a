//! Executing a command in the sidecar's place.

use super::{
    spawn::SpawnError,
    startup::{keep_others_from_worker, restore_dispositions, was_closed},
};
use nix::{errno::Errno, libc, unistd::close};
use std::{
    ffi::{CString, OsStr, OsString},
    os::unix::ffi::OsStrExt as _,
    ptr,
};

/// Executes a command in this process, which continues as that command: with the same process id, and with
/// the environment as it is now, signal mask, signal dispositions and descriptors as they were inherited.
/// Returns only if that fails.
///
/// It must be called before anything blocks signals or sets a disposition.
pub(crate) fn execute(program: &OsStr, arguments: &[OsString]) -> SpawnError {
    let words = [program].into_iter().chain(arguments.iter().map(OsString::as_os_str));
    let words: Result<Vec<_>, _> = words.map(|word| CString::new(word.as_bytes())).collect();
    let Ok(words) = words else { return SpawnError::Execute(Errno::EINVAL) };
    let Some(first) = words.first() else { return SpawnError::Execute(Errno::ENOENT) };
    let pointers: Vec<_> = words.iter().map(|word| word.as_ptr()).chain([ptr::null()]).collect();
    keep_others_from_worker();
    if let Err(error) = restore_dispositions() {
        return SpawnError::Prepare(error);
    }
    for fd in (0..3).filter(|fd| was_closed(*fd)) {
        let _ = close(fd);
    }
    // SAFETY: the words are strings with their NULs, and a null follows the last of them. It returns only if
    // it fails.
    unsafe { libc::execvp(first.as_ptr(), pointers.as_ptr()) };
    SpawnError::Execute(Errno::last())
}
