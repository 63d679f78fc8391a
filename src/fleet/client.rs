//! Connections to running sidecars.

mod channel;
mod connection;
mod error;
mod peer;

pub use channel::{KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT};
pub use connection::Connection;
pub use error::ClientError;

use super::discover::Sidecar;
use crate::{
    event::proto::sidecar::GetStatusResponse,
    net::{
        address::{Address, HostPort},
        reload::Source as _,
        source_file::{SourceError, SourceFile},
        tokens::TokenFile,
    },
};
use channel::{channel, tls_config};
use error::{is_about_access, is_other_name, is_plain};
use nix::unistd::geteuid;
use rustls::ClientConfig;
use std::{io, net::IpAddr, sync::Arc, time::Duration};
use tokio::time::{Instant, timeout_at};
use tonic::{
    Code,
    metadata::{Ascii, MetadataValue},
    transport::Channel,
};

/// How long a sidecar that was found may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

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

/// Connects to sidecars. The files are read once.
#[derive(Debug)]
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
    /// the token is sent if it requires one: encrypted, or to a process of the same user on this host. Any
    /// user can run a program of this name that asks for a token.
    ///
    /// # Errors
    ///
    /// If no listener answers within two seconds, or it refuses to answer.
    pub async fn found(&self, sidecar: &Sidecar) -> Result<(Connection, GetStatusResponse), ClientError> {
        if sidecar.is_stopped() {
            return Err(ClientError::Stopped { pid: sidecar.pid });
        }
        // The metrics page has no unix socket, so such a listener needs no second attempt.
        let mut listeners: Vec<_> = sidecar.listeners.iter().collect();
        listeners.sort_by_key(|address| matches!(address, Address::Tcp(_)));
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        let mut failed = None;
        for address in listeners {
            let asked = timeout_at(deadline, self.ask(address, sidecar.uid)).await;
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

    async fn ask(&self, address: &Address, uid: u32) -> Result<(Connection, GetStatusResponse), ClientError> {
        let (channel, encrypted) = self.as_needed(address).await?;
        let mut connection = Connection { address: address.clone(), channel, token: None };
        match connection.status().await {
            Err(ClientError::Call { status, address }) if status.code() == Code::Unauthenticated => {
                if self.token.is_none() {
                    return Err(ClientError::Call { status, address });
                }
                let is_own = is_of_this_host(&address) && uid == geteuid().as_raw();
                if !encrypted && !is_own {
                    return Err(ClientError::Untrusted { address, uid });
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

/// Whether only processes on this host can receive data sent to this address.
fn is_of_this_host(address: &Address) -> bool {
    match address {
        Address::Unix(_) => true,
        Address::Tcp(HostPort { host, .. }) => {
            host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::{server::conn::http2, service::service_fn};
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use std::{
        convert::Infallible,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
    };
    use tokio::net::{TcpListener, UnixListener};

    fn sidecar(listeners: Vec<Address>) -> Sidecar {
        Sidecar { listeners, ..Sidecar::example(std::process::id()) }
    }

    #[tokio::test(start_paused = true)]
    async fn a_sidecar_that_does_not_answer_is_given_up_soon() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let connector = Connector { tls: None, token: None };
        let start = Instant::now();
        let found = sidecar(vec![Address::localhost(1), Address::Unix(path)]);
        let error = connector.found(&found).await.unwrap_err();
        assert_eq!(error.brief(), "does not answer");
        assert_eq!(start.elapsed(), ANSWER_TIMEOUT);
        drop(listener);
    }

    #[tokio::test]
    async fn a_token_is_not_sent_to_a_process_of_another_user() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = Address::localhost(listener.local_addr().unwrap().port());
        let seen = Arc::new(AtomicUsize::new(0));
        let requests = Arc::clone(&seen);
        let serving = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let requests = Arc::clone(&requests);
                let refuse = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                    if request.headers().contains_key("authorization") {
                        requests.fetch_add(1, Ordering::Relaxed);
                    }
                    let refusal = tonic::Status::unauthenticated("a token is required").into_http::<String>();
                    async move { Ok::<_, Infallible>(refusal) }
                });
                let connection = http2::Builder::new(TokioExecutor::new());
                tokio::spawn(connection.serve_connection(TokioIo::new(stream), refuse));
            }
        });
        let token = Some(MetadataValue::from_static("Bearer secret"));
        let connector = Connector { tls: None, token };
        let own = geteuid().as_raw();
        let mut found = Sidecar { uid: own + 1, ..sidecar(vec![address]) };
        let error = connector.found(&found).await.unwrap_err();
        assert!(error.brief().contains("another user"), "{error}");
        assert_eq!(seen.load(Ordering::Relaxed), 0);
        found.uid = own;
        assert!(connector.found(&found).await.is_err());
        assert_eq!(seen.load(Ordering::Relaxed), 1);
        serving.abort();
    }

    #[test]
    fn a_token_is_sent_unencrypted_to_this_host_only() {
        let is_of_this_host = |address: &str| is_of_this_host(&address.parse().unwrap());
        assert!(["127.0.0.1:1", "[::1]:1", "unix:/s", "unix:@s"].iter().all(|it| is_of_this_host(it)));
        assert!(!["192.0.2.1:1", "[2001:db8::1]:1", "localhost:1"].iter().any(|it| is_of_this_host(it)));
    }
}
