//! Responses of servers, and whether a request may be retried:
//! <https://opentelemetry.io/docs/specs/otlp/#otlpgrpc-response>, `#otlphttp-response`.

use super::endpoint::{Protocol, Signal};
use super::proto::collector::{
    logs::v1::ExportLogsServiceResponse, metrics::v1::ExportMetricsServiceResponse,
    trace::v1::ExportTraceServiceResponse,
};
use crate::event::frame::{self, Prefix};
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http::{
    HeaderMap, StatusCode,
    header::{CONTENT_ENCODING, RETRY_AFTER},
};
use prost::Message as _;
use std::{
    io::Read as _,
    time::{Duration, SystemTime},
};
use thiserror::Error;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// The longest response, in bytes, also when decompressed: the specification's default.
pub const MAX_RESPONSE_BYTES: usize = 4 * 1024 * 1024;

/// The longest text of a server that is logged, in characters.
const MAX_TEXT: usize = 200;

/// An accepted request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Accepted {
    /// How many of its spans, data points or log records the server rejected. They must not be sent again.
    pub rejected: u64,
    /// The server's message, or nothing.
    pub message: String,
    /// Why the response could not be read. The server may have rejected some items then.
    pub unreadable: Option<Unreadable>,
}

/// Why a response that accepts a request cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Unreadable {
    /// It is longer than this client reads.
    #[error("longer than 4 MiB")]
    TooLong,
    /// The gRPC frame is not complete.
    #[error("cut off")]
    CutOff,
    /// It is compressed in an unknown way.
    #[error("unknown compression '{0}'")]
    Encoding(String),
    /// It is not what gzip writes.
    #[error("invalid gzip data")]
    Gzip,
    /// It is not the message of the signal.
    #[error("not a message of OTLP")]
    Message,
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
    /// The body; `None` if it is too long.
    pub body: Option<Bytes>,
    /// The trailers.
    pub trailers: HeaderMap,
}

impl Answer {
    /// Interprets the response. A request that the server has accepted stays accepted if the rest of the
    /// response cannot be read: sent again, its items would be there twice.
    ///
    /// # Errors
    ///
    /// If the server did not accept the request.
    pub fn read(&self, protocol: Protocol, signal: Signal) -> Result<Accepted, Failure> {
        let message = match protocol {
            Protocol::Grpc => self.grpc_message()?,
            Protocol::Http => self.http_message()?,
        };
        let accepted = message.and_then(|message| partial_success(signal, message));
        Ok(accepted.unwrap_or_else(|cause| Accepted { unreadable: Some(cause), ..Accepted::default() }))
    }

    /// The message of a gRPC response.
    fn grpc_message(&self) -> Result<Result<Bytes, Unreadable>, Failure> {
        let Some(body) = &self.body else {
            // The status would have followed.
            return Err(Failure::connection("the answer is longer than 4 MiB".into()));
        };
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
            return Ok(self.unframed(body));
        }
        let separator = if status.message().is_empty() { "" } else { ": " };
        let why = format!("{:?}{separator}{}", status.code(), short(status.message()));
        Err(Failure { why, retry: may_retry_grpc(&status) })
    }

    /// The message of a gRPC frame. No frame is an empty message.
    fn unframed(&self, body: &Bytes) -> Result<Bytes, Unreadable> {
        let Some((prefix, _)) = Prefix::split(body) else {
            return if body.is_empty() { Ok(Bytes::new()) } else { Err(Unreadable::CutOff) };
        };
        let message = frame::messages(body.clone()).next().ok_or(Unreadable::CutOff)?;
        if prefix.compressed { decompressed(&self.headers, "grpc-encoding", message) } else { Ok(message) }
    }

    /// The message of an HTTP response.
    fn http_message(&self) -> Result<Result<Bytes, Unreadable>, Failure> {
        let body = self.body.clone().ok_or(Unreadable::TooLong);
        let body = body.and_then(|body| decompressed(&self.headers, CONTENT_ENCODING.as_str(), body));
        if self.status.is_success() {
            return Ok(body);
        }
        let retry = match self.headers.get(RETRY_AFTER).map(|value| value.to_str().map(retry_after)) {
            _ if !may_retry_http(self.status) => Retry::Never,
            Some(Ok(Some(after))) => Retry::After(after),
            _ => Retry::Soon,
        };
        // The body of an error is a google.rpc.Status, or any text of a proxy.
        let body = body.unwrap_or_default();
        let text = match tonic_types::Status::decode(&*body) {
            Ok(status) => status.message,
            Err(_) => String::from_utf8_lossy(&body).into_owned(),
        };
        let text = short(&text);
        let separator = if text.is_empty() { "" } else { ": " };
        Err(Failure { why: format!("HTTP {}{separator}{text}", self.status), retry })
    }
}

/// Decompresses what the header of this name says to be compressed.
fn decompressed(headers: &HeaderMap, name: &str, body: Bytes) -> Result<Bytes, Unreadable> {
    let encoding = headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
    match encoding.unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        _ if body.is_empty() => Ok(body),
        "" | "identity" => Ok(body),
        "gzip" | "x-gzip" => gunzip(&body),
        other => Err(Unreadable::Encoding(short(other))),
    }
}

fn gunzip(body: &[u8]) -> Result<Bytes, Unreadable> {
    let mut plain = Vec::new();
    let one_more = MAX_RESPONSE_BYTES as u64 + 1;
    MultiGzDecoder::new(body).take(one_more).read_to_end(&mut plain).map_err(|_| Unreadable::Gzip)?;
    if plain.len() > MAX_RESPONSE_BYTES { Err(Unreadable::TooLong) } else { Ok(plain.into()) }
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

fn partial_success(signal: Signal, message: Bytes) -> Result<Accepted, Unreadable> {
    let (rejected, message) = match signal {
        Signal::Traces => {
            let answer = ExportTraceServiceResponse::decode(message).map_err(|_| Unreadable::Message)?;
            answer.partial_success.map(|partial| (partial.rejected_spans, partial.error_message))
        }
        Signal::Metrics => {
            let answer = ExportMetricsServiceResponse::decode(message).map_err(|_| Unreadable::Message)?;
            answer.partial_success.map(|partial| (partial.rejected_data_points, partial.error_message))
        }
        Signal::Logs => {
            let answer = ExportLogsServiceResponse::decode(message).map_err(|_| Unreadable::Message)?;
            answer.partial_success.map(|partial| (partial.rejected_log_records, partial.error_message))
        }
    }
    .unwrap_or_default();
    let rejected = rejected.try_into().unwrap_or_default();
    let message = if rejected > 0 && message.is_empty() { "no reason given" } else { &message };
    Ok(Accepted { rejected, message: short(message), unreadable: None })
}

/// The beginning of a server's text, as a part of one line.
fn short(text: &str) -> String {
    text.trim().chars().take(MAX_TEXT).map(|char| if char.is_control() { ' ' } else { char }).collect()
}

#[cfg(test)]
mod tests;
