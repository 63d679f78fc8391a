//! The services that the sidecar answers itself.

pub(crate) mod builtin;
pub mod controls;
pub(crate) mod observer;
pub(crate) mod pool_calls;
pub mod status;
pub(crate) mod telemetry;
