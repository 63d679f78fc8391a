//! The client of one server, over HTTP/1.1 or HTTP/2, with or without TLS.

use super::{
    answer::{Accepted, Answer, Failure, MAX_RESPONSE_BYTES},
    connection::{Allowance, Connector},
    endpoint::{Destination, IncompleteIdentity, Protocol, Signal},
    environment::Environment,
    request::Request,
};
use crate::net::{
    client_tls::ClientTlsFiles,
    reload::Source as _,
    reloader::{LoadError, Reloader},
    source_file::{SourceCause, SourceError},
};
use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method,
    header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, TE, USER_AGENT},
};
use http_body_util::{BodyExt as _, Full};
use hyper_util::{
    client::legacy::Client as Http,
    rt::{TokioExecutor, TokioTimer},
};
use rustls::ClientConfig;
use std::{
    error::Error,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

/// How much a server may send before its headers are complete, in bytes: a TLS handshake, the headers, and
/// what HTTP/2 exchanges. As much may be around the data of the body.
const MAX_EXTRA_BYTES: usize = 256 * 1024;

/// How much of an answer is read ahead, in bytes.
const READ_AHEAD_BYTES: u32 = 65_535;

/// The user agent: <https://opentelemetry.io/docs/specs/otel/protocol/exporter/#user-agent>.
const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("telemetry-sidecar-OTLP-Exporter-Rust/", env!("CARGO_PKG_VERSION")));

/// The compression of requests, if any, and of answers, if the server wants.
const GZIP: HeaderValue = HeaderValue::from_static("gzip");

/// A client of one server. It sends one request at a time.
pub struct Client {
    /// The server.
    pub destination: Destination,
    headers: HeaderMap,
    tls: Tls,
    /// The connections of the last request, if it was answered.
    connections: Mutex<Option<Connections>>,
}

/// Connections of one TLS configuration. Dropping it closes them.
struct Connections {
    http: Http<Connector, Full<Bytes>>,
    tls: Option<Arc<ClientConfig>>,
    allowance: Allowance,
    _close: DropGuard,
}

/// The TLS configuration of a client.
enum Tls {
    Off,
    Fixed(Arc<ClientConfig>),
    Files(Files),
}

/// The files of a TLS configuration, which are read again when they have changed.
pub(super) type Files = Arc<Reloader<ClientTlsFiles>>;

impl Client {
    /// A client that is not connected yet. Without files it trusts the system's authorities.
    ///
    /// # Errors
    ///
    /// If TLS cannot be set up.
    pub(super) fn new(destination: Destination, files: Option<Files>) -> Result<Self, SourceError> {
        let tls = match files {
            _ if !destination.is_secure() => Tls::Off,
            Some(files) => Tls::Files(files),
            None => Tls::Fixed(Arc::new(tls_files(&destination).load()?)),
        };
        Ok(Self { headers: headers(&destination), destination, tls, connections: Mutex::new(None) })
    }

    /// Sends a request once.
    ///
    /// # Errors
    ///
    /// If the server did not accept it.
    pub async fn send(&self, request: &Request) -> Result<Accepted, Failure> {
        let answer = match self.destination.timeout {
            None => self.exchange(request).await,
            Some(limit) => timeout(limit, self.exchange(request))
                .await
                .unwrap_or_else(|_| Err(Failure::connection(format!("no answer in {limit:?}")))),
        }?;
        answer.read(self.destination.protocol, self.destination.signal)
    }

    async fn exchange(&self, request: &Request) -> Result<Answer, Failure> {
        let tls = self.tls.current().await;
        // An attempt that fails or is cancelled drops its connections: a server that does not answer may
        // never do so on them.
        let connections = self.take().filter(|last| last.has(tls.as_ref()));
        let connections = connections.unwrap_or_else(|| self.connections(tls));
        let answer = self.exchange_over(&connections, request).await?;
        *self.connections.lock().unwrap_or_else(PoisonError::into_inner) = Some(connections);
        Ok(answer)
    }

    async fn exchange_over(&self, connections: &Connections, request: &Request) -> Result<Answer, Failure> {
        let lost = |error: &dyn Error| Failure::connection(cause(error, self.destination.protocol));
        let mut message = http::Request::new(Full::new(request.body.clone()));
        *message.method_mut() = Method::POST;
        *message.uri_mut() = self.destination.uri.clone();
        *message.headers_mut() = self.headers.clone();
        connections.allowance.set(MAX_EXTRA_BYTES);
        let response = connections.http.request(message).await.map_err(|error| lost(&error))?;
        connections.allowance.set(MAX_EXTRA_BYTES);
        let (parts, mut incoming) = response.into_parts();
        let (mut body, mut trailers) = (Some(BytesMut::new()), HeaderMap::new());
        while let Some(frame) = incoming.frame().await {
            match frame.map_err(|error| lost(&error))?.into_data() {
                Ok(data) => {
                    body = body.filter(|body| body.len() + data.len() <= MAX_RESPONSE_BYTES);
                    let Some(body) = &mut body else { break };
                    body.extend_from_slice(&data);
                    connections.allowance.add(data.len());
                }
                Err(frame) => trailers = frame.into_trailers().unwrap_or_default(),
            }
        }
        let body = body.map(BytesMut::freeze);
        Ok(Answer { status: parts.status, headers: parts.headers, body, trailers })
    }

    fn take(&self) -> Option<Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn connections(&self, tls: Option<Arc<ClientConfig>>) -> Connections {
        let (allowance, closed) = (Allowance::default(), CancellationToken::new());
        let connector = Connector::new(tls.clone(), allowance.clone(), closed.clone());
        let mut http = Http::builder(TokioExecutor::new());
        http.pool_timer(TokioTimer::new()).timer(TokioTimer::new());
        http.http2_only(self.destination.protocol == Protocol::Grpc);
        http.http1_max_buf_size(READ_AHEAD_BYTES as usize);
        http.http2_initial_stream_window_size(READ_AHEAD_BYTES);
        http.http2_initial_connection_window_size(READ_AHEAD_BYTES);
        Connections { http: http.build(connector), tls, allowance, _close: closed.drop_guard() }
    }
}

impl Connections {
    /// Whether they have this TLS configuration.
    fn has(&self, tls: Option<&Arc<ClientConfig>>) -> bool {
        self.tls.as_ref().map(Arc::as_ptr) == tls.map(Arc::as_ptr)
    }
}

impl Tls {
    /// The configuration by the files as they are now.
    async fn current(&self) -> Option<Arc<ClientConfig>> {
        match self {
            Self::Off => None,
            Self::Fixed(config) => Some(Arc::clone(config)),
            Self::Files(files) => Some(files.current().await),
        }
    }
}

/// The headers of every request.
fn headers(destination: &Destination) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(USER_AGENT, AGENT);
    headers.extend(destination.headers.clone());
    let (content, encoding) = match destination.protocol {
        Protocol::Grpc => {
            headers.insert(TE, HeaderValue::from_static("trailers"));
            headers.insert(HeaderName::from_static("grpc-accept-encoding"), GZIP);
            ("application/grpc", HeaderName::from_static("grpc-encoding"))
        }
        Protocol::Http => {
            headers.insert(ACCEPT_ENCODING, GZIP);
            ("application/x-protobuf", CONTENT_ENCODING)
        }
    };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content));
    if destination.gzip {
        headers.insert(encoding, GZIP);
    }
    headers
}

/// The TLS files of the signals that have some. Signals with the same ones share them.
pub struct TlsFiles(Vec<(Signal, Files)>);

impl TlsFiles {
    /// Reads the files that the variables name. Fails rather than falling back to the system's authorities or
    /// to no certificate: the headers may carry credentials.
    ///
    /// # Errors
    ///
    /// The variable, the path and the cause, in one line.
    pub fn read(environment: &Environment) -> Result<Self, LoadError> {
        let secure = || environment.destinations().filter(|destination| destination.is_secure());
        for destination in secure() {
            if let Some(IncompleteIdentity { given, missing }) = destination.incomplete_identity.clone() {
                return Err(given.error(SourceCause::Incomplete { missing }).into());
            }
        }
        let mut loaded: Vec<(ClientTlsFiles, Files)> = Vec::new();
        let mut of_signals = Vec::new();
        for destination in secure() {
            let named = tls_files(destination);
            if named.files().is_empty() {
                continue;
            }
            let same = loaded.iter().find(|(other, _)| *other == named).map(|(_, files)| Arc::clone(files));
            let files = match same {
                Some(files) => files,
                None => Arc::new(Reloader::load(named.clone())?),
            };
            loaded.push((named, Arc::clone(&files)));
            of_signals.push((destination.signal, files));
        }
        Ok(Self(of_signals))
    }

    /// The files of a signal, if it has some.
    pub(super) fn of(&self, signal: Signal) -> Option<Files> {
        self.0.iter().find(|(other, _)| *other == signal).map(|(_, files)| Arc::clone(files))
    }
}

fn tls_files(destination: &Destination) -> ClientTlsFiles {
    ClientTlsFiles {
        authorities: destination.certificate.clone(),
        identity: destination.identity.clone(),
        protocol: match destination.protocol {
            Protocol::Grpc => "h2",
            Protocol::Http => "http/1.1",
        },
    }
}

/// The innermost cause of an error: "Connection refused" instead of "client error (Connect)". A server of the
/// other protocol answers with what cannot be read.
fn cause(mut error: &dyn Error, protocol: Protocol) -> String {
    while let Some(source) = error.source() {
        error = source;
    }
    let text = error.to_string();
    match protocol {
        Protocol::Grpc if text.ends_with("frame with invalid size") => {
            "the server does not speak plain gRPC; if this is its HTTP port, set \
             OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf; for TLS write https://"
                .into()
        }
        Protocol::Http if text == "invalid HTTP version parsed" => {
            "the server does not speak HTTP/1.1; if this is its gRPC port, set \
             OTEL_EXPORTER_OTLP_PROTOCOL=grpc"
                .into()
        }
        _ => text,
    }
}
