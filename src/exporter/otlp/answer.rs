//! Responses of servers, and whether a request may be retried:
//! <https://opentelemetry.io/docs/specs/otlp/#otlpgrpc-response>, `#otlphttp-response`.

use super::endpoint::{Protocol, Signal};
use super::proto::collector::{
    metrics::v1::ExportMetricsServiceResponse, trace::v1::ExportTraceServiceResponse,
};
use crate::event::frame;
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header::RETRY_AFTER};
use prost::Message as _;
use std::time::{Duration, SystemTime};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// The longest text of a server that is logged, in characters.
const MAX_TEXT: usize = 200;

/// An accepted request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Accepted {
    /// How many of its spans or data points the server rejected. They must not be sent again.
    pub rejected: u64,
    /// The server's message, or nothing.
    pub message: String,
}

/// A request that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The cause, in one line.
    pub why: String,
    /// Whether it may be retried.
    pub retry: Retry,
}

/// Whether and when a request may be retried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// It must not be retried.
    Never,
    /// The client chooses the time.
    Soon,
    /// Not before this time has elapsed.
    After(Duration),
}

impl Failure {
    /// The server was not reached, or the connection ended before the response.
    pub fn connection(why: String) -> Self {
        Self { why, retry: Retry::Soon }
    }
}

/// A complete response.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// The trailers.
    pub trailers: HeaderMap,
}

impl Answer {
    /// Interprets the response.
    ///
    /// # Errors
    ///
    /// If the server did not accept the request.
    pub fn read(&self, protocol: Protocol, signal: Signal) -> Result<Accepted, Failure> {
        let message = match protocol {
            Protocol::Grpc => self.grpc_message()?,
            Protocol::Http => self.http_message()?,
        };
        Ok(partial_success(signal, message))
    }

    /// The message of a gRPC response.
    fn grpc_message(&self) -> Result<Bytes, Failure> {
        // A response that is not gRPC may come from a proxy. Its HTTP status is mapped as gRPC specifies, so
        // that the same ones may be retried as with HTTP:
        // https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md
        let status =
            Status::from_header_map(&self.trailers).or_else(|| Status::from_header_map(&self.headers));
        let Some(status) = status else {
            let retry = if may_retry_http(self.status) { Retry::Soon } else { Retry::Never };
            return Err(Failure { why: format!("HTTP {} and no gRPC status", self.status), retry });
        };
        if status.code() == Code::Ok {
            return Ok(frame::messages(self.body.clone()).next().unwrap_or_default());
        }
        let why = format!("{:?}: {}", status.code(), short(status.message()));
        Err(Failure { why, retry: may_retry_grpc(&status) })
    }

    /// The message of an HTTP response.
    fn http_message(&self) -> Result<Bytes, Failure> {
        if self.status.is_success() {
            return Ok(self.body.clone());
        }
        let retry = match self.headers.get(RETRY_AFTER).map(|value| value.to_str().map(retry_after)) {
            _ if !may_retry_http(self.status) => Retry::Never,
            Some(Ok(Some(after))) => Retry::After(after),
            _ => Retry::Soon,
        };
        // The body of an error is a google.rpc.Status, or any text of a proxy.
        let text = match tonic_types::Status::decode(&*self.body) {
            Ok(status) => status.message,
            Err(_) => String::from_utf8_lossy(&self.body).into_owned(),
        };
        let separator = if text.is_empty() { "" } else { ": " };
        Err(Failure { why: format!("HTTP {}{separator}{}", self.status, short(&text)), retry })
    }
}

/// <https://opentelemetry.io/docs/specs/otlp/#failures>
fn may_retry_grpc(status: &Status) -> Retry {
    // The server may ask for a delay. No delay and zero mean the same.
    let asked = status.get_details_retry_info();
    let delay = asked.as_ref().and_then(|info| info.retry_delay).filter(|delay| !delay.is_zero());
    let soon = delay.map_or(Retry::Soon, Retry::After);
    match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => soon,
        // Without RetryInfo the server does not say that resources will be available again.
        Code::ResourceExhausted if asked.is_some() => soon,
        _ => Retry::Never,
    }
}

/// <https://opentelemetry.io/docs/specs/otlp/#retryable-response-codes>
fn may_retry_http(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}

/// A `Retry-After` header: seconds, or a date. A date in the past means now.
fn retry_after(value: &str) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}

fn partial_success(signal: Signal, message: Bytes) -> Accepted {
    // A server with another response has accepted the request all the same.
    let (rejected, message) = match signal {
        Signal::Traces => {
            let answer = ExportTraceServiceResponse::decode(message).unwrap_or_default();
            answer.partial_success.map(|partial| (partial.rejected_spans, partial.error_message))
        }
        Signal::Metrics => {
            let answer = ExportMetricsServiceResponse::decode(message).unwrap_or_default();
            answer.partial_success.map(|partial| (partial.rejected_data_points, partial.error_message))
        }
    }
    .unwrap_or_default();
    Accepted { rejected: rejected.try_into().unwrap_or_default(), message: short(&message) }
}

/// The beginning of a server's text, as a part of one line.
fn short(text: &str) -> String {
    text.chars().take(MAX_TEXT).map(|char| if char.is_control() { ' ' } else { char }).collect()
}

#[cfg(test)]
mod tests;
