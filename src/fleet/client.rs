//! A connection to a running sidecar.

use super::discover::Sidecar;
use crate::{
    event::proto::sidecar::{GetStatusRequest, GetStatusResponse, sidecar_client::SidecarClient},
    net::{
        address::{Address, HostPort},
        client_tls::{ClientTlsFiles, handshake},
        pem,
        reload::Source as _,
        source_file::{SourceError, SourceFile},
        tokens::TokenFile,
        unix_socket,
    },
};
use hyper_util::{client::legacy::connect::HttpConnector, rt::TokioIo};
use rustls::ClientConfig;
use std::{
    error::Error,
    io,
    net::IpAddr,
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use thiserror::Error;
use tokio::{
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tokio_rustls::client::TlsStream;
use tonic::{
    Code, Request, Response, Status,
    metadata::{Ascii, MetadataValue},
    transport::{self, Channel, Endpoint, Uri},
};
use tower_service::Service;

/// How long a connection and its TLS handshake may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a sidecar that was found may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// The longest status that is read: it has a part for each subscriber.
const MAX_STATUS_BYTES: usize = 64 * 1024 * 1024;

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
    #[error("{address}: does not answer")]
    NoAnswer { address: Address },
    #[error("process {pid} is stopped: `kill -CONT {pid}` continues it")]
    Stopped { pid: u32 },
}

impl ClientError {
    /// Whether there is no server yet, so that trying again may help: neither TLS nor a call has failed.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Connect { cause, .. } if tls_error(cause).is_none() && !is_tls_alert(cause))
    }
}

/// Connects to sidecars. The files are read once.
pub struct Connector {
    tls: Option<Arc<ClientConfig>>,
    token: Option<MetadataValue<Ascii>>,
}

impl Connector {
    /// Loads the files.
    ///
    /// # Errors
    ///
    /// If one cannot be used.
    pub fn new(access: &ClientAccess) -> Result<Self, SourceError> {
        let tls = access.tls.as_ref().map(tls_config).transpose()?;
        let token = access.tokens.as_ref().map(bearer).transpose()?;
        Ok(Self { tls, token })
    }

    /// Connects to an address that the user gave: with TLS and with a token if there are options for them. A
    /// unix socket has no TLS.
    ///
    /// # Errors
    ///
    /// If the connection fails.
    pub async fn given(&self, address: &Address) -> Result<Connection, ClientError> {
        let tls = self.tls.as_ref().filter(|_| matches!(address, Address::Tcp(_)));
        let channel = channel(address, tls, None).await?;
        Ok(Connection { address: address.clone(), channel, token: self.token.clone() })
    }

    /// Connects to a sidecar that was found, and gets its counters. TLS is used if the sidecar speaks it, and
    /// the token is sent if it requires one, but never unencrypted beyond this host.
    ///
    /// # Errors
    ///
    /// If no listener answers within two seconds, or it refuses to.
    pub async fn found(&self, sidecar: &Sidecar) -> Result<(Connection, GetStatusResponse), ClientError> {
        if sidecar.is_stopped() {
            return Err(ClientError::Stopped { pid: sidecar.pid });
        }
        // The metrics page has no unix socket, so such a listener needs no second attempt.
        let mut listeners: Vec<_> = sidecar.listeners.iter().collect();
        listeners.sort_by_key(|address| matches!(address, Address::Tcp(_)));
        let mut failed = None;
        for address in listeners {
            let asked = timeout(ANSWER_TIMEOUT, self.ask(address)).await;
            let error = match asked {
                Ok(Ok(answered)) => return Ok(answered),
                Ok(Err(error)) => error,
                // Other listeners do not answer, either.
                Err(_) => return Err(failed.unwrap_or(ClientError::NoAnswer { address: address.clone() })),
            };
            // The metrics page is no gRPC, which says nothing about the sidecar.
            if failed.as_ref().is_none_or(|failed| !is_about_access(failed)) {
                failed = Some(error);
            }
        }
        Err(failed.unwrap_or(ClientError::Stopped { pid: sidecar.pid }))
    }

    async fn ask(&self, address: &Address) -> Result<(Connection, GetStatusResponse), ClientError> {
        let (channel, encrypted) = self.as_needed(address).await?;
        let mut connection = Connection { address: address.clone(), channel, token: None };
        match connection.status().await {
            Err(ClientError::Call { status, address }) if status.code() == Code::Unauthenticated => {
                if self.token.is_none() || !encrypted && !is_of_this_host(&address) {
                    return Err(ClientError::Call { status, address });
                }
                connection.token.clone_from(&self.token);
            }
            answered => return answered.map(|status| (connection, status)),
        }
        connection.status().await.map(|status| (connection, status))
    }

    /// Connects with TLS if the peer speaks it.
    async fn as_needed(&self, address: &Address) -> Result<(Channel, bool), ClientError> {
        if let (Some(tls), Address::Tcp(_)) = (&self.tls, address) {
            // Certificates of this host may have its address, its name or both.
            let names = [None, Some("localhost")].into_iter();
            for name in names.take(if is_of_this_host(address) { 2 } else { 1 }) {
                match channel(address, Some(tls), name).await {
                    Err(error) if is_plain(&error) => break,
                    Err(error) if name.is_none() && is_other_name(&error) => {}
                    connected => return connected.map(|channel| (channel, true)),
                }
            }
        }
        channel(address, None, None).await.map(|channel| (channel, false))
    }
}

/// A connection to a sidecar. Clones share it.
#[derive(Debug, Clone)]
pub struct Connection {
    address: Address,
    channel: Channel,
    token: Option<MetadataValue<Ascii>>,
}

impl Connection {
    /// The address that was connected to.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The channel, for clients of the services.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// A request with the token, if there is one to send.
    pub fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(token) = &self.token {
            request.metadata_mut().insert("authorization", token.clone());
        }
        request
    }

    /// The error of a call.
    pub fn error(&self, status: Status) -> ClientError {
        ClientError::Call { address: self.address.clone(), status }
    }

    /// All counters.
    ///
    /// # Errors
    ///
    /// If the call fails.
    pub async fn status(&self) -> Result<GetStatusResponse, ClientError> {
        let mut client = SidecarClient::new(self.channel()).max_decoding_message_size(MAX_STATUS_BYTES);
        let response = client.get_status(self.request(GetStatusRequest {})).await;
        response.map(Response::into_inner).map_err(|status| self.error(status))
    }
}

/// Whether only processes of this host can read what is sent there.
fn is_of_this_host(address: &Address) -> bool {
    match address {
        Address::Unix(_) => true,
        Address::Tcp(HostPort { host, .. }) => {
            host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
        }
    }
}

/// Connects. The connection fails when its peer's host has vanished. The certificate has to be for `name`, or
/// else for the address.
async fn channel(
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

fn tls_config(tls: &ClientTls) -> Result<Arc<ClientConfig>, SourceError> {
    // Every authority has to be valid: somebody reads the error.
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

fn describe(status: &Status) -> String {
    match status.source() {
        Some(cause) => format!("the connection failed: {}", root_cause(cause)),
        None => format!("{}: {}", status.code(), status.message()),
    }
}

/// The root cause: the system's or TLS's error, or a hint that only one side uses TLS.
fn root_cause(error: &(dyn Error + 'static)) -> String {
    if let Some(rustls::Error::InvalidMessage(_)) = tls_error(error) {
        return "it does not speak TLS".into();
    }
    let text = root(error).to_string();
    if is_tls_alert(error) { text + ", does it speak TLS? (--tls-ca)" } else { text }
}

fn root<'a>(mut error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    while let Some(cause) = error.source() {
        error = cause;
    }
    error
}

fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    root(error).downcast_ref::<io::Error>()?.get_ref()?.downcast_ref()
}

/// Whether a handshake failed because the peer speaks no TLS.
fn is_plain(error: &ClientError) -> bool {
    let ClientError::Connect { cause, .. } = error else { return false };
    matches!(tls_error(cause), Some(rustls::Error::InvalidMessage(_)))
}

/// Whether a sidecar has to be connected to in another way.
fn is_about_access(error: &ClientError) -> bool {
    match error {
        ClientError::Connect { cause, .. } => tls_error(cause).is_some(),
        ClientError::Call { status, .. } => {
            status.code() == Code::Unauthenticated || status.source().is_some_and(is_tls_alert)
        }
        _ => false,
    }
}

/// Whether HTTP/2 got a TLS alert, which it takes for a frame.
fn is_tls_alert(error: &(dyn Error + 'static)) -> bool {
    root(error).to_string().ends_with("frame with invalid size")
}

/// Whether a handshake failed because the certificate is for another name.
fn is_other_name(error: &ClientError) -> bool {
    use rustls::CertificateError::{NotValidForName, NotValidForNameContext};
    let ClientError::Connect { cause, .. } = error else { return false };
    matches!(
        tls_error(cause),
        Some(rustls::Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. }))
    )
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
