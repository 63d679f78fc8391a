//! One connection: TLS if asked for, HTTP/2, and an end that loses nothing.

use super::{
    auth::Access,
    limits::ClientLimits,
    router::{Router, Services},
    service::telemetry::Activity,
};
use crate::net::socket::Socket;
use crate::system::log::Log;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_rustls::server::TlsStream;
use tokio_util::{either::Either, io::InspectReader, sync::CancellationToken};

/// What a client may send of a request's body before it is read, in bytes. Requests and controls are read as they come,
/// so only controls that [have no room](super::controls) use it up. h2 counts what unread frames are short of 256 bytes,
/// and ends the connection when that comes to half the connection's window. This one is small enough for a stream of the
/// shortest controls, five bytes in a frame of their own, to be held back before that.
const STREAM_WINDOW_BYTES: u32 = 4 * 1024;
/// The same for all requests of a connection. It bounds what the connection holds of what was not read; what was read is
/// bounded by whoever reads it.
const CONNECTION_WINDOW_BYTES: u32 = 512 * 1024;

/// What a client has to send first: the preface, and the head of its SETTINGS (RFC 9113, section 3.4).
const GREETING_BYTES: usize = 24 + 9;

/// What HTTP/2 is spoken over.
type Transport = Either<Socket, Box<TlsStream<Socket>>>;

/// What every connection needs.
pub struct Connections {
    /// What is served.
    pub services: Arc<Services>,
    /// To whom.
    pub access: Arc<Access>,
    /// What each may take.
    pub limits: ClientLimits,
    /// Cancelled when serving ends.
    pub end: CancellationToken,
    /// The sidecar's log.
    pub log: Log,
}

impl Connections {
    /// Serves a connection until one side ends it.
    pub async fn serve(&self, socket: Socket, peer: String) {
        self.log.debug(format_args!("{peer}: connected"));
        let begin_by = Instant::now() + self.limits.handshake_timeout;
        let secured = tokio::select! {
            secured = timeout_at(begin_by, self.secure(socket.clone())) => secured,
            () = self.end.cancelled() => return,
        };
        match secured {
            Ok(Ok(transport)) => self.serve_http2(transport, &socket, peer, begin_by).await,
            Ok(Err(error)) => {
                self.log.debug(format_args!("{peer}: TLS: {error}"));
                // What says why it was refused must not be lost to a reset.
                tokio::select! {
                    _ = timeout_at(begin_by, socket.read_to_end()) => {}
                    () = self.end.cancelled() => {}
                }
            }
            Err(_) => self.log.debug(format_args!("{peer}: no TLS within the handshake timeout")),
        }
    }

    /// Wraps a TCP connection in TLS, if that is asked for. Unix sockets stay plain: they do not leave this host.
    async fn secure(&self, socket: Socket) -> io::Result<Transport> {
        let tls = match &socket {
            Socket::Tcp(_) => self.access.tls().await,
            Socket::Unix(_) => None,
        };
        Ok(match tls {
            // Boxed: most connections have none and need no room for it.
            Some(tls) => Either::Right(Box::new(Box::pin(tls.accept(socket)).await?)),
            None => Either::Left(socket),
        })
    }

    async fn serve_http2(&self, transport: Transport, socket: &Socket, peer: String, begin_by: Instant) {
        // Counted and looked at by this task alone.
        let received = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&received);
        let transport = InspectReader::new(transport, move |bytes: &[u8]| {
            counted.fetch_add(bytes.len(), Ordering::Relaxed);
        });
        let activity = Arc::new(Activity::default());
        let router = Router::new(Arc::clone(&self.services), peer.clone(), Arc::clone(&activity));
        let mut connection = std::pin::pin!(self.http2().serve_connection(TokioIo::new(transport), router));

        // Keepalive begins where HTTP/2 does.
        let no_greeting = async {
            sleep_until(begin_by).await;
            if received.load(Ordering::Relaxed) >= GREETING_BYTES {
                std::future::pending::<()>().await;
            }
        };
        let result = tokio::select! {
            result = connection.as_mut() => Some(result),
            () = no_greeting => {
                self.log.debug(format_args!("{peer}: no HTTP/2 within the handshake timeout"));
                return;
            }
            () = activity.ended() => None,
            () = self.end.cancelled() => None,
        };
        match result {
            Some(Ok(())) => self.log.debug(format_args!("{peer}: gone")),
            Some(Err(error)) => self.log.debug(format_args!("{peer}: {error}")),
            // The caller's patience bounds all this.
            None if activity.matters() => {
                connection.as_mut().graceful_shutdown();
                let _ = connection.await;
                socket.read_to_end().await;
            }
            None => {}
        }
    }

    /// HTTP/2 within the limits. What requests that are reset at once may cost (CVE-2023-44487) is limited by h2: at
    /// the twentieth that is gone before it was looked at, the connection is closed.
    fn http2(&self) -> http2::Builder<TokioExecutor> {
        let limits = &self.limits;
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.streams)
            .max_header_list_size(limits.header_bytes)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .keep_alive_interval(limits.keepalive_interval)
            .keep_alive_timeout(limits.keepalive_timeout);
        http2
    }
}
