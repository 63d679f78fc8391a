//! Compiles the .proto files with protox, so that no `protoc` has to be installed.

use prost::Message as _;
use std::{env, error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let out = PathBuf::from(env::var("OUT_DIR")?);

    // The sidecar writes TelemetryEvents itself, answers StreamTelemetry with a body of its own and only some
    // of the other calls, so only the client (`tail`, tests) is generated for Snakepit's service. BTreeMap
    // makes printed events stable.
    let bridge = protox::compile(["snakepit_bridge.proto"], ["proto"])?;
    fs::write(out.join("snakepit_bridge.bin"), bridge.encode_to_vec())?;
    tonic_prost_build::configure().build_server(false).btree_map(".").compile_fds(bridge)?;

    // `status --json` prints the sidecar's own messages.
    let sidecar = protox::compile(["telemetry_sidecar.proto"], ["proto"])?;
    fs::write(out.join("telemetry_sidecar.bin"), sidecar.encode_to_vec())?;
    tonic_prost_build::configure()
        .btree_map(".")
        .type_attribute(".", "#[derive(serde::Serialize)]")
        .field_attribute(
            "telemetry_sidecar.v1.Worker.end_reason",
            "#[serde(serialize_with = \"super::end_reason\")]",
        )
        .compile_fds(sidecar)?;

    // OTLP's messages; the exporter has its own client. Without comments, whose examples would be taken for
    // doc tests.
    let collector = "opentelemetry/proto/collector";
    let otlp = protox::compile(
        [
            format!("{collector}/trace/v1/trace_service.proto"),
            format!("{collector}/metrics/v1/metrics_service.proto"),
            format!("{collector}/logs/v1/logs_service.proto"),
        ],
        ["proto"],
    )?;
    tonic_prost_build::configure()
        .build_client(false)
        .build_server(false)
        .disable_comments(["."])
        .include_file("opentelemetry.rs")
        .compile_fds(otlp)?;
    Ok(())
}
