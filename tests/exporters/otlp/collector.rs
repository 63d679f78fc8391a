//! A scripted OpenTelemetry collector: it accepts requests, rejects them in every way, or does not answer.

use crate::support::{TIMEOUT, wait_until};
use bytes::Bytes;
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use http::{HeaderMap, Request, Response, header::RETRY_AFTER};
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use std::{
    collections::VecDeque,
    convert::Infallible,
    io::{Read as _, Write as _},
    net::TcpListener,
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};
use telemetry_sidecar::{
    event::frame::{PREFIX_BYTES, Prefix},
    exporter::otlp::proto::{
        collector::{
            logs::v1::{ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse},
            metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse},
            trace::v1::{ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse},
        },
        logs::v1::LogRecord,
        metrics::v1::Metric,
        resource::v1::Resource,
        trace::v1::Span,
    },
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// The protocol of the collector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Grpc,
    Http,
}

impl Protocol {
    pub const BOTH: [Self; 2] = [Self::Grpc, Self::Http];

    /// The value of `OTEL_EXPORTER_OTLP_PROTOCOL`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Http => "http/protobuf",
        }
    }
}

/// Its reaction to a request with spans or log records.
#[derive(Debug, Clone)]
pub enum Reply {
    Take,
    /// Accepts the request except this number of spans or log records.
    Partial(i64),
    /// The same, compressed with gzip.
    PartialGzip(i64),
    /// Rejects with a gRPC code, with a `RetryInfo` if given.
    Grpc(Code, Option<Duration>),
    /// Rejects with an HTTP status, with a `Retry-After` if given.
    Http(u16, Option<String>),
    /// Never answers.
    Silence,
    /// Accepts it after this time.
    Slow(Duration),
    /// Closes the connection without an answer.
    HangUp,
}

/// A received request.
#[derive(Debug, Clone)]
pub struct Received {
    pub at: Instant,
    pub path: String,
    pub headers: HeaderMap,
    pub resource: Resource,
    pub spans: Vec<Span>,
    pub metrics: Vec<Metric>,
    pub logs: Vec<LogRecord>,
}

#[derive(Debug, Default)]
struct State {
    script: Mutex<VecDeque<Reply>>,
    received: Mutex<Vec<Received>>,
}

/// A running collector; stopped when dropped.
pub struct Collector {
    pub port: u16,
    state: Arc<State>,
    end: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Collector {
    /// Starts a collector that answers requests with spans or log records by this script, accepts later ones,
    /// and accepts all metrics.
    pub fn start(protocol: Protocol, script: &[Reply]) -> Self {
        Self::start_at(0, protocol, None, script)
    }

    pub fn start_at(port: u16, protocol: Protocol, tls: Option<ServerConfig>, script: &[Reply]) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state =
            Arc::new(State { script: Mutex::new(script.iter().cloned().collect()), ..State::default() });
        let end = CancellationToken::new();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let thread = thread::spawn({
            let (state, end) = (Arc::clone(&state), end.clone());
            let tls = tls.map(|tls| TlsAcceptor::from(Arc::new(tls)));
            move || {
                runtime.block_on(async {
                    tokio::select! {
                        () = accept(listener, protocol, tls, state) => {}
                        () = end.cancelled() => {}
                    }
                });
            }
        });
        Self { port, state, end, thread: Some(thread) }
    }

    pub fn received(&self) -> Vec<Received> {
        self.state.received.lock().unwrap().clone()
    }

    /// The requests with spans so far.
    pub fn traces(&self) -> Vec<Received> {
        self.received().into_iter().filter(|request| !request.spans.is_empty()).collect()
    }

    /// All spans so far, including rejected ones.
    pub fn spans(&self) -> Vec<Span> {
        self.traces().into_iter().flat_map(|request| request.spans).collect()
    }

    /// All log records so far, including rejected ones.
    pub fn logs(&self) -> Vec<LogRecord> {
        self.received().into_iter().flat_map(|request| request.logs).collect()
    }

    /// Waits for this number of requests with spans, and returns them.
    #[track_caller]
    pub fn wait_for_traces(&self, count: usize) -> Vec<Received> {
        wait_until("requests of spans", || self.traces().len() >= count);
        self.traces()
    }

    /// Waits for a metric and returns its latest state.
    #[track_caller]
    pub fn wait_for_metric(&self, name: &str) -> Metric {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let metrics = self.received().into_iter().rev().flat_map(|request| request.metrics);
            if let Some(metric) = metrics.into_iter().find(|metric| metric.name == name) {
                return metric;
            }
            assert!(Instant::now() < deadline, "no metric {name}");
            thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.end.cancel();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

async fn accept(listener: TcpListener, protocol: Protocol, tls: Option<TlsAcceptor>, state: Arc<State>) {
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        let (tls, state) = (tls.clone(), Arc::clone(&state));
        tokio::spawn(async move {
            match tls {
                None => serve(socket, protocol, state).await,
                Some(tls) => {
                    if let Ok(socket) = tls.accept(socket).await {
                        serve(socket, protocol, state).await;
                    }
                }
            }
        });
    }
}

async fn serve(
    socket: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    protocol: Protocol,
    state: Arc<State>,
) {
    let hang_up = CancellationToken::new();
    let service = service_fn({
        let hang_up = hang_up.clone();
        move |request| answer(request, protocol, Arc::clone(&state), hang_up.clone())
    });
    let socket = TokioIo::new(socket);
    let served = async {
        let _ = match protocol {
            Protocol::Grpc => {
                http2::Builder::new(TokioExecutor::new()).serve_connection(socket, service).await
            }
            Protocol::Http => http1::Builder::new().serve_connection(socket, service).await,
        };
    };
    tokio::select! {
        () = served => {}
        () = hang_up.cancelled() => {}
    }
}

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

async fn answer(
    request: Request<Incoming>,
    protocol: Protocol,
    state: Arc<State>,
    hang_up: CancellationToken,
) -> Result<Answer, hyper::Error> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let received = read(protocol, parts.uri.path().to_owned(), parts.headers, body);
    let (is_traces, is_logs) = (!received.spans.is_empty(), !received.logs.is_empty());
    state.received.lock().unwrap().push(received);
    let reply = if is_traces || is_logs { state.script.lock().unwrap().pop_front() } else { None };
    let (mut rejected, mut gzip) = (0, false);
    match reply.unwrap_or(Reply::Take) {
        Reply::Take => {}
        Reply::Partial(count) => rejected = count,
        Reply::PartialGzip(count) => (rejected, gzip) = (count, true),
        Reply::Grpc(code, None) => return Ok(grpc(&Status::new(code, "no"), false, &[])),
        Reply::Grpc(code, Some(pause)) => {
            let details = ErrorDetails::with_retry_info(Some(pause));
            return Ok(grpc(&Status::with_error_details(code, "no", details), false, &[]));
        }
        Reply::Http(status, retry_after) => {
            let mut response = Response::new(Full::from("no").boxed_unsync());
            *response.status_mut() = status.try_into().unwrap();
            if let Some(value) = retry_after {
                response.headers_mut().insert(RETRY_AFTER, value.parse().unwrap());
            }
            return Ok(response);
        }
        Reply::Silence => std::future::pending().await,
        Reply::Slow(pause) => tokio::time::sleep(pause).await,
        Reply::HangUp => {
            hang_up.cancel();
            std::future::pending::<()>().await;
        }
    }
    let error_message = "too old".to_owned();
    let mut message = if is_traces {
        let partial = ExportTracePartialSuccess { rejected_spans: rejected, error_message };
        let partial_success = (rejected > 0).then_some(partial);
        ExportTraceServiceResponse { partial_success }.encode_to_vec()
    } else if is_logs {
        let partial = ExportLogsPartialSuccess { rejected_log_records: rejected, error_message };
        let partial_success = (rejected > 0).then_some(partial);
        ExportLogsServiceResponse { partial_success }.encode_to_vec()
    } else {
        ExportMetricsServiceResponse::default().encode_to_vec()
    };
    if gzip {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&message).unwrap();
        message = encoder.finish().unwrap();
    }
    let (mut response, encoding) = match protocol {
        Protocol::Grpc => (grpc(&Status::ok(""), gzip, &message), "grpc-encoding"),
        Protocol::Http => (Response::new(Full::from(message).boxed_unsync()), "content-encoding"),
    };
    if gzip {
        response.headers_mut().insert(encoding, "gzip".parse().unwrap());
    }
    Ok(response)
}

/// Decompresses and decodes a request, which must be valid.
fn read(protocol: Protocol, path: String, headers: HeaderMap, mut body: Bytes) -> Received {
    let header = |name| headers.get(name).map(|value| value.to_str().unwrap());
    let gzip = match protocol {
        Protocol::Grpc => {
            assert_eq!(header("content-type"), Some("application/grpc"));
            assert_eq!(header("te"), Some("trailers"));
            let (Prefix { compressed, length }, message) = Prefix::split(&body).unwrap();
            assert_eq!(message.len(), length as usize);
            assert_eq!(compressed, header("grpc-encoding") == Some("gzip"));
            body = body.slice(PREFIX_BYTES..);
            compressed
        }
        Protocol::Http => {
            assert_eq!(header("content-type"), Some("application/x-protobuf"));
            header("content-encoding") == Some("gzip")
        }
    };
    if gzip {
        let mut plain = Vec::new();
        GzDecoder::new(&*body).read_to_end(&mut plain).unwrap();
        body = plain.into();
    }
    assert!(body.len() < 4 * 1024 * 1024, "a request of {} bytes", body.len());
    let mut received = Received {
        at: Instant::now(),
        path,
        headers,
        resource: Resource::default(),
        spans: Vec::new(),
        metrics: Vec::new(),
        logs: Vec::new(),
    };
    let path = received.path.to_lowercase();
    if path.contains("trace") {
        for part in ExportTraceServiceRequest::decode(body).unwrap().resource_spans {
            received.resource = part.resource.unwrap();
            received.spans.extend(part.scope_spans.into_iter().flat_map(|scope| scope.spans));
        }
        assert!(!received.spans.is_empty(), "an empty request");
    } else if path.contains("logs") {
        for part in ExportLogsServiceRequest::decode(body).unwrap().resource_logs {
            received.resource = part.resource.unwrap();
            received.logs.extend(part.scope_logs.into_iter().flat_map(|scope| scope.log_records));
        }
        assert!(!received.logs.is_empty(), "an empty request");
    } else {
        for part in ExportMetricsServiceRequest::decode(body).unwrap().resource_metrics {
            received.resource = part.resource.unwrap();
            received.metrics.extend(part.scope_metrics.into_iter().flat_map(|scope| scope.metrics));
        }
        assert!(!received.metrics.is_empty(), "an empty request");
    }
    received
}

fn grpc(status: &Status, compressed: bool, message: &[u8]) -> Answer {
    let prefix = Prefix { compressed, length: message.len().try_into().unwrap() }.to_bytes();
    let body = if status.code() == Code::Ok { [&prefix[..], message].concat() } else { Vec::new() };
    let mut trailers = HeaderMap::new();
    status.add_header(&mut trailers).unwrap();
    let body = Full::from(body).with_trailers(async { Some(Ok(trailers)) });
    let mut response = Response::new(body.boxed_unsync());
    response.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
    response
}
