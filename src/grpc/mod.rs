//! The gRPC side: listeners, connections, services, and the order in which they end.
//!
//! ```text
//! listener → socket → HTTP/2 (hyper) → router ─┬→ telemetry (StreamTelemetry: frames from the hub)
//!                                              ├→ status (GetStatus)
//!                                              └→ health, reflection (tonic's)
//! ```

pub mod controls;
pub mod listener;
mod router;
pub mod server;
mod socket;
pub mod status;
mod telemetry;
mod until_end;
