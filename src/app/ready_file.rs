//! The file that says where the sidecar listens.

use crate::{net::listener::Listener, system::option::Given};
use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{self, Write as _},
    path::PathBuf,
    process,
};

/// Removes the file that another sidecar has left, even if the options are wrong: it must not be taken for
/// this one's.
pub(super) fn remove_stale(file: &Given<PathBuf>) -> Result<(), String> {
    match fs::remove_file(&file.value) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(file.origin.error(error)),
        _ => Ok(()),
    }
}

/// Writes a temporary file and renames it, so that readers see the complete file. Other users may be able to
/// write to the directory, as to /tmp: a file that already has the temporary name is never written to.
pub(super) fn write(file: &Given<PathBuf>, listeners: &[Listener]) -> Result<(), String> {
    let mut lines = String::new();
    for listener in listeners {
        let _ = writeln!(lines, "{}", listener.ready_line());
    }
    let path = &file.value;
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}", process::id()));
    let temporary = PathBuf::from(temporary);
    // A sidecar that was killed may have left it; every sidecar that is PID 1 uses the same name.
    let _ = fs::remove_file(&temporary);
    let written = File::create_new(&temporary)
        .and_then(|mut file| file.write_all(lines.as_bytes()))
        .and_then(|()| fs::rename(&temporary, path));
    written.map_err(|error| {
        let _ = fs::remove_file(&temporary);
        file.origin.error(error)
    })
}
