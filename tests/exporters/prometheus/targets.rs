//! `--prometheus-targets-dir`: the target file exists from before the worker's start to the sidecar's end.

use super::series;
use crate::support::{Sidecar, fixture, run, wait_until};
use nix::sys::signal::Signal;
use std::{fs, path::PathBuf};
use tempfile::TempDir;

const PAGE: [&str; 4] = ["--ready-file", "{dir}/ready", "--export-prometheus", "127.0.0.1:0"];

/// All files of the directory, hidden ones included.
fn files(directory: &TempDir) -> Vec<PathBuf> {
    fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// Starts a sidecar with these words before and after the options of the page.
fn start(directory: &TempDir, before: &[&str], after: &[&str]) -> Sidecar {
    let option = ["--prometheus-targets-dir", directory.path().to_str().unwrap()];
    Sidecar::command(&[before, &PAGE, &option, after].concat()).start()
}

/// Starts a sidecar in front of a shell script, whose argument is the directory.
fn wrap(directory: &TempDir, options: &[&str], script: &str) -> Sidecar {
    let worker = ["--", "sh", "-c", script, "worker", directory.path().to_str().unwrap()];
    start(directory, options, &worker)
}

#[test]
fn the_worker_finds_the_complete_target_file() {
    let directory = tempfile::tempdir().unwrap();
    let sidecar = wrap(&directory, &[], r#"ls -A "$1"; cat "$1"/telemetry-sidecar-*.json"#);
    let port = sidecar.ready_lines()[1].strip_prefix("prometheus ").unwrap().to_owned();
    let pid = sidecar.pid();
    let finished = sidecar.finish();
    let stdout = finished.expect_code(0).stdout();
    let (name, content) = stdout.split_once('\n').unwrap();
    assert!(name.starts_with(&format!("telemetry-sidecar-{pid}-")), "{name}");
    let content: serde_json::Value = serde_json::from_str(content).unwrap();
    let labels = serde_json::json!({
        "__meta_telemetry_sidecar_command": "sh",
        "__meta_telemetry_sidecar_pid": pid.to_string(),
    });
    let targets = [format!("127.0.0.1:{port}")];
    assert_eq!(content, serde_json::json!([{ "targets": targets, "labels": labels }]));
    assert!(files(&directory).is_empty());
}

#[test]
fn the_target_file_is_removed_however_the_worker_ends() {
    let directory = tempfile::tempdir().unwrap();
    wrap(&directory, &[], "exit 3").finish().expect_code(3);
    wrap(&directory, &[], "kill -SEGV $$").finish().expect_signal(11);
    start(&directory, &[], &["--", "/nonexistent/program"]).finish().expect_code(127);
    assert!(files(&directory).is_empty());
}

#[test]
fn the_target_file_stays_while_the_sidecar_lingers_and_is_removed_when_a_signal_ends_that() {
    let directory = tempfile::tempdir().unwrap();
    let sidecar = wrap(&directory, &["--linger", "600s"], "exit 3");
    let address = sidecar.ready_lines()[1].replace("prometheus ", "127.0.0.1:");
    let exit = "telemetry_sidecar_worker_exit_status{kind=\"code\"}";
    wait_until("the worker's end", || series(&address).contains_key(exit));
    assert_eq!(files(&directory).len(), 1);
    sidecar.signal(Signal::SIGTERM);
    sidecar.finish().expect_code(3);
    assert!(files(&directory).is_empty());
}

#[test]
fn a_replay_has_a_target_file_until_a_signal_ends_it() {
    let directory = tempfile::tempdir().unwrap();
    let log = fixture("logs/clean.log");
    let sidecar = start(&directory, &["replay", "--wait-for-subscribers", "1"], &[log.to_str().unwrap()]);
    sidecar.ready_lines();
    assert_eq!(files(&directory).len(), 1);
    sidecar.signal(Signal::SIGTERM);
    sidecar.finish().expect_signal(15);
    assert!(files(&directory).is_empty());
}

#[test]
fn sidecars_of_a_pool_have_a_file_each() {
    let directory = tempfile::tempdir().unwrap();
    let sidecars: Vec<_> = (0..3).map(|_| wrap(&directory, &[], "exec cat")).collect();
    let lines: Vec<_> = sidecars.iter().map(|sidecar| sidecar.ready_lines()[1].clone()).collect();
    let contents: Vec<_> =
        files(&directory).into_iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    assert_eq!(contents.len(), 3);
    for line in lines {
        let target = format!(r#""{}""#, line.replace("prometheus ", "127.0.0.1:"));
        assert_eq!(contents.iter().filter(|content| content.contains(&target)).count(), 1);
    }
    for sidecar in sidecars {
        sidecar.finish().expect_code(0);
    }
    assert!(files(&directory).is_empty());
}

#[test]
fn the_directory_has_to_exist_and_the_page_to_be_served() {
    let refused = |words: &[&str]| {
        let finished = run(&[words, &["--", "true"]].concat());
        finished.expect_code(125).stderr()
    };
    let name = "--prometheus-targets-dir";
    let missing = refused(&["--export-prometheus", "127.0.0.1:0", name, "/nonexistent/targets"]);
    let cause = "No such file or directory (os error 2): create the directory";
    assert_eq!(missing, format!("telemetry-sidecar: {name}: '/nonexistent/targets': {cause}\n"));
    let cause = "give --export-prometheus as well";
    assert_eq!(refused(&[name, "/tmp"]), format!("telemetry-sidecar: {name}: {cause}\n"));
}
