//! Command lines that must be refused: one line is printed, and no worker is started.

use super::{Finished, Sidecar};

/// Runs a command line that must be refused, with a worker that would create a file. Returns the line
/// printed.
#[track_caller]
pub fn refused(options: &[&str]) -> String {
    let words = [options, &["--", "touch", "{dir}/started"]].concat();
    refused_without(Sidecar::command(&words).start(), "started")
}

/// The line printed by a sidecar that must exit with an error and without creating this file.
#[track_caller]
pub fn refused_without(mut sidecar: Sidecar, file: &str) -> String {
    sidecar.wait();
    // The directory is removed with the sidecar.
    let is_there = sidecar.path(file).exists();
    let finished = sidecar.finish();
    assert!(!is_there, "there is a file '{file}': {}", finished.describe());
    expect_one_line(&finished, || true)
}

#[track_caller]
pub fn expect_one_line(finished: &Finished, no_worker: impl Fn() -> bool) -> String {
    finished.expect_code(125);
    assert!(no_worker(), "a worker was started: {}", finished.describe());
    let stderr = finished.stderr();
    assert_eq!(stderr.lines().count(), 1, "{}", finished.describe());
    assert!(finished.stdout.is_empty(), "{}", finished.describe());
    stderr.trim_end().strip_prefix("telemetry-sidecar: ").expect(&stderr).to_owned()
}

#[track_caller]
pub fn expect_words(line: &str, words: &[&str]) {
    for word in words {
        assert!(line.contains(word), "expected {word:?} in {line:?}");
    }
}
