//! The sidecars that run on this host, and connections to them.

pub mod args;
pub mod client;
pub mod discover;
mod ended;
pub mod error;
pub mod gather;
pub mod probe;
pub mod ps;
pub mod status;
pub mod tail;
pub mod target;
pub mod top;

use crate::{system::visible::escape_in_json, terminal::standard_output};
use error::FleetError;
use serde::Serialize;

/// An object in one line that a terminal can show.
fn json_line(object: &impl Serialize) -> String {
    let mut line = serde_json::to_vec(object).unwrap_or_default();
    line.push(b'\n');
    escape_in_json(&mut line);
    String::from_utf8(line).unwrap_or_default()
}

/// Prints a text.
fn printed(text: &str) -> Result<(), FleetError> {
    standard_output::printed(&standard_output::write(text.as_bytes())).map_err(FleetError::Output)
}
