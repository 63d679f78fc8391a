//! One connection: TLS if configured, HTTP/2, and a graceful close.

use super::{
    auth::Access,
    closing::{Closing, close_unused},
    limits::ClientLimits,
    router::{Router, Services},
    service::observer::OBSERVER_END,
    stream_tracker::StreamTracker,
    wire::Wire,
};
use crate::{net::socket::Socket, system::log, upstream};
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::{future::poll_fn, io, pin::Pin, sync::Arc, task::Poll, time::Duration};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_rustls::server::TlsStream;
use tokio_util::{
    either::Either,
    sync::CancellationToken,
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};

/// What HTTP/2 lets a client have on its way.
struct Bounds {
    /// HTTP/2 window of a stream.
    stream_window_bytes: u32,
    /// HTTP/2 window of a connection. It bounds the unread data; each reader bounds what it has read.
    connection_window_bytes: u32,
    /// Open requests of a connection. HTTP/2 clients know the limit and wait; a request that is opened all
    /// the same is refused.
    streams: u32,
    /// The headers of a request, as HTTP/2 counts them (RFC 9113, section 6.5.2). More is refused with 431.
    header_bytes: u32,
    /// Requests that were reset before they were accepted (CVE-2023-44487): one more closes the connection.
    unaccepted_resets: usize,
    /// Streams of a connection that h2 has reset because of frames after their end; none is without a limit.
    error_resets: Option<usize>,
}

/// The sidecar's own services.
const OWN: Bounds = Bounds {
    // Requests and controls are read as they arrive, so only controls that exceed the buffer (see
    // `service::controls`) use it up. h2 adds up by how much each unread frame is shorter than 256 bytes, and
    // closes the connection when the sum reaches half the connection's window. This window is small enough to
    // stop a stream of minimal controls, five bytes in a frame each, before that.
    stream_window_bytes: 4 * 1024,
    connection_window_bytes: 512 * 1024,
    // The minimum that RFC 9113 recommends (section 6.5.2).
    streams: 100,
    // What most servers allow.
    header_bytes: 16 * 1024,
    // h2's defaults.
    unaccepted_resets: 20,
    error_resets: Some(1024),
};

/// With a worker behind it, whose server has limits of its own: those of the sidecar are not to be felt.
const RELAY: Bounds = Bounds {
    stream_window_bytes: upstream::STREAM_WINDOW_BYTES,
    connection_window_bytes: upstream::CONNECTION_WINDOW_BYTES,
    streams: 10_000,
    header_bytes: upstream::MAX_HEADER_BYTES,
    unaccepted_resets: 1_000,
    // A client goes on sending for a while when the worker has answered early.
    error_resets: None,
};

/// How long a peer may take to answer a keepalive ping. It is the default of gRPC, and of hyper.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

type Transport = Either<Socket, Box<TlsStream<Socket>>>;

/// Serves connections; shared by all of them.
pub struct Connections {
    pub services: Arc<Services>,
    pub access: Arc<Access>,
    pub limits: ClientLimits,
    /// Cancelled when serving ends.
    pub end: CancellationToken,
    pub closing: Closing,
    /// Counts the connections that are not closed, or whose last answers are not written.
    pub unwritten: TaskTracker,
}

impl Connections {
    /// Waits, when serving has ended, until all last answers are written.
    pub async fn written(&self) {
        self.unwritten.close();
        self.unwritten.wait().await;
    }

    /// Serves a connection until one side closes it.
    pub async fn serve(&self, socket: Socket, peer: String) {
        let unwritten = self.unwritten.token();
        log::limited!(DEBUG, %peer, "connected");
        let begin_by = Instant::now() + self.limits.handshake_timeout.0;
        let secured = tokio::select! {
            secured = timeout_at(begin_by, self.secure(socket.clone())) => secured,
            () = self.end.cancelled() => return,
        };
        match secured {
            Ok(Ok(transport)) => self.serve_http2(transport, &socket, peer, begin_by, unwritten).await,
            Ok(Err(error)) => {
                log::limited!(DEBUG, %peer, "TLS handshake failed: {error}");
                // The TLS alert that says why must not be lost to a reset.
                tokio::select! {
                    _ = timeout_at(begin_by, socket.read_to_end()) => {}
                    () = self.end.cancelled() => {}
                }
            }
            Err(_) => log::limited!(DEBUG, %peer, "handshake timeout expired during TLS"),
        }
    }

    /// Performs the TLS handshake on TCP if TLS is configured. Unix sockets stay plain: they do not leave
    /// this host.
    async fn secure(&self, socket: Socket) -> io::Result<Transport> {
        let tls = match &socket {
            Socket::Tcp(_) => self.access.tls().await,
            Socket::Unix(_) => None,
        };
        Ok(match tls {
            // Boxed, so that connections without TLS do not reserve memory for it.
            Some(tls) => Either::Right(Box::new(Box::pin(tls.accept(socket)).await?)),
            None => Either::Left(socket),
        })
    }

    async fn serve_http2(
        &self,
        transport: Transport,
        socket: &Socket,
        peer: String,
        begin_by: Instant,
        unwritten: TaskTrackerToken,
    ) {
        let wire = Wire::new(transport);
        let streams = Arc::new(StreamTracker::default());
        let router = Router::new(Arc::clone(&self.services), peer.clone(), Arc::clone(&streams));
        let connection = self.http2().serve_connection(TokioIo::new(wire.clone()), router);
        let mut connection = Box::pin(connection);

        // From here on keepalive detects a dead peer.
        let nothing_admitted = async {
            sleep_until(begin_by).await;
            if streams.has_admitted() {
                std::future::pending::<()>().await;
            }
        };
        let result = tokio::select! {
            result = connection.as_mut() => Some(result),
            () = nothing_admitted => {
                log::limited!(DEBUG, %peer, "handshake timeout expired before a request was admitted");
                drop(connection);
                return close_unused(wire).await;
            }
            () = streams.ended(), if !self.services.serve_pool() => None,
            () = self.end.cancelled() => None,
        };
        match result {
            Some(Ok(())) => log::limited!(DEBUG, %peer, "disconnected"),
            Some(Err(error)) => log::limited!(DEBUG, %peer, "connection failed: {error}"),
            None if self.services.serve_pool() => {
                let is_idle = || wire.is_idle_but(streams.held());
                stay_open(connection.as_mut(), is_idle, socket, unwritten).await;
            }
            // The caller applies a deadline to this.
            None if streams.need_graceful_close() => {
                let only_observed = streams.only_observed();
                let close = async {
                    let last = wire.close_to_requests();
                    if written(connection.as_mut(), || wire.is_idle()).await {
                        drop(connection);
                        self.closing.close(wire, socket, last).await;
                    }
                };
                if only_observed {
                    let _ = timeout(OBSERVER_END, close).await;
                } else {
                    close.await;
                }
            }
            None => {}
        }
    }

    /// Configures HTTP/2 with the limits.
    fn http2(&self) -> http2::Builder<TokioExecutor> {
        let bounds = if self.services.relay() { RELAY } else { OWN };
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .auto_date_header(false)
            .max_concurrent_streams(bounds.streams)
            .max_header_list_size(bounds.header_bytes)
            .initial_stream_window_size(bounds.stream_window_bytes)
            .initial_connection_window_size(bounds.connection_window_bytes)
            .max_pending_accept_reset_streams(bounds.unaccepted_resets)
            .max_local_error_reset_streams(bounds.error_resets)
            .keep_alive_interval(self.limits.keepalive_interval())
            .keep_alive_timeout(KEEPALIVE_TIMEOUT);
        http2
    }
}

/// Serves a connection until the process exits: a pool must not see its end before that.
async fn stay_open(
    mut connection: Pin<&mut impl Future>,
    is_idle: impl Fn() -> bool,
    socket: &Socket,
    unwritten: TaskTrackerToken,
) {
    if !written(connection.as_mut(), is_idle).await {
        return;
    }
    tokio::select! {
        _ = connection.as_mut() => return,
        () = socket.all_sent() => drop(unwritten),
    }
    connection.await;
}

/// Serves a connection until everything is written. False if it has ended before.
async fn written(mut connection: Pin<&mut impl Future>, is_idle: impl Fn() -> bool) -> bool {
    poll_fn(|context| match connection.as_mut().poll(context) {
        Poll::Pending if !is_idle() => Poll::Pending,
        state => Poll::Ready(state.is_pending()),
    })
    .await
}
