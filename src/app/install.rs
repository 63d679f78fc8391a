//! `install`: a copy of this program, for init containers whose image has nothing else.

use crate::{system::log::PROGRAM, worker::Exit};
use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process,
};

/// This process's program, even if its file was replaced or removed.
const SELF: &str = "/proc/self/exe";

/// Copies the program to `directory`/telemetry-sidecar.
///
/// # Errors
///
/// If the copy cannot be made. Nothing is left of it then.
pub fn run(directory: &Path) -> Result<Exit, String> {
    // A program that runs cannot be overwritten, but replaced.
    let partial = directory.join(format!(".{PROGRAM}-{}", process::id()));
    let target = directory.join(PROGRAM);
    copy(&partial, &target).map_err(|error| {
        // It may not be there.
        drop(fs::remove_file(&partial));
        format!("install: {}: {error}", target.display())
    })?;
    Ok(Exit::Code(0))
}

fn copy(partial: &Path, target: &Path) -> io::Result<()> {
    fs::copy(SELF, partial)?;
    fs::set_permissions(partial, Permissions::from_mode(0o755))?;
    fs::rename(partial, target)
}
