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
pub mod access;
mod connection;
pub mod controls;
pub mod limits;
pub mod listener;
pub mod reload;
mod request;
mod router;
pub mod server;
mod socket;
pub mod status;
mod telemetry;
pub mod throttle;
pub mod tls;
pub mod tokens;
pub mod unix_socket;
mod until_end;
