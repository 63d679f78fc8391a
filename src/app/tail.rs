//! `tail`: the events of a running sidecar as JSON lines on stdout.

use crate::{
    event_json,
    grpc::listener::Address,
    proto::bridge::{TelemetryControl, bridge_service_client::BridgeServiceClient},
    worker::Exit,
};
use std::io::{self, Write as _};
use tonic::transport::Endpoint;

/// Prints events until the stream ends or nobody reads them any more.
pub fn run(address: &Address) -> Result<Exit, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("cannot start: {error}"))?;
    runtime.block_on(tail(address)).map(|()| Exit::Code(0))
}

async fn tail(address: &Address) -> Result<(), String> {
    let uri = match address {
        Address::Tcp { .. } => format!("http://{address}"),
        Address::Unix(_) => address.to_string(),
    };
    let cannot_connect = |error: tonic::transport::Error| {
        // What the system said is at the bottom.
        let mut cause: &dyn std::error::Error = &error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        format!("{address}: cannot connect: {cause}")
    };
    let channel =
        Endpoint::from_shared(uri).map_err(cannot_connect)?.connect().await.map_err(cannot_connect)?;
    let mut client = BridgeServiceClient::new(channel);
    let nothing_to_ask = tokio_stream::empty::<TelemetryControl>();
    let failed = |status: tonic::Status| format!("{address}: {}: {}", status.code(), status.message());
    let mut events = client.stream_telemetry(nothing_to_ask).await.map_err(failed)?.into_inner();
    let mut lines = Vec::new();
    while let Some(event) = events.message().await.map_err(failed)? {
        lines.clear();
        let written = event_json::write(&mut lines, &event, Some(event.timestamp_ns))
            .and_then(|()| io::stdout().lock().write_all(&lines))
            .and_then(|()| io::stdout().flush());
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(format!("standard output: {error}")),
            Ok(()) => {}
        }
    }
    Ok(())
}
