//! Which processes are sidecars, and where they listen.

use super::{row, row_of_worker, run, wait_until};
use crate::support::{Sidecar, certificates::Authority};
use nix::sys::signal::Signal;
use std::{fs, os::unix::fs::PermissionsExt as _};

#[test]
fn several_listeners_are_one_sidecar_without_its_metrics_page() {
    let words = ["-q", "--ready-file", "ready", "--listen", "127.0.0.1:0", "--listen", "unix:s"];
    let rest = ["--listen", "unix:{dir}/absolute", "--export-prometheus", "127.0.0.1:0"];
    let worker = ["--", "sleep", "600"];
    let sidecar = Sidecar::command(&[&words[..], &rest, &worker].concat()).in_its_directory().start();
    let lines = sidecar.ready_lines();
    let row = row_of_worker(&sidecar, "sleep");
    let tcp = format!("127.0.0.1:{}", lines[0]);
    let unix = |name| format!("unix:{}", fs::canonicalize(sidecar.path("")).unwrap().join(name).display());
    let addresses: Vec<_> = row["addresses"].as_array().unwrap().iter().collect();
    assert_eq!(addresses[..2], [&tcp.into(), &unix("s").into()] as [&serde_json::Value; 2], "{row}");
    assert!(addresses.len() == 3 && addresses[2].as_str().unwrap().ends_with("/absolute"), "{row}");
    let page = row["metrics_address"].as_str().unwrap();
    assert!(
        page.starts_with("127.0.0.1:") && row["addresses"].as_array().unwrap().iter().all(|it| it != page)
    );
    assert_eq!(row["command"], "sleep 600");
    sidecar.signal(Signal::SIGTERM);
    sidecar.finish().expect_signal(15);
}

#[test]
fn an_abstract_socket_is_found_and_wildcards_are_reached_through_loopback() {
    let name = format!("unix:@fleet-{}", std::process::id());
    let options = ["--listen", &name, "--listen", "0.0.0.0:0", "--insecure"];
    let sidecar = Sidecar::wrap_echo(&options);
    let port = sidecar.ready_lines()[1].clone();
    let row = row(&sidecar, &[]);
    assert_eq!(row["addresses"][0], name);
    assert_eq!(row["addresses"][1], format!("127.0.0.1:{port}"));
    assert_eq!(row["events"], 0);
    sidecar.finish().expect_code(0);
}

#[test]
fn tls_and_tokens_are_used_where_they_are_needed() {
    let authority = Authority::new();
    let secure = Sidecar::command(&[
        "--ready-file",
        "{dir}/ready",
        "--tls-cert",
        "{dir}/cert.pem",
        "--tls-key",
        "{dir}/key.pem",
        "--auth-token-file",
        "{dir}/tokens",
        "--",
        "sleep",
        "600",
    ]);
    authority.issue().write(&secure.path(""));
    fs::write(secure.path("ca.pem"), authority.pem()).unwrap();
    fs::write(secure.path("tokens"), "secret\n").unwrap();
    fs::set_permissions(secure.path("tokens"), fs::Permissions::from_mode(0o600)).unwrap();
    let secure = secure.start();
    let plain = Sidecar::wrap_echo(&[]);
    secure.ready_lines();
    plain.ready_lines();
    let file = |name| secure.path(name).to_str().unwrap().to_owned();
    let (ca, tokens) = (file("ca.pem"), file("tokens"));

    let refused = row(&secure, &[]);
    assert!(
        refused["error"].as_str().unwrap().contains("--tls-ca") && refused["events"].is_null(),
        "{refused}"
    );
    let refused = row(&secure, &["--tls-ca", &ca]);
    assert!(refused["error"].as_str().unwrap().contains("needs a token"), "{refused}");
    let options = ["--tls-ca", &ca, "--auth-token-file", &tokens];
    let answered = row(&secure, &options);
    assert!(answered["error"].is_null() && answered["events"] == 0, "{answered}");
    // One that speaks no TLS answers with the same options.
    let answered = row(&plain, &options);
    assert!(answered["error"].is_null() && answered["events"] == 0, "{answered}");
    secure.signal(Signal::SIGKILL);
    plain.finish().expect_code(0);
}

#[test]
fn a_stopped_sidecar_is_found_and_delays_no_other() {
    let stopped = Sidecar::wrap_echo(&[]);
    let running = Sidecar::wrap_echo(&[]);
    row_of_worker(&stopped, "cat");
    row_of_worker(&running, "cat");
    stopped.signal(Signal::SIGSTOP);
    let stat = format!("/proc/{}/stat", stopped.pid());
    wait_until("the stop", || fs::read_to_string(&stat).unwrap().contains(") T "));
    let row_of_stopped = row(&stopped, &[]);
    assert!(row_of_stopped["error"].as_str().unwrap().contains("is stopped"), "{row_of_stopped}");
    assert_eq!(row_of_stopped["command"], "cat");
    assert_eq!(row(&running, &[])["events"], 0);
    stopped.signal(Signal::SIGCONT);
    running.finish().expect_code(0);
    stopped.finish().expect_code(0);
}

#[test]
fn a_sidecar_that_has_ended_counts_nowhere_before_its_parent_waits_for_it() {
    let left_out = || {
        let stderr = run(&["ps"]).stderr();
        let line = stderr.lines().find(|line| line.contains("container")).unwrap_or_default();
        let count = line.split(|character: char| !character.is_ascii_digit()).find(|word| !word.is_empty());
        count.map_or(0, |count| count.parse::<usize>().unwrap())
    };
    let before = left_out();
    let ended = Sidecar::wrap_echo(&[]);
    row_of_worker(&ended, "cat");
    ended.signal(Signal::SIGKILL);
    let stat = format!("/proc/{}/stat", ended.pid());
    wait_until("the end", || fs::read_to_string(&stat).unwrap().contains(") Z "));
    wait_until("a list without it", || left_out() <= before);
    ended.finish().expect_signal(9);
}
