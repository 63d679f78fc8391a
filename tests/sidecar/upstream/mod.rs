//! A worker that serves gRPC itself, behind `--upstream`.

mod calls;
mod failures;
mod pool;
mod server;
mod telemetry;
mod worker;

use crate::support::Sidecar;
use server::Server;

/// A sidecar in front of this server. Its worker ends with its stdin.
fn sidecar(server: &Server) -> Sidecar {
    Sidecar::wrap(&["--upstream", &format!("127.0.0.1:{}", server.port)], "cat")
}
