//! Target files: Prometheus' file-based service discovery finds the page of each sidecar of a pool.
//!
//! Prometheus reads a file whenever it changes, so a file is complete when it gets its name, and its
//! temporary name does not end with `.json`. The file is removed at the sidecar's end. That of a sidecar that
//! was killed stays: process ids do not prove that its owner has ended, because containers and hosts may
//! share the directory.

use crate::system::own_file::OwnFile;
use nix::unistd::gethostname;
use serde_json::json;
use std::{
    fs::{self, Permissions},
    io::{self, ErrorKind, Write as _},
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process,
};
use tempfile::Builder;

const PREFIX: &str = "telemetry-sidecar-";

/// The label that has the sidecar's process id.
pub(crate) const PID: &str = "__meta_telemetry_sidecar_pid";

/// The label that has the worker's command.
pub(crate) const COMMAND: &str = "__meta_telemetry_sidecar_command";

/// Prometheus usually runs as another user.
const MODE: u32 = 0o644;

/// How many names to try. They contain a random number, so that one is enough.
const ATTEMPTS: usize = 8;

/// Writes the target file for a page at this address. `command` is the worker's program.
///
/// # Errors
///
/// If the directory is missing, or a file cannot be made in it.
pub(super) fn write(directory: &Path, address: SocketAddr, command: Option<&str>) -> io::Result<OwnFile> {
    if !fs::metadata(directory)?.is_dir() {
        return Err(ErrorKind::NotADirectory.into());
    }
    let mut temporary = Builder::new().prefix(&format!(".{PREFIX}")).suffix(".tmp").tempfile_in(directory)?;
    // The umask does not apply.
    temporary.as_file().set_permissions(Permissions::from_mode(MODE))?;
    temporary.write_all(content(&target(address), command).as_bytes())?;
    let mut attempts = ATTEMPTS;
    loop {
        attempts -= 1;
        let path = directory.join(format!("{PREFIX}{}-{:08x}.json", process::id(), fastrand::u32(..)));
        match temporary.persist_noclobber(&path) {
            Ok(_) => return Ok(OwnFile::new(&path)),
            Err(failed) if failed.error.kind() == ErrorKind::AlreadyExists && attempts > 0 => {
                temporary = failed.file;
            }
            Err(failed) => return Err(failed.error),
        }
    }
}

/// Labels that start with `__meta_` are for relabelling; Prometheus does not store them. A stored process id
/// would add nothing: the `instance` is another one for each sidecar already.
fn content(target: &str, command: Option<&str>) -> String {
    let mut labels = json!({ PID: process::id().to_string() });
    if let Some(command) = command {
        labels[COMMAND] = command.into();
    }
    format!("{}\n", json!([{ "targets": [target], "labels": labels }]))
}

/// The address at which others reach the page: with this machine's name if it is served at every address.
pub(crate) fn target(address: SocketAddr) -> String {
    let name = address.ip().is_unspecified().then(gethostname).and_then(Result::ok);
    match name.and_then(|name| name.into_string().ok()) {
        Some(name) => format!("{name}:{}", address.port()),
        None => address.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn a_target_file_has_the_address_and_is_removed_when_it_is_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let files = || fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path());
        let address = "127.0.0.1:9464".parse().unwrap();
        let both = [Some("py\"thon"), None].map(|command| write(directory.path(), address, command).unwrap());
        assert_eq!(files().count(), 2);
        let own = format!("{PREFIX}{}-", process::id());
        for path in files() {
            let name = path.file_name().unwrap().to_str().unwrap();
            assert!(name.starts_with(&own), "{name}");
            assert_eq!(path.extension().unwrap(), "json");
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
            let content: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
            assert_eq!(content[0]["targets"], json!(["127.0.0.1:9464"]));
            let labels = &content[0]["labels"];
            assert_eq!(labels["__meta_telemetry_sidecar_pid"], process::id().to_string());
            assert!([json!("py\"thon"), Value::Null].contains(&labels["__meta_telemetry_sidecar_command"]));
        }
        // Another file of the same name is not removed.
        let replaced = files().next().unwrap();
        fs::remove_file(&replaced).unwrap();
        fs::write(&replaced, "").unwrap();
        drop(both);
        assert_eq!(files().collect::<Vec<_>>(), [replaced]);
    }

    #[test]
    fn a_page_at_every_address_is_reached_by_this_machines_name() {
        let name = gethostname().unwrap().into_string().unwrap();
        for (address, expected) in [
            ("0.0.0.0:1", format!("{name}:1")),
            ("[::]:2", format!("{name}:2")),
            ("[::1]:3", "[::1]:3".into()),
            ("192.0.2.1:4", "192.0.2.1:4".into()),
        ] {
            assert_eq!(target(address.parse().unwrap()), expected);
        }
    }

    #[test]
    fn the_directory_has_to_exist() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        let address = "127.0.0.1:1".parse().unwrap();
        let error = |path: &Path| write(path, address, None).unwrap_err().kind();
        assert_eq!(error(&directory.path().join("missing")), ErrorKind::NotFound);
        assert_eq!(error(&file), ErrorKind::NotADirectory);
    }
}
