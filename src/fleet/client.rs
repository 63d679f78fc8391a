//! A connection to a running sidecar.

use crate::net::{
    address::Address,
    client_tls::{ClientTlsFiles, handshake},
    pem,
    reload::Source as _,
    source_file::{SourceError, SourceFile},
    tokens::TokenFile,
    unix_socket,
};
use hyper_util::{client::legacy::connect::HttpConnector, rt::TokioIo};
use rustls::ClientConfig;
use std::{
    error::Error,
    io,
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use thiserror::Error;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;
use tonic::{
    Status,
    metadata::{Ascii, MetadataValue},
    transport::{self, Channel, Endpoint, Uri},
};
use tower_service::Service;

/// How long a connection and its TLS handshake may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// Interval between keepalive pings while nothing arrives, and how long an answer may take: as the sidecar
/// does it.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// How to connect.
#[derive(Debug)]
pub struct ClientAccess {
    /// Speak TLS.
    pub tls: Option<ClientTls>,
    /// Send the first of these tokens.
    pub tokens: Option<TokenFile>,
}

/// TLS from a client's side.
#[derive(Debug)]
pub struct ClientTls {
    /// The authorities one of which has to have signed the server's certificate.
    pub ca: SourceFile,
    /// The client's certificate and its private key.
    pub identity: Option<(SourceFile, SourceFile)>,
}

/// Why a sidecar cannot be connected to, or why its answer ended.
#[derive(Debug, Error)]
pub enum ClientError {
    #[error(transparent)]
    File(#[from] SourceError),
    #[error("{address}: cannot connect: {}", root_cause(.cause))]
    Connect { address: Address, cause: transport::Error },
    #[error("{address}: {}", describe(.status))]
    Call { address: Address, status: Status },
}

/// Connects. The connection fails when its peer's host has vanished.
///
/// # Errors
///
/// If a file cannot be loaded or the connection fails.
pub async fn connect(address: &Address, tls: Option<&ClientTls>) -> Result<Channel, ClientError> {
    let host = match address {
        Address::Tcp(host) => host.to_string(),
        Address::Unix(_) => "localhost".to_owned(),
    };
    let failed = |cause| ClientError::Connect { address: address.clone(), cause };
    let mut endpoint = Endpoint::from_shared(format!("http://{host}"))
        .map_err(failed)?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    match (address, tls) {
        (Address::Tcp(_), None) => endpoint.connect().await,
        (Address::Tcp(_), Some(tls)) => {
            if let Ok(origin) = format!("https://{host}").parse() {
                endpoint = endpoint.origin(origin);
            }
            endpoint.connect_with_connector(TlsSocket::new(tls)?).await
        }
        (Address::Unix(path), _) => endpoint.connect_with_connector(UnixSocket(path.clone())).await,
    }
    .map_err(failed)
}

/// Connects over TCP with TLS.
struct TlsSocket {
    tcp: HttpConnector,
    config: Arc<ClientConfig>,
}

impl TlsSocket {
    fn new(tls: &ClientTls) -> Result<Self, SourceError> {
        // Every authority has to be valid: somebody reads the error.
        pem::authorities(&tls.ca)?;
        let authorities = Some(tls.ca.clone());
        let files = ClientTlsFiles { authorities, identity: tls.identity.clone(), protocol: "h2" };
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        Ok(Self { tcp, config: Arc::new(files.load()?) })
    }
}

type BoxError = Box<dyn Error + Send + Sync>;

impl Service<Uri> for TlsSocket {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(context).map_err(BoxError::from)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let config = Arc::clone(&self.config);
        let connecting = self.tcp.call(uri.clone());
        Box::pin(async move {
            let tcp = connecting.await?.into_inner();
            Ok(TokioIo::new(handshake(config, uri.host().unwrap_or_default(), tcp).await?))
        })
    }
}

/// Connects to a unix socket, whatever address is asked for.
struct UnixSocket(PathBuf);

impl Service<Uri> for UnixSocket {
    type Response = TokioIo<UnixStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<UnixStream>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let path = self.0.clone();
        Box::pin(async move { unix_socket::connect(&path).await.map(TokioIo::new) })
    }
}

fn describe(status: &Status) -> String {
    match status.source() {
        Some(cause) => format!("the connection failed: {}", root_cause(cause)),
        None => format!("{}: {}", status.code(), status.message()),
    }
}

/// The root cause: the system's or TLS's error, or a hint that only one side uses TLS.
fn root_cause(mut error: &(dyn Error + 'static)) -> String {
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
///
/// # Errors
///
/// If the file cannot be read, or a token is no header value.
pub fn bearer(tokens: &TokenFile) -> Result<MetadataValue<Ascii>, SourceError> {
    let value = [b"Bearer ", tokens.load()?.first()].concat();
    let invalid = |error| tokens.0.error(io::Error::new(io::ErrorKind::InvalidData, error));
    let mut value = MetadataValue::try_from(value).map_err(invalid)?;
    value.set_sensitive(true);
    Ok(value)
}
