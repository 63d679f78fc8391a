//! A worker's gRPC server in the test's process, and a client that shows frames as they come.

use bytes::Bytes;
use h2::{RecvStream, SendStream, client::SendRequest};
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt as _, Empty, StreamBody, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::{
    convert::Infallible,
    future::pending,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};

/// The size of a frame of an endless answer.
pub const FRAME_BYTES: usize = 16 * 1024;

type AnswerBody = UnsyncBoxBody<Bytes, Infallible>;

/// What the server has seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// The heads of requests, oldest first.
    pub requests: Mutex<Vec<http::request::Parts>>,
    pub connections: AtomicUsize,
    /// Calls of `/test/Wait` and `/test/Flood` that have begun, and how many of them were cancelled.
    pub begun: AtomicUsize,
    pub cancelled: AtomicUsize,
    /// Bytes that HTTP/2 has taken of `/test/Flood`.
    pub flooded: AtomicUsize,
    /// Bytes that `/test/Sink` has read.
    pub read: AtomicUsize,
}

/// A server. Everything of it ends when it is dropped.
pub struct Server {
    pub port: u16,
    pub seen: Arc<Seen>,
    /// Permits for `/test/Sink` to read frames.
    pub reads: Arc<Semaphore>,
    _tasks: JoinSet<()>,
}

impl Server {
    pub async fn start() -> Self {
        Self::at(0).await
    }

    /// A server at this port.
    pub async fn at(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (seen, reads) = (Arc::<Seen>::default(), Arc::new(Semaphore::new(0)));
        let mut tasks = JoinSet::new();
        let theirs = (Arc::clone(&seen), Arc::clone(&reads));
        tasks.spawn(async move {
            let (seen, reads) = theirs;
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                seen.connections.fetch_add(1, Ordering::SeqCst);
                connections.spawn(serve(stream, Arc::clone(&seen), Arc::clone(&reads)));
            }
        });
        Self { port, seen, reads, _tasks: tasks }
    }
}

async fn serve(stream: TcpStream, seen: Arc<Seen>, reads: Arc<Semaphore>) {
    let mut http2 = http2::Builder::new(TokioExecutor::new());
    http2.auto_date_header(false).max_header_list_size(1024 * 1024);
    // A request that is not read must not stop the others of its connection.
    http2.initial_connection_window_size((1 << 31) - 1);
    let service = service_fn(move |request| answer(request, Arc::clone(&seen), Arc::clone(&reads)));
    let _ = http2.serve_connection(TokioIo::new(stream), service).await;
}

/// Counts a call as cancelled when it is dropped.
struct Cancelled(Arc<Seen>);

impl Drop for Cancelled {
    fn drop(&mut self) {
        self.0.cancelled.fetch_add(1, Ordering::SeqCst);
    }
}

async fn answer(
    request: Request<Incoming>,
    seen: Arc<Seen>,
    reads: Arc<Semaphore>,
) -> Result<Response<AnswerBody>, h2::Error> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    if path == "/snakepit.bridge.BridgeService/StreamTelemetry" {
        // It is the sidecar's own.
        return Ok(trailers_only(12));
    }
    let echoed: HeaderMap =
        head.headers.iter().filter(|(name, _)| name.as_str().starts_with("x-")).map(owned).collect();
    seen.requests.lock().unwrap().push(head);
    let body = match path.as_str() {
        "/test/Echo" => Echo { body, trailers: echoed.clone() }.boxed_unsync(),
        "/test/Wait" => {
            seen.begun.fetch_add(1, Ordering::SeqCst);
            let _cancelled = Cancelled(seen);
            pending().await
        }
        "/test/Flood" => flood(seen),
        "/test/Duplex" => {
            let reading = Arc::clone(&seen);
            tokio::spawn(async move { count(body, &reading).await });
            flood(seen)
        }
        "/test/Sink" => {
            let mut body = body;
            while let Ok(permit) = reads.acquire().await {
                permit.forget();
                let Some(Ok(frame)) = body.frame().await else { break };
                seen.read.fetch_add(frame.into_data().map_or(0, |data| data.len()), Ordering::SeqCst);
            }
            return Ok(trailers_only(0));
        }
        "/test/Refuse" => {
            let mut response = trailers_only(5);
            response.headers_mut().insert("grpc-message", "no such thing".parse().unwrap());
            response.headers_mut().insert("grpc-status-details-bin", "AAECAw".parse().unwrap());
            return Ok(response);
        }
        "/test/Reset" => return Err(h2::Reason::ENHANCE_YOUR_CALM.into()),
        _ => return Ok(trailers_only(12)),
    };
    let mut response = Response::new(body);
    response.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
    response.headers_mut().extend(echoed);
    Ok(response)
}

/// An answer without an end.
fn flood(seen: Arc<Seen>) -> AnswerBody {
    seen.begun.fetch_add(1, Ordering::SeqCst);
    let cancelled = Cancelled(seen);
    let frames = tokio_stream::iter(std::iter::repeat_with(move || {
        cancelled.0.flooded.fetch_add(FRAME_BYTES, Ordering::SeqCst);
        Ok(Frame::data(Bytes::from_static(&[0; FRAME_BYTES])))
    }));
    StreamBody::new(frames).boxed_unsync()
}

/// Reads a request to its end.
async fn count(mut body: Incoming, seen: &Seen) {
    while let Some(Ok(frame)) = body.frame().await {
        seen.read.fetch_add(frame.into_data().map_or(0, |data| data.len()), Ordering::SeqCst);
    }
}

fn owned<K: Clone, V: Clone>((key, value): (&K, &V)) -> (K, V) {
    (key.clone(), value.clone())
}

fn trailers_only(code: u16) -> Response<AnswerBody> {
    let mut response = Response::new(Empty::new().boxed_unsync());
    response.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
    response.headers_mut().insert("grpc-status", code.into());
    response
}

/// Sends a request's frames back, and then trailers.
struct Echo {
    body: Incoming,
    trailers: HeaderMap,
}

impl Body for Echo {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.body).poll_frame(context).map(|frame| match frame {
            Some(Ok(frame)) if frame.is_data() => Some(Ok(frame)),
            _ if self.trailers.contains_key("grpc-status") => None,
            _ => {
                self.trailers.insert("grpc-status", 0.into());
                Some(Ok(Frame::trailers(self.trailers.clone())))
            }
        })
    }
}

/// A client with this HTTP/2 window for each stream.
pub async fn client(port: u16, window_bytes: u32) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let mut http2 = h2::client::Builder::new();
    http2.initial_window_size(window_bytes).initial_connection_window_size((1 << 31) - 1);
    http2.max_header_list_size(1024 * 1024);
    let (sender, connection) = http2.handshake(stream).await.unwrap();
    tokio::spawn(async move { drop(connection.await) });
    sender
}

/// A request of this path, with additional headers.
pub fn request(path: &str, headers: &[(&'static str, &str)]) -> Request<()> {
    let mut request = Request::post(format!("http://localhost{path}"));
    for (name, value) in [("content-type", "application/grpc"), ("te", "trailers")].iter().chain(headers) {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap()
}

/// A call whose request is not ended.
pub async fn open(
    client: &SendRequest<Bytes>,
    request: Request<()>,
) -> (h2::client::ResponseFuture, SendStream<Bytes>) {
    client.clone().ready().await.unwrap().send_request(request, false).unwrap()
}

/// A call whose request has no body.
pub async fn call(
    client: &SendRequest<Bytes>,
    request: Request<()>,
) -> Result<Response<RecvStream>, h2::Error> {
    client.clone().ready().await?.send_request(request, true)?.0.await
}

/// All data and the trailers of an answer.
pub async fn read(mut answer: RecvStream) -> Result<(Vec<u8>, HeaderMap), h2::Error> {
    let mut all = Vec::new();
    while let Some(data) = answer.data().await {
        let data = data?;
        answer.flow_control().release_capacity(data.len()).unwrap();
        all.extend_from_slice(&data);
    }
    Ok((all, answer.trailers().await?.unwrap_or_default()))
}
