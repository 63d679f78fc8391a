//! `tail`: prints the events of a running sidecar as JSON lines.

use super::client::{ClientAccess, ClientError, Connector};
use crate::{
    event::{
        json,
        proto::bridge::{TelemetryControl, bridge_service_client::BridgeServiceClient},
    },
    grpc::service::telemetry::MISSING_EVENTS,
    net::address::Address,
    system::{log::error_line, thread, visible::escape_in_json},
    terminal::standard_output,
    worker::Exit,
};
use std::io;
use thiserror::Error;
use tonic::metadata::MetadataMap;

/// Why there are no more events.
#[derive(Debug, Error)]
pub enum TailError {
    #[error("cannot start: {0}")]
    Start(io::Error),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("standard output: {0}")]
    Output(io::Error),
}

/// Prints events until the stream ends or stdout is closed.
///
/// # Errors
///
/// If the connection or the stream fails, or standard output does.
pub fn run(address: &Address, access: &ClientAccess) -> Result<Exit, TailError> {
    let runtime = thread::runtime().enable_all().build();
    runtime.map_err(TailError::Start)?.block_on(tail(address, access)).map(|()| Exit::Code(0))
}

async fn tail(address: &Address, access: &ClientAccess) -> Result<(), TailError> {
    let connection = Connector::new(access).map_err(ClientError::from)?.given(address).await?;
    let mut client = BridgeServiceClient::new(connection.channel());
    let failed = |status| connection.error(status);
    let request = connection.request(tokio_stream::empty::<TelemetryControl>());
    let response = client.stream_telemetry(request).await.map_err(failed)?;
    if let Some(count) = missing_events(response.metadata()) {
        error_line(format_args!("{count} older events are missing: more came than wait for a subscriber"));
    }
    let mut events = response.into_inner();
    let mut lines = Vec::new();
    while let Some(event) = events.message().await.map_err(failed)? {
        lines.clear();
        let written = json::write(&mut lines, &event, Some(event.timestamp_ns))
            .map(|()| escape_in_json(&mut lines))
            .and_then(|()| standard_output::write(&lines));
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(TailError::Output(error)),
            Ok(()) => {}
        }
    }
    Ok(())
}

/// How many older events the sidecar has dropped before this subscription.
fn missing_events(metadata: &MetadataMap) -> Option<u64> {
    metadata.get(MISSING_EVENTS)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{
        super::client::{KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT},
        *,
    };
    use tokio::{io::AsyncReadExt as _, net::UnixListener, time::Instant};

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_answers_no_ping_ends_it_with_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let peer = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_to_end(&mut Vec::new()).await
        });
        let start = Instant::now();
        let ended = tail(&Address::Unix(path), &ClientAccess { tls: None, tokens: None }).await;
        let text = ended.unwrap_err().to_string();
        assert!(text.contains("the connection failed: ") && text.contains("timed out"), "{text}");
        assert_eq!(start.elapsed().as_secs(), (KEEPALIVE_INTERVAL + KEEPALIVE_TIMEOUT).as_secs());
        peer.abort();
    }
}
