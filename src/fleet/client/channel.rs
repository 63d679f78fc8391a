//! Channels over TCP, TLS and unix sockets.

use super::{ClientError, ClientTls};
use crate::net::{
    address::Address,
    client_tls::{ClientTlsFiles, handshake},
    pem,
    reload::Source as _,
    source_file::SourceError,
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
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tower_service::Service;

/// How long a connection and its TLS handshake may take.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// Interval between keepalive pings while nothing arrives, and how long an answer may take: as the sidecar
/// does it.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// Connects. The connection fails when its peer's host has vanished. The certificate has to be for `name`, or
/// else for the address.
pub(super) async fn channel(
    address: &Address,
    tls: Option<&Arc<ClientConfig>>,
    name: Option<&'static str>,
) -> Result<Channel, ClientError> {
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
            endpoint.connect_with_connector(TlsSocket::new(Arc::clone(tls), name)).await
        }
        (Address::Unix(path), _) => endpoint.connect_with_connector(UnixSocket(path.clone())).await,
    }
    .map_err(failed)
}

pub(super) fn tls_config(tls: &ClientTls) -> Result<Arc<ClientConfig>, SourceError> {
    // Every authority has to be valid: an invalid one is reported to the user.
    pem::authorities(&tls.ca)?;
    let authorities = Some(tls.ca.clone());
    let files = ClientTlsFiles { authorities, identity: tls.identity.clone(), protocol: "h2" };
    Ok(Arc::new(files.load()?))
}

/// Connects over TCP with TLS.
struct TlsSocket {
    tcp: HttpConnector,
    config: Arc<ClientConfig>,
    /// The name that the certificate has to be for; none is the host's.
    name: Option<&'static str>,
}

impl TlsSocket {
    fn new(config: Arc<ClientConfig>, name: Option<&'static str>) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        Self { tcp, config, name }
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
        let name = self.name;
        Box::pin(async move {
            let tcp = connecting.await?.into_inner();
            let name = name.or(uri.host()).unwrap_or_default();
            Ok(TokioIo::new(handshake(config, name, tcp).await?))
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
