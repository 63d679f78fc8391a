//! Transparency: the worker cannot detect the sidecar. The Python tests in `tests/transparency/` observe the
//! binary from outside.
//!
//! Each test here runs one file there. They are written in Python because it gives access to
//! pseudo-terminals, wait statuses and the sender of a signal. They need Python 3.10 or later with its
//! standard library; without python3 they print that they are skipped, and pass.

use crate::support::dispositions;
use std::{io::ErrorKind, path::PathBuf, process::Command};

/// The directory of the Python tests.
fn folder() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "transparency"].iter().collect()
}

/// Runs one file of Python tests.
fn run(module: &str) {
    run_with(module, &[]);
}

/// The same with these variables in the sidecar's environment.
fn run_with(module: &str, variables: &[(&str, &str)]) {
    dispositions::reset();
    let output = Command::new("python3")
        .args(["-m", "unittest", "-v", module])
        .current_dir(folder())
        .env("SIDECAR", env!("CARGO_BIN_EXE_telemetry-sidecar"))
        .env_remove("SIDECAR_WRAPPER")
        .envs(variables.iter().copied())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output();
    match output {
        Ok(output) => assert!(
            output.status.success(),
            "{module}: {}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            println!("{module} is skipped: no python3: {error}");
        }
        Err(error) => panic!("python3: {error}"),
    }
}

#[test]
fn observing_the_worker_changes_neither_its_stops_nor_its_exit_status() {
    for module in ["test_job_control", "test_exit_status"] {
        run_with(module, &[("TELEMETRY_SIDECAR_LIFECYCLE", "1"), ("TELEMETRY_SIDECAR_VITALS", "100ms")]);
    }
}

macro_rules! modules {
    ($($module:ident)*) => {
        $(#[test]
        fn $module() {
            run(stringify!($module));
        })*

        #[test]
        fn every_python_file_is_run() {
            let mut files: Vec<_> = folder()
                .read_dir()
                .unwrap()
                .filter_map(|entry| {
                    let path = entry.unwrap().path();
                    path.file_name()?.to_str()?.strip_suffix(".py").map(str::to_owned)
                })
                .filter(|name| name.starts_with("test_"))
                .collect();
            files.sort();
            assert_eq!(files, [$(stringify!($module)),*]);
        }
    };
}

modules! {
    test_as_pid1
    test_data
    test_descriptors
    test_drain
    test_early_signals
    test_environment
    test_exec_failures
    test_exit_status
    test_grandchildren
    test_group_signals
    test_helpers
    test_inheritance
    test_job_control
    test_lifetime
    test_single_signals
    test_snakepit
    test_starting
    test_stderr_terminal
    test_stopping
    test_systemd
    test_terminal
    test_unit_signals
}
