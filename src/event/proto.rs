//! The generated protobuf types and clients, and the descriptors for server reflection.

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
