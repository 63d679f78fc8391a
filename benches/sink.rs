//! A receiver of OTLP over gRPC that accepts everything: it counts spans, log records, metrics and bytes, and
//! does nothing else.
//!
//! ```text
//! cargo run --release --example sink -- [EVENTS]
//! ```
//!
//! It prints its port, `complete` when that many spans and log records have arrived, and its counters as a
//! line of JSON when its stdin ends.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::encoding::{WireType, decode_key, decode_varint, skip_field};
use std::{
    convert::Infallible,
    io::{self, Write as _},
    sync::{Arc, Mutex, PoisonError},
};
use telemetry_sidecar::event::frame::PREFIX_BYTES;
use tokio::{io::AsyncReadExt as _, net::TcpListener};

/// Large enough that the receiver never limits the sender.
const WINDOW_BYTES: u32 = 8 * 1024 * 1024;

/// The path to a span, a log record and a metric in a request: resources, scopes, items.
const PATH: [u32; 3] = [1, 2, 2];

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Parts = tokio_stream::Iter<std::array::IntoIter<Result<Frame<Bytes>, Infallible>, 2>>;

#[derive(Default)]
struct Counters {
    requests: u64,
    bytes: u64,
    spans: u64,
    logs: u64,
    metrics: u64,
}

impl Counters {
    fn events(&self) -> u64 {
        self.spans + self.logs
    }

    fn add(&mut self, path: &str, body: &Bytes) -> Result<(), Failure> {
        self.requests += 1;
        self.bytes += body.len() as u64;
        let message = body.get(PREFIX_BYTES..).ok_or("a request without a message")?;
        let items = count(message, &PATH)?;
        match path {
            "/opentelemetry.proto.collector.trace.v1.TraceService/Export" => self.spans += items,
            "/opentelemetry.proto.collector.logs.v1.LogsService/Export" => self.logs += items,
            "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export" => self.metrics += items,
            other => return Err(format!("unknown method {other}").into()),
        }
        Ok(())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let expected = std::env::args().nth(1).map(|word| word.parse::<u64>()).transpose()?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?.port());
    let counters = Arc::new(Mutex::new(Counters::default()));
    tokio::spawn(accept(listener, counters.clone(), expected));
    tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
    let Counters { requests, bytes, spans, logs, metrics } =
        *counters.lock().unwrap_or_else(PoisonError::into_inner);
    print!(r#"{{"requests": {requests}, "bytes": {bytes}, "#);
    println!(r#""spans": {spans}, "logs": {logs}, "metrics": {metrics}}}"#);
    Ok(())
}

async fn accept(listener: TcpListener, counters: Arc<Mutex<Counters>>, expected: Option<u64>) {
    while let Ok((socket, _)) = listener.accept().await {
        let counters = counters.clone();
        let answer = service_fn(move |request| serve(request, counters.clone(), expected));
        tokio::spawn(async move {
            let mut server = http2::Builder::new(TokioExecutor::new());
            server.initial_stream_window_size(WINDOW_BYTES).initial_connection_window_size(WINDOW_BYTES);
            let _ = server.serve_connection(TokioIo::new(socket), answer).await;
        });
    }
}

async fn serve(
    request: Request<Incoming>,
    counters: Arc<Mutex<Counters>>,
    expected: Option<u64>,
) -> Result<Response<StreamBody<Parts>>, Failure> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await?.to_bytes();
    let (before, now) = {
        let mut counters = counters.lock().unwrap_or_else(PoisonError::into_inner);
        let before = counters.events();
        counters.add(&path, &body)?;
        (before, counters.events())
    };
    if expected.is_some_and(|expected| before < expected && now >= expected) {
        println!("complete");
        io::stdout().flush()?;
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    // An empty message means full success.
    let parts = [Ok(Frame::data(Bytes::from_static(&[0; PREFIX_BYTES]))), Ok(Frame::trailers(trailers))];
    let body = StreamBody::new(tokio_stream::iter(parts));
    Ok(Response::builder().header("content-type", "application/grpc").body(body)?)
}

/// Counts the messages at this path of field numbers.
fn count(mut message: &[u8], path: &[u32]) -> Result<u64, Failure> {
    let Some((first, rest)) = path.split_first() else { return Ok(1) };
    let mut found = 0;
    while !message.is_empty() {
        let (field, wire_type) = decode_key(&mut message)?;
        if field == *first && wire_type == WireType::LengthDelimited {
            let length = usize::try_from(decode_varint(&mut message)?)?;
            let (item, after) = message.split_at_checked(length).ok_or("a request that ends early")?;
            found += count(item, rest)?;
            message = after;
        } else {
            skip_field(wire_type, field, &mut message, prost::encoding::DecodeContext::default())?;
        }
    }
    Ok(found)
}
