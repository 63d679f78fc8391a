//! Endpoints and destinations of requests.

use crate::net::source_file::SourceFile;
use http::{
    HeaderMap, Uri,
    uri::{Authority, Scheme},
};
use std::{
    fmt::{self, Display, Formatter},
    str::FromStr,
    time::Duration,
};
use thiserror::Error;

/// A signal: it has its own service, path and variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Spans.
    Traces,
    /// Data points.
    Metrics,
    /// Log records.
    Logs,
}

impl Signal {
    /// All signals.
    pub const ALL: [Self; 3] = [Self::Traces, Self::Metrics, Self::Logs];

    /// The name in its path, and in upper case in its variables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
            Self::Logs => "logs",
        }
    }

    pub(super) fn grpc_path(self) -> &'static str {
        match self {
            Self::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Self::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            Self::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        }
    }
}

/// The transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// gRPC over HTTP/2.
    Grpc,
    /// Protobuf messages over HTTP/1.1.
    Http,
}

/// A text names no protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("expected grpc or http/protobuf")]
pub struct ProtocolError;

impl FromStr for Protocol {
    type Err = ProtocolError;

    fn from_str(word: &str) -> Result<Self, ProtocolError> {
        match word.to_ascii_lowercase().as_str() {
            "grpc" => Ok(Self::Grpc),
            "http/protobuf" => Ok(Self::Http),
            _ => Err(ProtocolError),
        }
    }
}

/// The URL of a server: `http://HOST[:PORT][/PATH]`, or `https`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint(Uri);

/// Why a text is not an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum EndpointError {
    /// It is not the URL of a host.
    #[error("expected http://HOST:PORT or https://HOST:PORT")]
    Malformed,
    /// It would be logged.
    #[error("a password does not belong here, use OTEL_EXPORTER_OTLP_HEADERS")]
    Password,
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(word: &str) -> Result<Self, EndpointError> {
        let uri: Uri = word.parse().map_err(|_| EndpointError::Malformed)?;
        let authority = uri.authority().ok_or(EndpointError::Malformed)?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || authority.host().is_empty() {
            return Err(EndpointError::Malformed);
        }
        if authority.as_str().contains('@') {
            return Err(EndpointError::Password);
        }
        let port = authority.as_str().strip_prefix(authority.host()).unwrap_or_default();
        if !matches!(port, "" | ":") && authority.port_u16().is_none_or(|port| port == 0) {
            return Err(EndpointError::Malformed);
        }
        Ok(Self(uri))
    }
}

impl Endpoint {
    /// A protocol's default endpoint.
    pub fn of(protocol: Protocol) -> Self {
        Self(Uri::from_static(match protocol {
            Protocol::Grpc => "http://localhost:4317",
            Protocol::Http => "http://localhost:4318",
        }))
    }

    /// The usual protocol of the port. A path means HTTP: gRPC has its own paths.
    pub fn usual_protocol(&self) -> Protocol {
        if self.has_path() || self.0.port_u16() == Some(4318) { Protocol::Http } else { Protocol::Grpc }
    }

    /// Whether the URL has a path.
    pub fn has_path(&self) -> bool {
        !matches!(self.0.path(), "" | "/")
    }

    /// The URI for a signal: with gRPC the service's path instead of the URL's; with HTTP a path below the
    /// URL's. If the URL is that of a signal already, this is replaced.
    pub fn uri(&self, protocol: Protocol, signal: Signal) -> Uri {
        match protocol {
            Protocol::Grpc => self.with_path(signal.grpc_path()),
            Protocol::Http => {
                let path = self.0.path().trim_end_matches('/');
                let mut suffixes = Signal::ALL.into_iter().map(|signal| format!("/v1/{}", signal.name()));
                let base = suffixes.find_map(|suffix| path.strip_suffix(&suffix)).unwrap_or(path);
                self.with_path(&format!("{base}/v1/{}", signal.name()))
            }
        }
    }

    /// The URI for a signal whose own variable has this URL: with HTTP the URL is used as it is.
    pub fn own_uri(&self, protocol: Protocol, signal: Signal) -> Uri {
        match protocol {
            Protocol::Grpc => self.uri(protocol, signal),
            Protocol::Http => self.0.clone(),
        }
    }

    fn with_path(&self, path: &str) -> Uri {
        let mut parts = self.0.clone().into_parts();
        parts.path_and_query = path.parse().ok();
        // This does not fail: all parts come from a URL.
        Uri::from_parts(parts).unwrap_or_else(|_| self.0.clone())
    }
}

/// Where and how a signal is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// The signal.
    pub signal: Signal,
    /// Whether the signal is exported at all.
    pub enabled: bool,
    /// The protocol.
    pub protocol: Protocol,
    /// The URI, with the path.
    pub uri: Uri,
    /// Additional headers of each request.
    pub headers: HeaderMap,
    /// Whether requests are compressed.
    pub gzip: bool,
    /// The timeout of one attempt; `None` is unlimited.
    pub timeout: Option<Duration>,
    /// The authorities to trust instead of the system's.
    pub certificate: Option<SourceFile>,
    /// The client's certificate and private key.
    pub identity: Option<(SourceFile, SourceFile)>,
    /// What there is instead, if it cannot be used.
    pub incomplete_identity: Option<IncompleteIdentity>,
}

/// A client's certificate without a private key, or the reverse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncompleteIdentity {
    /// The file that there is.
    pub given: SourceFile,
    /// The variable that is not set.
    pub missing: String,
}

impl Destination {
    /// Whether TLS is used; a signal that is not exported needs none.
    pub fn is_secure(&self) -> bool {
        self.enabled && self.uri.scheme() == Some(&Scheme::HTTPS)
    }
}

impl Destination {
    /// The URL of the server, without a path.
    pub fn server(&self) -> String {
        let authority = self.uri.authority().map_or("", Authority::as_str);
        format!("{}://{authority}", self.uri.scheme_str().unwrap_or_default())
    }
}

impl Display for Destination {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        // Without the query, which may contain an API key.
        write!(formatter, "{}{}", self.server(), self.uri.path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_http_and_https_urls_without_credentials_are_accepted() {
        for word in ["http://localhost:4317", "https://a.example/base/", "http://[::1]:4318", "http://a:"] {
            assert!(word.parse::<Endpoint>().is_ok(), "{word}");
        }
        for word in [
            "",
            "localhost",
            "localhost:4317",
            "/v1",
            "unix:/tmp/s",
            "ftp://a",
            "http://",
            "http://:4317",
            "http://a:0",
            "http://a:99999",
            "http://a:b",
            "http://me:secret@a:4317",
            "http://a b",
            "1x",
        ] {
            assert!(word.parse::<Endpoint>().is_err(), "{word}");
        }
    }

    #[test]
    fn a_signals_path_is_appended_to_a_base_url_but_not_to_its_own() {
        let endpoint = |word: &str| word.parse::<Endpoint>().unwrap();
        let base = |word| endpoint(word).uri(Protocol::Http, Signal::Traces).to_string();
        assert_eq!(base("http://a:4318"), "http://a:4318/v1/traces");
        assert_eq!(base("http://a:4318/my/"), "http://a:4318/my/v1/traces");
        assert_eq!(base("http://a:4318/my"), "http://a:4318/my/v1/traces");
        assert_eq!(base("http://a:4318/v1/traces"), "http://a:4318/v1/traces");
        assert_eq!(base("http://a:4318/my/v1/metrics/"), "http://a:4318/my/v1/traces");
        let own = |word| endpoint(word).own_uri(Protocol::Http, Signal::Metrics).to_string();
        assert_eq!(own("http://a:4318"), "http://a:4318/");
        assert_eq!(own("https://a/v1/metrics/?x=y"), "https://a/v1/metrics/?x=y");
        let grpc = endpoint("https://a:4317/v1").own_uri(Protocol::Grpc, Signal::Metrics).to_string();
        assert_eq!(grpc, "https://a:4317/opentelemetry.proto.collector.metrics.v1.MetricsService/Export");
    }
}
