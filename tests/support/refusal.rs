//! What is wrong with a command line is said in one line, and no worker starts.

use super::{Finished, Sidecar};

/// Runs something wrong, with a worker that would leave a file behind, and returns the one line it says.
#[track_caller]
pub fn refused(options: &[&str]) -> String {
    let words = [options, &["--", "touch", "{dir}/started"]].concat();
    refused_without(Sidecar::command(&words).start(), "started")
}

/// What a sidecar says that is to end with one line, and without this file.
#[track_caller]
pub fn refused_without(mut sidecar: Sidecar, file: &str) -> String {
    sidecar.wait();
    // The folder goes with the sidecar.
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
