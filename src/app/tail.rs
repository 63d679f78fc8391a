//! `tail`: prints the events of a running sidecar as JSON lines.

use crate::{
    config::{ClientAccess, ClientTls},
    event::{
        json,
        proto::bridge::{TelemetryControl, bridge_service_client::BridgeServiceClient},
    },
    net::{address::Address, pem, reload::Source as _, tokens::TokenFile},
    system::fd::write_all,
    worker::Exit,
};
use std::{error::Error, io};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    transport::{Certificate, ClientTlsConfig, Endpoint, Identity},
};

/// Prints events until the stream ends or stdout is closed.
pub fn run(address: &Address, access: &ClientAccess) -> Result<Exit, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("cannot start: {error}"))?;
    runtime.block_on(tail(address, access)).map(|()| Exit::Code(0))
}

async fn tail(address: &Address, access: &ClientAccess) -> Result<(), String> {
    let uri = match (address, &access.tls) {
        (Address::Tcp { .. }, None) => format!("http://{address}"),
        (Address::Tcp { .. }, Some(_)) => format!("https://{address}"),
        (Address::Unix(_), _) => address.to_string(),
    };
    let mut request = Request::new(tokio_stream::empty::<TelemetryControl>());
    if let Some(tokens) = &access.tokens {
        request.metadata_mut().insert("authorization", bearer(tokens)?);
    }
    let cannot_connect =
        |error: tonic::transport::Error| format!("{address}: cannot connect: {}", explain(&error));
    let mut endpoint = Endpoint::from_shared(uri).map_err(cannot_connect)?;
    if let Some(tls) = &access.tls {
        endpoint = endpoint.tls_config(tls_config(tls)?).map_err(cannot_connect)?;
    }
    let channel = endpoint.connect().await.map_err(cannot_connect)?;
    let mut client = BridgeServiceClient::new(channel);
    let failed = |status: Status| match status.source() {
        Some(cause) => format!("{address}: the connection failed: {}", explain(cause)),
        None => format!("{address}: {}: {}", status.code(), status.message()),
    };
    let mut events = client.stream_telemetry(request).await.map_err(failed)?.into_inner();
    let mut lines = Vec::new();
    while let Some(event) = events.message().await.map_err(failed)? {
        lines.clear();
        let written = json::write(&mut lines, &event, Some(event.timestamp_ns))
            .and_then(|()| write_all(io::stdout(), &lines).map_err(|unwritten| unwritten.error));
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(format!("standard output: {error}")),
            Ok(()) => {}
        }
    }
    Ok(())
}

/// The root cause: the system's or TLS's error, or a hint that only one side uses TLS.
fn explain(mut error: &(dyn Error + 'static)) -> String {
    while let Some(cause) = error.source() {
        error = cause;
    }
    let tls_error = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    if let Some(rustls::Error::InvalidMessage(_)) = tls_error.and_then(|error| error.downcast_ref()) {
        return "it does not speak TLS".into();
    }
    let text = error.to_string();
    // A TLS server answers plain HTTP/2 with an alert, which HTTP/2 takes for a frame.
    if text.ends_with("frame with invalid size") { text + ", does it speak TLS? (--tls-ca)" } else { text }
}

/// The `authorization` header with the first token.
fn bearer(tokens: &TokenFile) -> Result<MetadataValue<Ascii>, String> {
    let value = [b"Bearer ", tokens.load()?.first()].concat();
    let mut value = MetadataValue::try_from(value).map_err(|error| tokens.0.error(error))?;
    value.set_sensitive(true);
    Ok(value)
}

fn tls_config(tls: &ClientTls) -> Result<ClientTlsConfig, String> {
    // Validate the files first: tonic's errors do not name the file, and it ignores some errors.
    pem::authorities(&tls.ca)?;
    let config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(tls.ca.read()?));
    let Some((certificate, key)) = &tls.identity else { return Ok(config) };
    pem::identity(certificate, key)?;
    Ok(config.identity(Identity::from_pem(certificate.read()?, key.read()?)))
}
