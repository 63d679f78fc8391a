//! One connection to one server, over HTTP/1.1 or HTTP/2, with or without TLS.

use super::{
    answer::{Accepted, Answer, Failure},
    endpoint::{Destination, GivenFile, Protocol},
    environment::Environment,
    request::Request,
};
use crate::system::fd::read_at_most;
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
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use std::{error::Error, fmt::Write as _, sync::Arc};
use tokio::time::timeout;

/// How long an answer may be: the specification's default.
const MAX_RESPONSE_BYTES: usize = 4 * 1024 * 1024;

/// How long a file of certificates may be.
const MAX_FILE_BYTES: usize = 4 * 1024 * 1024;

/// What the client calls itself: <https://opentelemetry.io/docs/specs/otel/protocol/exporter/#user-agent>.
const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("telemetry-sidecar-OTLP-Exporter-Rust/", env!("CARGO_PKG_VERSION")));

/// A client of one server.
#[derive(Debug)]
pub struct Client {
    http: Http<HttpsConnector<HttpConnector>, Full<Bytes>>,
    /// Where it sends.
    pub destination: Destination,
    headers: HeaderMap,
}

impl Client {
    /// A client that has not connected yet. It trusts these authorities, or the system's if there are
    /// none. What is wrong with this client's own certificate is told; it is then left out.
    ///
    /// # Errors
    ///
    /// If there can be no TLS at all.
    pub fn new(
        destination: Destination,
        authorities: Option<RootCertStore>,
        warn: impl FnMut(String),
    ) -> Result<Self, String> {
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        let tls = tls(&destination, authorities, warn).map_err(|error| error.to_string())?;
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
    /// If it was not taken.
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

/// What every request says.
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

/// Who is trusted, signal by signal, where that is not left to the system.
#[derive(Debug)]
pub struct Authorities {
    /// Where spans go.
    pub traces: Option<RootCertStore>,
    /// Where metrics go.
    pub metrics: Option<RootCertStore>,
}

impl Authorities {
    /// Reads the files that variables name.
    ///
    /// # Errors
    ///
    /// The variable, the path and why nobody in it can be trusted, in one line. Somebody else is not to be then: headers may
    /// have passwords in them.
    pub fn read(environment: &Environment) -> Result<Self, String> {
        Ok(Self { traces: named(&environment.traces)?, metrics: named(&environment.metrics)? })
    }
}

/// The authorities that a destination names, if it does and there is TLS.
fn named(destination: &Destination) -> Result<Option<RootCertStore>, String> {
    let Some(file) = destination.certificate.as_ref().filter(|_| destination.is_secure()) else {
        return Ok(None);
    };
    let mut authorities = RootCertStore::empty();
    authorities.add_parsable_certificates(certificates(file)?);
    if authorities.is_empty() {
        return Err(file.fault("none of its certificates can be used"));
    }
    Ok(Some(authorities))
}

/// What is trusted and who this client is. Where there is no TLS nothing is read.
fn tls(
    destination: &Destination,
    authorities: Option<RootCertStore>,
    mut warn: impl FnMut(String),
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
            match certificates(certificate).and_then(|chain| Ok((chain, private_key(key)?))) {
                Ok(pair) => identity = Some(pair),
                Err(cause) => warn(cause),
            }
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions()?.with_root_certificates(roots);
    if let Some((chain, key)) = identity {
        match config.clone().with_client_auth_cert(chain, key) {
            Ok(config) => return Ok(config),
            Err(cause) => warn(format!("the client's certificate: {cause}")),
        }
    }
    Ok(config.with_no_client_auth())
}

fn certificates(file: &GivenFile) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = read(file)?;
    let all = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    let all = all.map_err(|cause| file.fault(cause))?;
    if all.is_empty() { Err(file.fault("there is no certificate in it")) } else { Ok(all) }
}

fn private_key(file: &GivenFile) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(&read(file)?).map_err(|cause| file.fault(cause))
}

fn read(file: &GivenFile) -> Result<Vec<u8>, String> {
    let bytes = read_at_most(&file.path, MAX_FILE_BYTES + 1).map_err(|cause| file.fault(cause))?;
    if bytes.len() > MAX_FILE_BYTES { Err(file.fault("longer than 4 MiB")) } else { Ok(bytes) }
}

/// An error with what is behind it: the outermost one says little.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}
