//! What is found of running sidecars. Other tests run sidecars beside these, so each looks for its own.

mod discover;
mod ps;
mod status;

use super::support::{BINARY, Finished, Sidecar, Status, run, wait_for, wait_until};
use nix::{pty::Winsize, pty::openpty};
use serde_json::Value;
use std::{
    fs::File,
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
