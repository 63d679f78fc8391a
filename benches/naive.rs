//! A simple sidecar for comparison: tokio throughout, `lines()`, `serde_json::Value`, prost's structs, and a
//! channel for each subscriber.
//!
//!     naive [--ready-file PATH] -- COMMAND [ARGS]...
//!
//! It reads and writes with buffers of 64 KiB. Ordinary lines are written as soon as the bytes read so far
//! have no other complete line, so that none is late and a burst is one write.
//! It ignores controls, signals and most edge cases.

mod value;

use hyper_util::rt::{TokioExecutor, TokioIo};
use std::{
    convert::Infallible,
    process::{ExitCode, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use telemetry_sidecar::event::proto::bridge::{TelemetryControl, TelemetryEvent};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, BufWriter},
    net::TcpListener,
    process::Command,
    sync::mpsc,
    time::timeout,
};
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming, server::Grpc};
use tonic_prost::ProstCodec;

const BUFFER_BYTES: usize = 64 * 1024;
const QUEUE_EVENTS: usize = 1024;
const DRAIN_TIMEOUT: Duration = Duration::from_millis(500);

type Failure = Box<dyn std::error::Error>;
type Events = std::pin::Pin<Box<dyn tokio_stream::Stream<Item = Result<TelemetryEvent, Status>> + Send>>;
type Answer = std::pin::Pin<Box<dyn Future<Output = Result<Response<Events>, Status>> + Send>>;

#[derive(Clone, Default)]
struct Subscribers(Arc<Mutex<Vec<mpsc::Sender<TelemetryEvent>>>>);

impl Subscribers {
    fn publish(&self, event: &TelemetryEvent) {
        // A full queue drops the event; the queue of a disconnected client is removed.
        self.lock().retain(|subscriber| {
            !matches!(subscriber.try_send(event.clone()), Err(mpsc::error::TrySendError::Closed(_)))
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<mpsc::Sender<TelemetryEvent>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl tonic::server::StreamingService<TelemetryControl> for Subscribers {
    type Response = TelemetryEvent;
    type ResponseStream = Events;
    type Future = Answer;

    fn call(&mut self, _: Request<Streaming<TelemetryControl>>) -> Answer {
        let (sender, receiver) = mpsc::channel(QUEUE_EVENTS);
        self.lock().push(sender);
        let events: Events = Box::pin(ReceiverStream::new(receiver).map(Ok));
        Box::pin(async { Ok(Response::new(events)) })
    }
}

#[tokio::main]
async fn main() -> Result<ExitCode, Failure> {
    let mut words = std::env::args_os().skip(1).peekable();
    let ready_file = words.next_if(|word| word == "--ready-file").and_then(|_| words.next());
    words.next_if(|word| word == "--");
    let program = words.next().ok_or("usage: naive [--ready-file PATH] -- COMMAND [ARGS]...")?;

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    if let Some(path) = ready_file {
        std::fs::write(path, format!("{}\n", listener.local_addr()?.port()))?;
    }
    let subscribers = Subscribers::default();
    // Everything is delivered when every connection has dropped its sender.
    let (open, mut all_closed) = mpsc::channel::<()>(1);
    let accepting = tokio::spawn(accept(listener, subscribers.clone(), open));

    let mut worker = Command::new(program).args(words).stderr(Stdio::piped()).spawn()?;
    let pipe = worker.stderr.take().ok_or("no pipe")?;
    let mut lines = BufReader::with_capacity(BUFFER_BYTES, pipe).lines();
    let mut stderr = BufWriter::with_capacity(BUFFER_BYTES, tokio::io::stderr());
    while let Some(line) = lines.next_line().await? {
        let event = line.strip_prefix("TELEMETRY:").and_then(value::decode);
        if let Some(event) = event {
            subscribers.publish(&event);
        } else {
            stderr.write_all(line.as_bytes()).await?;
            stderr.write_all(b"\n").await?;
        }
        if !lines.get_ref().buffer().contains(&b'\n') {
            stderr.flush().await?;
        }
    }
    let status = worker.wait().await?;
    stderr.flush().await?;
    // This ends the streams.
    subscribers.lock().clear();
    accepting.abort();
    let _ = timeout(DRAIN_TIMEOUT, all_closed.recv()).await;
    Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}

async fn accept(listener: TcpListener, subscribers: Subscribers, open: mpsc::Sender<()>) {
    while let Ok((socket, _)) = listener.accept().await {
        let _ = socket.set_nodelay(true);
        let (subscribers, open) = (subscribers.clone(), open.clone());
        tokio::spawn(async move {
            let service = hyper::service::service_fn(|request| {
                let subscribers = subscribers.clone();
                async move {
                    let mut grpc = Grpc::new(ProstCodec::<TelemetryEvent, TelemetryControl>::default());
                    Ok::<_, Infallible>(grpc.streaming(subscribers, request).await)
                }
            });
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let _ = server.serve_connection(TokioIo::new(socket), service).await;
            drop(open);
        });
    }
}
