//! The services that the sidecar answers itself.

pub(crate) mod builtin;
pub mod controls;
pub mod status;
pub(crate) mod telemetry;
