//! What servers answer, and whether a request may be sent again:
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

/// How much of a server's text is shown, in characters.
const MAX_TEXT: usize = 200;

/// A request was taken.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Accepted {
    /// How many of its spans or data points were not. They must not be sent again.
    pub rejected: u64,
    /// What the server says about it, or nothing.
    pub message: String,
}

/// A request was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Why, in one line.
    pub why: String,
    /// Whether it may be sent again.
    pub retry: Retry,
}

/// Whether and when a request may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// It must not be.
    Never,
    /// Whenever the client likes.
    Soon,
    /// Not before this time has passed.
    After(Duration),
}

impl Failure {
    /// The server was not reached, or was lost before it had answered.
    pub fn connection(why: String) -> Self {
        Self { why, retry: Retry::Soon }
    }
}

/// An answer in full.
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
    /// What it means.
    ///
    /// # Errors
    ///
    /// If the request was not taken.
    pub fn read(&self, protocol: Protocol, signal: Signal) -> Result<Accepted, Failure> {
        let message = match protocol {
            Protocol::Grpc => self.grpc_message()?,
            Protocol::Http => self.http_message()?,
        };
        Ok(partial_success(signal, message))
    }

    /// The message of a gRPC answer.
    fn grpc_message(&self) -> Result<Bytes, Failure> {
        // What is no gRPC may come from a proxy. Its statuses are mapped as gRPC has it, so that the same ones may be
        // retried as with HTTP: https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md
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

    /// The message of an HTTP answer.
    fn http_message(&self) -> Result<Bytes, Failure> {
        if self.status.is_success() {
            return Ok(self.body.clone());
        }
        let retry = match self.headers.get(RETRY_AFTER).map(|value| value.to_str().map(retry_after)) {
            _ if !may_retry_http(self.status) => Retry::Never,
            Some(Ok(Some(after))) => Retry::After(after),
            _ => Retry::Soon,
        };
        // Errors have a google.rpc.Status in them, or what a proxy likes to say.
        let text = match tonic_types::Status::decode(&*self.body) {
            Ok(status) => status.message,
            Err(_) => String::from_utf8_lossy(&self.body).into_owned(),
        };
        Err(Failure { why: format!("HTTP {}: {}", self.status, short(&text)), retry })
    }
}

/// <https://opentelemetry.io/docs/specs/otlp/#failures>
fn may_retry_grpc(status: &Status) -> Retry {
    // The length of a pause is the server's to say; none and zero are the same.
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
        // Without it nobody says that there will ever be room.
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

/// A `Retry-After`: seconds, or a date. A date that has passed is now.
fn retry_after(value: &str) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}

fn partial_success(signal: Signal, message: Bytes) -> Accepted {
    // A server that answers something else has still taken the request.
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

/// A text of a server's as a part of one line.
fn short(text: &str) -> String {
    text.chars().take(MAX_TEXT).map(|char| if char.is_control() { ' ' } else { char }).collect()
}

#[cfg(test)]
mod tests;
