//! Connections that a server can neither keep nor keep busy for ever.
//!
//! A server can send without end what its client's HTTP library reads and ignores: informational responses,
//! PING and SETTINGS frames, empty frames. So what it may send until its answer is complete is limited, the
//! thread's timers and other tasks run in between, and a connection ends with its [`Connections`].

use crate::net::client_tls::handshake;
use http::Uri;
use hyper::rt;
use hyper_util::{
    client::legacy::connect::{Connected, Connection, HttpConnector},
    rt::TokioIo,
};
use rustls::ClientConfig;
use std::{
    error::Error,
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    task::yield_now,
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tower_service::Service;

/// How many bytes are read before other tasks get their turn.
const BYTES_IN_A_ROW: usize = 16 * 1024;

/// How many bytes are collected for one write. Most servers take frames of HTTP/2 of at most 16 KiB, and a
/// request with a batch of usual spans has eight of them.
const WRITE_BYTES: usize = 128 * 1024;

/// How many bytes a server may still send, on all connections of a client.
#[derive(Debug, Clone, Default)]
pub(super) struct Allowance(Arc<AtomicUsize>);

impl Allowance {
    /// Allows so many bytes from now on.
    pub(super) fn set(&self, bytes: usize) {
        self.0.store(bytes, Ordering::Relaxed);
    }

    /// Allows so many bytes more.
    pub(super) fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts received bytes. Fails once there were too many.
    fn take(&self, bytes: usize) -> io::Result<()> {
        let subtract = |left: usize| left.checked_sub(bytes);
        let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, subtract);
        taken.map(|_| ()).map_err(|_| io::Error::other("the server sends more than an answer needs"))
    }
}

/// Connects to servers over TCP, with TLS if there is a configuration.
#[derive(Clone)]
pub(super) struct Connector {
    tcp: HttpConnector,
    tls: Option<Arc<ClientConfig>>,
    allowance: Allowance,
    /// Cancelled when all connections are to be closed.
    closed: CancellationToken,
}

impl Connector {
    pub(super) fn new(
        tls: Option<Arc<ClientConfig>>,
        allowance: Allowance,
        closed: CancellationToken,
    ) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        Self { tcp, tls, allowance, closed }
    }
}

type BoxError = Box<dyn Error + Send + Sync>;

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(context).map_err(BoxError::from)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (tls, allowance) = (self.tls.clone(), self.allowance.clone());
        let closed = Box::pin(self.closed.clone().cancelled_owned());
        let connecting = self.tcp.call(uri.clone());
        Box::pin(async move {
            let tcp = connecting.await?.into_inner();
            let limited = Limited { tcp, allowance, unyielded: 0, unwritten: Vec::new(), closed };
            let stream: Box<dyn ReadWrite> = match tls {
                None => Box::new(limited),
                Some(tls) => Box::new(handshake(tls, uri.host().unwrap_or_default(), limited).await?),
            };
            Ok(Stream(TokioIo::new(stream)))
        })
    }
}

trait ReadWrite: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ReadWrite for T {}

/// A connection to a server, with TLS or without.
pub(super) struct Stream(TokioIo<Box<dyn ReadWrite>>);

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl rt::Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl rt::Write for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

/// The TCP side of a connection.
///
/// HTTP/2 flushes each frame. So a flush does not write but wakes the connection's task: the task writes all
/// of its frames together when it reads next, which it does whenever it is polled.
struct Limited {
    tcp: TcpStream,
    allowance: Allowance,
    /// Bytes read since other tasks had their turn.
    unyielded: usize,
    /// Bytes that wait for others.
    unwritten: Vec<u8>,
    closed: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Limited {
    /// Fails once the connection is to be closed.
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.closed.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionAborted.into()),
            Poll::Pending => Ok(()),
        }
    }

    /// Writes what has waited.
    fn poll_unwritten(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unwritten.is_empty() {
            let written = ready!(Pin::new(&mut self.tcp).poll_write(context, &self.unwritten))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unwritten.drain(..written);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Limited {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(context)?;
        if let Poll::Ready(written) = self.poll_unwritten(context) {
            written?;
        }
        if self.unyielded >= BYTES_IN_A_ROW {
            self.unyielded = 0;
            // Wakes this task once timers and sockets were looked at; a plain wake would be before that.
            if pin!(yield_now()).poll(context).is_pending() {
                return Poll::Pending;
            }
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.tcp).poll_read(context, buffer))?;
        let received = buffer.filled().len() - before;
        self.unyielded += received;
        Poll::Ready(self.allowance.take(received))
    }
}

impl AsyncWrite for Limited {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(context)?;
        if self.unwritten.len() + bytes.len() > WRITE_BYTES {
            ready!(self.poll_unwritten(context))?;
        }
        let taken = bytes.get(..WRITE_BYTES).unwrap_or(bytes);
        self.unwritten.extend_from_slice(taken);
        Poll::Ready(Ok(taken.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.unwritten.is_empty() {
            context.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_unwritten(context))?;
        Pin::new(&mut self.tcp).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{future::poll_fn, time::Duration};
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
        time::timeout,
    };

    /// A connection and the server's end of it.
    async fn connection() -> (Limited, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let closed = Box::pin(CancellationToken::new().cancelled_owned());
        let allowance = Allowance::default();
        let limited = Limited { tcp, allowance, unyielded: 0, unwritten: Vec::new(), closed };
        (limited, listener.accept().await.unwrap().0)
    }

    /// Reads once, without waiting.
    async fn read(limited: &mut Limited) {
        let mut answer = [0; 1];
        let mut answer = ReadBuf::new(&mut answer);
        poll_fn(|context| Poll::Ready(Pin::new(&mut *limited).poll_read(context, &mut answer).is_pending()))
            .await;
    }

    #[tokio::test]
    async fn what_is_flushed_is_written_when_the_task_reads_next() {
        let (mut limited, mut server) = connection().await;
        for _ in 0..3 {
            limited.write_all(&vec![7; 20_000]).await.unwrap();
            limited.flush().await.unwrap();
        }
        assert_eq!(limited.unwritten.len(), 60_000);
        read(&mut limited).await;
        assert!(limited.unwritten.is_empty());
        let mut received = vec![0; 60_000];
        timeout(Duration::from_secs(10), server.read_exact(&mut received)).await.unwrap().unwrap();
        assert!(received.iter().all(|byte| *byte == 7));
    }

    #[tokio::test]
    async fn more_than_is_collected_arrives_whole_and_in_order() {
        let (mut limited, mut server) = connection().await;
        let sent: Vec<u8> = (0..=250).cycle().take(10 * WRITE_BYTES).collect();
        let expected = sent.clone();
        let receiving = tokio::spawn(async move {
            let mut received = Vec::new();
            server.read_to_end(&mut received).await.unwrap();
            received
        });
        let mut rest = &sent[..];
        for size in [1, 100, WRITE_BYTES - 100, WRITE_BYTES, 3 * WRITE_BYTES, 5].into_iter().cycle() {
            let (part, others) = rest.split_at(size.min(rest.len()));
            limited.write_all(part).await.unwrap();
            rest = others;
            if rest.is_empty() {
                break;
            }
        }
        limited.shutdown().await.unwrap();
        assert!(receiving.await.unwrap() == expected);
    }
}
