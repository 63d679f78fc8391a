//! What is found of running sidecars. Other tests run sidecars beside these, so each looks for its own.

mod discover;
mod ps;
mod status;
mod top;
mod top_recordings;

use super::support::{BINARY, Finished, Sidecar, Status, run, wait_for, wait_until};
use nix::{pty::Winsize, pty::openpty};
use serde_json::Value;
use std::{
    fs::{self, File},
    io::Read as _,
    process::{Command, Stdio},
};

/// What `ps --json` prints about a sidecar.
fn row(sidecar: &Sidecar, options: &[&str]) -> Value {
    let finished = run(&[&["ps", "--json"], options].concat());
    let stdout = finished.expect_code(0).stdout();
    let rows = stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut rows = rows.filter(|row| row["pid"] == sidecar.pid().as_raw());
    let row = rows.next().unwrap_or_else(|| panic!("not found: {}", finished.describe()));
    assert!(rows.next().is_none(), "{}", finished.describe());
    row
}

/// The same, once it has started its worker, which has this name: the witness, which is older, is none.
fn row_of_worker(sidecar: &Sidecar, name: &str) -> Value {
    sidecar.ready_lines();
    let mut found = Value::Null;
    wait_until("the worker", || {
        found = row(sidecar, &[]);
        let worker = found["worker_pid"].as_u64().unwrap_or(0);
        fs::read_to_string(format!("/proc/{worker}/comm")).is_ok_and(|comm| comm.trim() == name)
    });
    found
}

/// Waits until the exporter has dropped so many events.
async fn with_dropped(sidecar: &Sidecar, count: u64) {
    let dropped = |status: &Status| status.exporters[0].dropped == count;
    wait_for("the exporter", async || sidecar.status().await, dropped).await;
}

/// Waits until the worker has printed so many events.
async fn with_events(sidecar: &Sidecar, count: u64) {
    let printed = |status: &Status| status.events == count;
    wait_for("the events", async || sidecar.status().await, printed).await;
}

/// What a command shows on a terminal of this width.
fn on_terminal(arguments: &[&str], columns: u16) -> String {
    let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let pty = openpty(&size, None).unwrap();
    let mut command = Command::new(BINARY);
    command.args(arguments).env("TERM", "xterm-256color").env("LC_ALL", "C.UTF-8").env_remove("NO_COLOR");
    let mut child = command.stdin(Stdio::null()).stdout(pty.slave).stderr(Stdio::null()).spawn().unwrap();
    // Closes its copy of the terminal.
    drop(command);
    let mut shown = Vec::new();
    // Fails when nobody has the terminal open any more.
    let _ = File::from(pty.master).read_to_end(&mut shown);
    child.wait().unwrap();
    String::from_utf8_lossy(&shown).replace("\r\n", "\n")
}
