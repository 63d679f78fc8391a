//! A worker that serves StreamTelemetry, in the test's process. The test decides what it answers.

use crate::support::TIMEOUT;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, Empty, StreamBody, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};
use telemetry_sidecar::event::{
    frame::{Prefix, messages},
    proto::bridge::{TelemetryControl, TelemetryEvent},
};
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Code;

type AnswerBody = UnsyncBoxBody<Bytes, io::Error>;

/// A worker's server.
pub struct Worker {
    pub port: u16,
    asked: mpsc::UnboundedReceiver<Asked>,
    serving: JoinHandle<()>,
}

impl Worker {
    pub async fn start() -> Self {
        Self::at(0).await
    }

    /// A worker at this port.
    pub async fn at(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, asked) = mpsc::unbounded_channel();
        let serving = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            let open = Arc::<AtomicUsize>::default();
            while let Ok((stream, _)) = listener.accept().await {
                let (sender, open) = (sender.clone(), Arc::clone(&open));
                let service = service_fn(move |request| answer(request, sender.clone(), Arc::clone(&open)));
                connections.spawn(async move {
                    let http2 = http2::Builder::new(TokioExecutor::new());
                    let _ = http2.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { port, asked, serving }
    }

    /// The option that names it.
    pub fn upstream(&self) -> String {
        format!("--upstream=127.0.0.1:{}", self.port)
    }

    /// The next request for the stream. None is open then.
    pub async fn asked(&mut self) -> Asked {
        let asked = timeout(TIMEOUT, self.asked.recv()).await.expect("no stream is opened").unwrap();
        assert_eq!(asked.open.fetch_add(1, SeqCst), 0, "two streams at a time");
        asked
    }

    /// Answers the next request with a stream.
    pub async fn stream(&mut self) -> Stream {
        self.asked().await.stream()
    }

    /// Whether a stream was asked for since.
    pub fn was_asked(&mut self) -> bool {
        self.asked.try_recv().is_ok()
    }

    /// Closes all connections and the port.
    pub async fn stop(self) {
        self.serving.abort();
        let _ = self.serving.await;
    }
}

async fn answer(
    request: Request<Incoming>,
    asked: mpsc::UnboundedSender<Asked>,
    open: Arc<AtomicUsize>,
) -> Result<Response<AnswerBody>, io::Error> {
    let (head, request) = request.into_parts();
    if head.uri.path() != "/snakepit.bridge.BridgeService/StreamTelemetry" {
        return Ok(head_only(Code::Unimplemented));
    }
    let (answer, answered) = oneshot::channel();
    let _ = asked.send(Asked { headers: head.headers, request, answer, open });
    answered.await.map_err(io::Error::other)
}

fn status(code: Code) -> HeaderMap {
    HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from(code as i32))])
}

fn head_only(code: Code) -> Response<AnswerBody> {
    let mut response = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
    *response.headers_mut() = status(code);
    response
}

/// A request for the stream that is not answered yet.
pub struct Asked {
    pub headers: HeaderMap,
    request: Incoming,
    answer: oneshot::Sender<Response<AnswerBody>>,
    open: Arc<AtomicUsize>,
}

impl Asked {
    /// Answers with a stream.
    pub fn stream(self) -> Stream {
        let (frames, receiver) = mpsc::unbounded_channel();
        let body = StreamBody::new(UnboundedReceiverStream::new(receiver)).boxed_unsync();
        self.answer.send(Response::new(body)).unwrap();
        Stream { request: self.request, frames, open: self.open }
    }

    /// Answers with a status and no stream.
    pub fn refuse(self, code: Code) {
        self.open.fetch_sub(1, SeqCst);
        self.answer.send(head_only(code)).unwrap();
    }
}

/// An open stream.
pub struct Stream {
    request: Incoming,
    frames: mpsc::UnboundedSender<io::Result<Frame<Bytes>>>,
    open: Arc<AtomicUsize>,
}

impl Stream {
    /// Sends events in one DATA frame.
    pub fn send<'a>(&self, events: impl IntoIterator<Item = &'a TelemetryEvent>) {
        let messages = events.into_iter().map(|event| message(false, &event.encode_to_vec()));
        self.send_bytes(messages.flatten().collect::<Vec<_>>());
    }

    /// Sends a DATA frame.
    pub fn send_bytes(&self, bytes: Vec<u8>) {
        self.frames.send(Ok(Frame::data(bytes.into()))).unwrap();
    }

    /// Ends the stream with trailers, and returns the controls that were sent to it.
    pub async fn end(self, code: Code) -> Vec<TelemetryControl> {
        let Self { mut request, frames, open } = self;
        open.fetch_sub(1, SeqCst);
        frames.send(Ok(Frame::trailers(status(code)))).unwrap();
        drop(frames);
        let mut bytes = Vec::new();
        while let Ok(Some(Ok(frame))) = timeout(TIMEOUT, request.frame()).await {
            bytes.extend(frame.into_data().unwrap());
        }
        messages(bytes.into()).map(|message| TelemetryControl::decode(message).unwrap()).collect()
    }
}

/// A message as gRPC sends it.
pub fn message(compressed: bool, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap();
    [&Prefix { compressed, length }.to_bytes()[..], message].concat()
}
