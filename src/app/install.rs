//! `install`: a copy of this program, for init containers whose image has nothing else.

use crate::{
    system::{file_error::describe, log::PROGRAM},
    worker::Exit,
};
use std::{
    fs::{File, Permissions},
    io,
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

/// This process's program, even if its file was replaced or removed.
const SELF: &str = "/proc/self/exe";

/// Copies the program to `directory`/telemetry-sidecar.
///
/// # Errors
///
/// If the copy cannot be made. Nothing is left of it then.
pub fn run(directory: &Path) -> Result<Exit, String> {
    if !directory.is_dir() {
        let what = if directory.exists() { "is not a directory" } else { "does not exist, create it first" };
        return Err(format!("install: {}: {what}", directory.display()));
    }
    let target = directory.join(PROGRAM);
    copy(directory, &target)
        .map_err(|error| format!("install: {}: {}", target.display(), describe(&target, error)))?;
    Ok(Exit::Code(0))
}

/// A program that runs cannot be overwritten, but replaced.
fn copy(directory: &Path, target: &Path) -> io::Result<()> {
    let mut partial = tempfile::Builder::new().prefix(".telemetry-sidecar-").tempfile_in(directory)?;
    io::copy(&mut File::open(SELF)?, partial.as_file_mut())?;
    partial.as_file().set_permissions(Permissions::from_mode(0o755))?;
    partial.persist(target).map(drop).map_err(|failed| failed.error)
}
