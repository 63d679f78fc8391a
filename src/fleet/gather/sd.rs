//! `/sd`: the pages of the sidecars as targets for Prometheus' `http_sd_configs`.

use super::{page::command, slots::Slots};
use crate::exporter::prometheus::targets::{COMMAND, PID, target};
use serde_json::{Value, json};

/// The slot that a worker has on the page of all workers.
const SLOT: &str = "__meta_telemetry_sidecar_worker";

/// The process id of the worker itself.
const WORKER_PID: &str = "__meta_telemetry_sidecar_worker_pid";

/// The targets, as JSON.
pub(super) fn targets(slots: &Slots) -> String {
    let targets = slots.workers().map(|(slot, worker)| {
        let sidecar = &worker.sidecar;
        let mut labels = json!({
            SLOT: slot.to_string(),
            PID: sidecar.pid.to_string(),
            COMMAND: command(sidecar),
        });
        if let Some(pid) = sidecar.worker {
            labels[WORKER_PID] = pid.to_string().into();
        }
        json!({ "targets": [target(worker.published)], "labels": labels })
    });
    format!("{}\n", targets.collect::<Value>())
}
