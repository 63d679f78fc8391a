//! A worker that serves gRPC itself, or that a pool takes for one that does.
//!
//! ```text
//! client ── its connection (grpc) ── Connection ── Relayed ── the worker
//!                             hub ── telemetry ── Connection ──┘
//! ```
//!
//! Calls that are not the sidecar's own are relayed. Each client's connection has a connection of its own to
//! the worker. So a client that does not read stops its own calls and no others, as without the sidecar.

pub mod args;
mod call;
mod connection;
pub mod events;
pub mod readiness;
mod services;
pub mod stream;
pub mod telemetry;
mod worker;

pub use call::{Relayed, RequestBody};
pub use connection::{
    CONNECTION_WINDOW_BYTES, Connection, MAX_HEADER_BYTES, RelayError, STREAM_WINDOW_BYTES,
};
pub use worker::{Unavailable, Upstream};
