//! The services that the sidecar answers itself.

pub mod controls;
pub mod status;
pub(crate) mod telemetry;
