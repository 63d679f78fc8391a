//! `install` copies the program itself.

use crate::support::{refusal::expect_one_line, run};
use std::{fs, os::unix::fs::PermissionsExt as _, process::Command};

#[test]
fn a_copy_runs_and_replaces_another_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("telemetry-sidecar");
    fs::write(&path, "an older one").unwrap();
    run(&["install", folder.path().to_str().unwrap()]).expect_code(0);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o755);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else");
    let version = Command::new(&path).arg("--version").output().unwrap();
    assert_eq!(version.stdout, run(&["--version"]).expect_code(0).stdout);
}

#[test]
fn a_directory_that_is_missing_is_an_error() {
    for (directory, cause) in
        [("/nonexistent/directory", "does not exist, create it first"), ("/etc/passwd", "is not a directory")]
    {
        let line = expect_one_line(&run(&["install", directory]), || true);
        assert_eq!(line, format!("install: {directory}: {cause}"));
    }
}
