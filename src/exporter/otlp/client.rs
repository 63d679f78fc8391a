//! One connection to one server, over HTTP/1.1 or HTTP/2, with or without TLS.

use super::{
    answer::{Accepted, Answer, Failure},
    endpoint::{Destination, Protocol},
    request::Request,
};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method,
    header::{CONTENT_ENCODING, CONTENT_TYPE, TE, USER_AGENT},
    uri::Scheme,
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
use std::{error::Error, fmt::Write as _, path::Path, sync::Arc};
use tokio::time::timeout;

/// How long an answer may be: the specification's default.
const MAX_RESPONSE_BYTES: usize = 4 * 1024 * 1024;

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
    /// A client that has not connected yet. What is wrong with files of certificates is told; they are then left out.
    ///
    /// # Errors
    ///
    /// If there can be no TLS at all.
    pub fn new(destination: Destination, warn: impl FnMut(String)) -> Result<Self, String> {
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        let tls = tls(&destination, warn).map_err(|error| error.to_string())?;
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

/// What is trusted and who this client is. Where there is no TLS nothing is read.
fn tls(destination: &Destination, mut warn: impl FnMut(String)) -> Result<ClientConfig, rustls::Error> {
    let mut roots = RootCertStore::empty();
    let mut identity = None;
    if destination.uri.scheme() == Some(&Scheme::HTTPS) {
        if let Some(path) = &destination.certificate {
            match certificates(path) {
                Ok(certificates) => drop(roots.add_parsable_certificates(certificates)),
                Err(cause) => warn(cause),
            }
        }
        if roots.is_empty() {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        if let Some((certificate, key)) = &destination.identity {
            let wrong = |cause| format!("'{}': {cause}", key.display());
            let key = PrivateKeyDer::from_pem_file(key).map_err(wrong);
            match certificates(certificate).and_then(|chain| Ok((chain, key?))) {
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

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let wrong = |cause: String| format!("'{}': {cause}", path.display());
    let all = CertificateDer::pem_file_iter(path).map_err(|cause| wrong(cause.to_string()))?;
    let all = all.collect::<Result<Vec<_>, _>>().map_err(|cause| wrong(cause.to_string()))?;
    if all.is_empty() { Err(wrong("there is no certificate in it".into())) } else { Ok(all) }
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
