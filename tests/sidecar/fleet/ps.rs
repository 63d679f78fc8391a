//! `ps`: its table and its JSON.

use super::{on_terminal, row, row_of_worker, run, with_dropped};
use crate::support::{Sidecar, line, wait_until};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::fs;

#[tokio::test(flavor = "multi_thread")]
async fn json_has_the_worker_and_the_counters() {
    let mut sidecar = Sidecar::wrap_echo(&["--export-jsonl", "/dev/full"]);
    sidecar.write([line("a", 1, ""), line("b", 2, "")].concat());
    with_dropped(&sidecar, 2).await;
    let _subscriber = sidecar.subscribe().await;
    let row = row_of_worker(&sidecar, "cat");
    assert_eq!(row["events"], 2, "{row}");
    assert_eq!(row["subscribers"], 1, "{row}");
    assert_eq!(row["lost_events"], 2, "{row}");
    assert_eq!((&row["lost_log_lines"], &row["worker_end"]), (&json!(0), &Value::Null), "{row}");
    assert_eq!(row["events_per_second"], 0.0, "{row}");
    assert!(row["uptime_seconds"].as_f64().unwrap() < 3600.0, "{row}");
}

#[test]
fn a_replay_is_shown_by_its_file() {
    let words = ["replay", "--ready-file", "{dir}/ready", "--listen", "127.0.0.1:0", "{dir}/recording"];
    let builder = Sidecar::command(&words);
    fs::write(builder.path("recording"), line("a", 1, "")).unwrap();
    let sidecar = builder.start();
    sidecar.ready_lines();
    let row = row(&sidecar, &[]);
    assert_eq!(row["command"], format!("replay {}", sidecar.path("recording").display()));
    assert!(row["worker_pid"].is_null(), "{row}");
    sidecar.signal(Signal::SIGTERM);
}

#[test]
fn a_worker_that_has_ended_is_shown_as_the_state_of_its_sidecar() {
    let sidecar = Sidecar::wrap(&["--linger", "600s"], "echo 'TELEMETRY:{\"event\": \"a\"}' >&2; exit 3");
    sidecar.port();
    let pid = sidecar.pid().to_string();
    wait_until("the worker's end", || {
        let listed = run(&["ps"]).expect_code(0).stdout();
        let mut lines = listed.lines();
        assert!(lines.next().unwrap().starts_with("SIDECAR"), "{listed}");
        let own = lines.find(|line| line.trim_start().starts_with(&pid)).unwrap();
        assert!(!own.contains('\u{1b}'), "{own}");
        own.ends_with("worker exited with 3")
    });
    let row = row(&sidecar, &[]);
    assert!(row["worker_pid"].is_null());
    let end = json!({ "exit_code": 3, "exit_signal": null, "end_reason": "exit" });
    assert_eq!(row["worker_end"], end);
    sidecar.signal(Signal::SIGTERM);
}

#[test]
fn the_table_fits_the_terminal_and_titles_are_bold() {
    let options = ["--listen", "127.0.0.1:0", "--listen", "unix:{dir}/socket"];
    let sidecar = Sidecar::wrap_command(&options, &["sleep", "600"]);
    row_of_worker(&sidecar, "sleep");
    for columns in [60, 80, 140] {
        let shown = on_terminal(&["ps"], columns);
        let own = shown.lines().find(|line| line.trim_start().starts_with(&sidecar.pid().to_string()));
        let own = own.unwrap_or_else(|| panic!("{shown}"));
        // Other sidecars of this host may have long states, for which addresses are left out.
        assert!(
            own.contains("sleep 600") && (columns < 140 || own.contains("127.0.0.1:")),
            "{columns}: {shown}"
        );
        assert!(shown.starts_with("\u{1b}[1mSIDECAR\u{1b}[0m  "), "{shown:?}");
        for line in shown.lines() {
            let plain: String =
                line.split('\u{1b}').map(|part| part.split_once('m').map_or(part, |it| it.1)).collect();
            assert!(plain.chars().count() <= columns.into(), "{columns}: {line:?}");
        }
    }
    sidecar.signal(Signal::SIGTERM);
}

#[test]
fn a_long_command_is_cut_before_columns_are_left_out() {
    let script = format!("exit 3 # {}", "x".repeat(200));
    let sidecar = Sidecar::wrap(&["--linger", "600s"], &script);
    wait_until("the worker's end", || {
        run(&["ps"]).expect_code(0).stdout().lines().any(|line| {
            line.trim_start().starts_with(&sidecar.pid().to_string())
                && line.ends_with("worker exited with 3")
        })
    });
    let shown = on_terminal(&["ps"], 80);
    // Other tests have sidecars, too, whose columns may take the rest.
    let row = shown.lines().find(|line| line.contains(&sidecar.pid().to_string())).unwrap_or_default();
    assert!(row.contains("  sh -c exit ") && row.contains('…'), "{shown}");
    assert!(row.contains("127.0.0.1:") && row.contains("worker exited with 3"), "{shown}");
    sidecar.signal(Signal::SIGTERM);
}
