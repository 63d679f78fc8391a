//! Starting the exporters. Each has a thread and a queue of its own.

use super::session::{no_thread, open_output};
use crate::{config::Export, exporter::jsonl, hub::Hub};
use std::sync::Arc;

/// Starts those that are wanted: they take what the hub is handed from now on.
pub fn start(export: &Export, hub: &Arc<Hub>) -> Result<(), String> {
    if let Some(path) = &export.jsonl {
        let file = open_output("--export-jsonl", path)?;
        jsonl::start(hub.export(jsonl::NAME, jsonl::LIMITS), file).map_err(|error| no_thread(&error))?;
    }
    Ok(())
}
