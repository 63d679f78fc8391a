//! The generated protobuf types and clients, and the descriptors for server reflection.

use serde::{Serialize as _, Serializer};

/// The contract with Snakepit: `proto/snakepit_bridge.proto`.
#[allow(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    reason = "generated; the .proto file is the documentation"
)]
pub mod bridge {
    tonic::include_proto!("snakepit.bridge");

    /// The file descriptor set of this package.
    pub const DESCRIPTOR: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/snakepit_bridge.bin"));

    /// The path of the method that streams events.
    pub const STREAM_TELEMETRY: &str = "/snakepit.bridge.BridgeService/StreamTelemetry";
}

/// The sidecar's own service: `proto/telemetry_sidecar.proto`.
#[allow(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    reason = "generated; the .proto file is the documentation"
)]
pub mod sidecar {
    tonic::include_proto!("telemetry_sidecar.v1");

    /// The file descriptor set of this package.
    pub const DESCRIPTOR: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/telemetry_sidecar.bin"));
}

impl sidecar::EndReason {
    /// The reason as text; none if it is unspecified.
    pub fn text(self) -> Option<&'static str> {
        match self {
            Self::Unspecified => None,
            Self::Exit => Some("exit"),
            Self::Signal => Some("signal"),
            Self::OutOfMemory => Some("out of memory"),
            Self::MaybeOutOfMemory => Some("killed, maybe out of memory"),
        }
    }
}

/// The number of an `EndReason` in JSON: its text, or null.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn end_reason<S: Serializer>(number: &i32, serializer: S) -> Result<S::Ok, S::Error> {
    let reason = sidecar::EndReason::try_from(*number).unwrap_or_default();
    reason.text().serialize(serializer)
}
