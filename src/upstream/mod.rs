//! What the sidecar does for a worker that serves gRPC itself, or that a pool takes for one that does.

pub mod args;
pub mod events;
pub mod stream;
pub mod telemetry;
