//! `tail`: which sidecars, which events, and how they are printed.

mod events;
mod output;
mod several;
mod terminal;

use super::support::{Builder, Sidecar, Status, line, wait_for};

/// `tail` with these arguments and the addresses of these sidecars.
fn tail(options: &[&str], sidecars: &[&Sidecar]) -> Builder {
    let addresses: Vec<_> = sidecars.iter().map(|sidecar| address(sidecar)).collect();
    let addresses: Vec<_> = addresses.iter().map(String::as_str).collect();
    Sidecar::command(&[&["tail"], options, &addresses].concat())
}

fn address(sidecar: &Sidecar) -> String {
    format!("127.0.0.1:{}", sidecar.port())
}

/// A sidecar with events of these names that wait for a subscriber. Their counts are their numbers from 1.
async fn with_backlog(options: &[&str], names: &[&str]) -> Sidecar {
    let mut sidecar = Sidecar::wrap_echo(options);
    sidecar.write(names.iter().zip(1..).map(|(name, count)| line(name, count, "")).collect::<String>());
    let waits = |status: &Status| status.backlog.unwrap().taken_in == names.len() as u64;
    wait_for("the events to wait", async || sidecar.status().await, waits).await;
    sidecar
}

/// The numbers of the events in JSON lines.
fn counts(printed: &str) -> Vec<u32> {
    let events = printed.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    events.map(|event| event["measurements"]["count"].as_u64().unwrap().try_into().unwrap()).collect()
}
