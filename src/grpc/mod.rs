//! The gRPC server: connections, services, and their shutdown.
//!
//! ```text
//! accept loop → connection: TLS, HTTP/2 (hyper) → router ─┬→ telemetry (StreamTelemetry: frames of the hub)
//!                                                         ├→ pool calls (Ping, sessions, Heartbeat)
//!                                                         ├→ status (GetStatus)
//!                                                         ├→ upstream (the worker's own services)
//!                                                         └→ health, reflection (tonic's)
//! ```
//!
//! Access control: the accept loop checks the user of a unix socket's peer, TLS the certificate, the router
//! the token.

pub mod args;
pub mod auth;
mod closing;
mod connection;
mod frames;
mod hold;
pub mod limits;
mod payload;
pub mod rate_limit;
mod router;
pub mod server;
pub mod service;
mod stream_tracker;
mod unary;
mod until_end;
mod wire;
