//! The gRPC side: listeners, connections, services, and the order in which they end.
//!
//! ```text
//! listener → acceptor → connection: TLS, HTTP/2 (hyper) → router ─┬→ telemetry (StreamTelemetry: frames from the hub)
//!                                                                 ├→ status (GetStatus)
//!                                                                 └→ health, reflection (tonic's)
//! ```
//!
//! Who is let in: a unix socket's acceptor looks at the peer's user, TLS at its certificate, the router at the token.

mod acceptor;
pub mod auth;
mod connection;
pub mod limits;
pub mod rate_limit;
mod router;
pub mod server;
pub mod service;
mod unary;
mod until_end;
