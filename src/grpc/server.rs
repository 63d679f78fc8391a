//! The gRPC server: accepts connections, serves them, and shuts down gracefully.
//!
//! At the end of the stream queues drain and each stream ends with status OK, and relayed calls get the
//! worker's last answers. After a connection's last
//! stream GOAWAY is sent (see `closing`), and the connection stays until the peer closes it.
//! The session waits for this no longer than the drain's limit. Connections without a telemetry stream are
//! not waited for.

use super::{
    auth::Access,
    closing::Closing,
    connection::Connections,
    hold::Hold,
    limits::{ClientLimits, permits},
    router::{Services, WorkerCalls},
    service::{observer::OBSERVER_END, pool_calls::PoolCalls, status::StatusService, telemetry::Telemetry},
    unary::Requests,
};
use crate::net::{
    accept::{AboveLimit, Acceptor, ConnectionLimit, accept},
    listener::Listener,
};
use crate::{
    pipeline::output::{Context, Done, Running, channel},
    status::Status,
    upstream::{Upstream, args::Snakepit},
};
use std::sync::Arc;
use tokio::{runtime::Handle, task::JoinSet, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The server's name among the outputs.
const NAME: &str = "grpc";

/// The server before its start.
pub struct Server {
    /// The bound listeners.
    pub listeners: Vec<Listener>,
    /// TLS and tokens.
    pub access: Access,
    /// The limits on clients.
    pub limits: ClientLimits,
    /// How to stand in front of a worker of a Snakepit pool, if it is one.
    pub snakepit: Option<Snakepit>,
    /// The worker's own server, if calls are relayed to it.
    pub upstream: Option<Arc<Upstream>>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Server").field("listeners", &self.listeners).finish_non_exhaustive()
    }
}

impl Server {
    /// Serves on a runtime.
    pub fn start(self, context: &Context, runtime: &Handle) -> Running {
        let (done, running) = channel(NAME);
        let context = context.clone();
        runtime.spawn(async move { self.serve(&context, done).await });
        running
    }

    /// Serves until the shutdown, then until the subscribers have everything, which is when it has drained,
    /// and then until their connections are closed. Those of a pool stay open until the process exits.
    pub async fn serve(self, context: &Context, done: Done) {
        let Context { hub, drain, shutdown, .. } = context;
        let end = CancellationToken::new();
        let access = Arc::new(self.access);
        let mut telemetry = Telemetry::new(Arc::clone(hub), &self.limits, shutdown.clone(), *drain);
        telemetry.worker = context.mode.worker().cloned();
        let requests = Requests::new(self.limits.handshake_timeout.0, end.clone());
        let metrics_page = context.served.iter().find(|(name, _)| *name == "prometheus");
        let status = StatusService(Status {
            prometheus: metrics_page.map(|(_, address)| *address),
            ..Status::new(Arc::clone(hub), context.mode.worker().cloned(), context.recording.clone())
        });
        let worker_calls = match (self.upstream, context.mode.worker(), self.snakepit) {
            (Some(upstream), ..) => WorkerCalls::Relayed(upstream),
            (None, Some(worker), Some(Snakepit::Alone)) => {
                WorkerCalls::Answered(PoolCalls::new(Arc::clone(worker)))
            }
            _ => WorkerCalls::Unimplemented,
        };
        let hold = context.mode.worker().filter(|_| self.snakepit.is_some()).cloned().map(Hold::new);
        let services = Services::new(telemetry, status, worker_calls, Arc::clone(&access), requests, hold);
        let services = Arc::new(services);
        let limit = ConnectionLimit {
            permits: Arc::new(permits(self.limits.connections)),
            above: AboveLimit::Close { option: "--max-connections" },
        };
        let connections = Arc::new(Connections {
            services: Arc::clone(&services),
            access,
            limits: self.limits,
            end: end.clone(),
            closing: Closing { drain: *drain, shutdown: shutdown.clone() },
            unwritten: TaskTracker::new(),
        });
        let mut accepting = JoinSet::new();
        for listener in self.listeners {
            accepting.spawn(serve_listener(listener, Arc::clone(&connections), limit.clone()));
        }

        shutdown.cancelled().await;
        hub.subscribers_left().await;
        // They have what they need when they do not read: an observer must not hold up the end.
        let _ = timeout(OBSERVER_END, hub.observers_left()).await;
        services.relayed_ended().await;
        // Events of subscribers that disconnect early are counted as abandoned; they are not a failure.
        let open = done.drained_but_open(None);
        end.cancel();
        connections.written().await;
        drop(open);
        // The accept loops end after their connections.
        while accepting.join_next().await.is_some() {}
    }
}

/// Serves one listener's connections until the end, then waits for those that are left.
async fn serve_listener(listener: Listener, connections: Arc<Connections>, limit: ConnectionLimit) {
    let acceptor = match Acceptor::new(listener) {
        Ok(acceptor) => acceptor,
        Err(error) => {
            return tracing::info!("cannot accept connections: {error}");
        }
    };
    let serve = |socket, peer| {
        let connections = Arc::clone(&connections);
        async move { connections.serve(socket, peer).await }
    };
    accept("grpc", acceptor, limit, connections.end.cancelled(), serve).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        control::Controls,
        grpc::auth::AccessFiles,
        hub::{Hub, Limits, WhenFull},
        net::{address::Address, unix_socket::SocketMode},
        pipeline::output::{Drain, Mode},
    };
    use std::time::Duration;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::UnixStream,
        time::Instant,
    };

    /// A client's preface and an empty SETTINGS frame.
    const GREETING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

    fn context() -> Context {
        let limits = Limits { events: 10, bytes: 1_000, when_full: WhenFull::DropNewest };
        Context::new(Hub::new(Controls::default(), limits), Mode::Replay, Drain::Complete, Duration::ZERO)
    }

    /// A server with the default timeouts.
    fn server(listeners: Vec<Listener>) -> Server {
        Server {
            listeners,
            access: Access::load(AccessFiles::default()).unwrap(),
            limits: ClientLimits::default(),
            snakepit: None,
            upstream: None,
        }
    }

    #[track_caller]
    fn assert_took(start: Instant, milliseconds: u64) {
        let (took, expected) = (start.elapsed(), Duration::from_millis(milliseconds));
        // The clock's ticks are milliseconds.
        assert!(
            expected <= took && took <= expected + Duration::from_millis(2),
            "{took:?}, not {expected:?}"
        );
    }

    /// A call without a message on stream 1.
    fn call(path: &str, content_type: &str) -> Vec<u8> {
        let mut headers = vec![0x83, 0x86]; // :method POST, :scheme http
        for (name, value) in [(":path", path), (":authority", "localhost"), ("content-type", content_type)] {
            headers.push(0); // literal without indexing, new name
            for text in [name, value] {
                headers.push(u8::try_from(text.len()).unwrap());
                headers.extend_from_slice(text.as_bytes());
            }
        }
        // END_STREAM and END_HEADERS
        let header = [0, 0, u8::try_from(headers.len()).unwrap(), 1, 5, 0, 0, 0, 1];
        [GREETING, &header, &headers].concat()
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_has_time_for_an_admitted_request_and_then_for_answering_pings() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        // What is written to a unix socket is there at once: while something can be read the clock stands
        // still.
        let address = Address::Unix(path.clone()).resolve().unwrap();
        let mut listener = Listener::bind(&address, SocketMode::default()).unwrap();
        let _file = listener.take_file();
        let serving = tokio::spawn(async {
            let (done, _running) = channel(NAME);
            server(vec![listener]).serve(&context(), done).await;
        });
        for (sent, expected) in [
            (b"".to_vec(), 5_000),
            (GREETING[..24].to_vec(), 5_000),
            (GREETING.to_vec(), 5_000),
            (call("/grpc.health.v1.Health/Check", "text/html"), 5_000),
            (call("/unknown.Service/Method", "application/grpc"), 5_000),
            (call("/grpc.health.v1.Health/Check", "application/grpc"), 50_000),
        ] {
            let mut peer = UnixStream::connect(&path).await.unwrap();
            peer.write_all(&sent).await.unwrap();
            let start = Instant::now();
            let _ = peer.read_to_end(&mut Vec::new()).await;
            assert_took(start, expected);
        }
        serving.abort();
    }
}
