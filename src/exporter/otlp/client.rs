//! One connection to one server, over HTTP/1.1 or HTTP/2, with or without TLS.

use super::{
    answer::{Accepted, Answer, Failure},
    endpoint::{Destination, Protocol},
    environment::Environment,
    request::Request,
};
use crate::net::{
    pem,
    source_file::{SourceCause, SourceError},
};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method,
    header::{CONTENT_ENCODING, CONTENT_TYPE, TE, USER_AGENT},
};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client as Http, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{ClientConfig, RootCertStore, crypto::ring, sign::SingleCertAndKey};
use std::{error::Error, fmt::Write as _, sync::Arc};
use tokio::time::timeout;

/// The longest response, in bytes: the specification's default.
const MAX_RESPONSE_BYTES: usize = 4 * 1024 * 1024;

/// The user agent: <https://opentelemetry.io/docs/specs/otel/protocol/exporter/#user-agent>.
const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("telemetry-sidecar-OTLP-Exporter-Rust/", env!("CARGO_PKG_VERSION")));

/// A client of one server.
#[derive(Debug)]
pub struct Client {
    http: Http<HttpsConnector<HttpConnector>, Full<Bytes>>,
    /// The server.
    pub destination: Destination,
    headers: HeaderMap,
}

impl Client {
    /// A client that is not connected yet. It trusts these authorities, or the system's if there are none. If
    /// the client's own certificate cannot be used, `warn` gets the reason and the client connects without
    /// it.
    ///
    /// # Errors
    ///
    /// If TLS cannot be set up.
    pub fn new(
        destination: Destination,
        authorities: Option<RootCertStore>,
        warn: impl FnOnce(SourceError),
    ) -> Result<Self, rustls::Error> {
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        let tls = tls(&destination, authorities, warn)?;
        let connectors = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
        let mut http = Http::builder(TokioExecutor::new());
        http.pool_timer(TokioTimer::new()).timer(TokioTimer::new());
        let http = match destination.protocol {
            Protocol::Grpc => {
                http.http2_only(true).build(connectors.enable_http2().wrap_connector(connector))
            }
            Protocol::Http => http.build(connectors.enable_http1().wrap_connector(connector)),
        };
        Ok(Self { http, headers: headers(&destination), destination })
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
        let lost = |error: &dyn Error| Failure::connection(with_causes(error));
        let mut message = http::Request::new(Full::new(request.body.clone()));
        *message.method_mut() = Method::POST;
        *message.uri_mut() = self.destination.uri.clone();
        *message.headers_mut() = self.headers.clone();
        let response = self.http.request(message).await.map_err(|error| lost(&error))?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, MAX_RESPONSE_BYTES).collect().await.map_err(|error| lost(&*error))?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        Ok(Answer { status: parts.status, headers: parts.headers, body: body.to_bytes(), trailers })
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
            ("application/grpc", HeaderName::from_static("grpc-encoding"))
        }
        Protocol::Http => ("application/x-protobuf", CONTENT_ENCODING),
    };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content));
    if destination.gzip {
        headers.insert(encoding, HeaderValue::from_static("gzip"));
    }
    headers
}

/// The authorities to trust for each signal; `None` means the system's.
#[derive(Debug)]
pub struct Authorities {
    /// For the server that gets spans.
    pub traces: Option<RootCertStore>,
    /// For the server that gets metrics.
    pub metrics: Option<RootCertStore>,
}

impl Authorities {
    /// Reads the files that the variables name. Fails rather than falling back to the system roots: the
    /// headers may carry credentials.
    ///
    /// # Errors
    ///
    /// The variable, the path and the cause, in one line.
    pub fn read(environment: &Environment) -> Result<Self, SourceError> {
        Ok(Self { traces: authorities(&environment.traces)?, metrics: authorities(&environment.metrics)? })
    }
}

/// The authorities of a destination's certificate file, if it has one and uses TLS. Certificates that cannot
/// be used are skipped as long as one can.
fn authorities(destination: &Destination) -> Result<Option<RootCertStore>, SourceError> {
    let Some(file) = destination.certificate.as_ref().filter(|_| destination.is_secure()) else {
        return Ok(None);
    };
    let mut authorities = RootCertStore::empty();
    authorities.add_parsable_certificates(pem::certificates(file)?);
    if authorities.is_empty() {
        return Err(file.error(SourceCause::NoUsableCertificate));
    }
    Ok(Some(authorities))
}

/// The authorities and the client's certificate. No file is read without TLS.
fn tls(
    destination: &Destination,
    authorities: Option<RootCertStore>,
    warn: impl FnOnce(SourceError),
) -> Result<ClientConfig, rustls::Error> {
    let mut roots = RootCertStore::empty();
    let mut identity = None;
    if destination.is_secure() {
        if let Some(authorities) = authorities {
            roots = authorities;
        } else {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        if let Some((certificate, key)) = &destination.identity {
            match pem::identity(certificate, key) {
                Ok(certified) => identity = Some(certified),
                Err(error) => warn(error),
            }
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions()?.with_root_certificates(roots);
    Ok(match identity {
        Some(identity) => config.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity))),
        None => config.with_no_client_auth(),
    })
}

/// An error with its causes: the outermost one says little.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}
