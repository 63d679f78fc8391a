//! An accepted connection that can be closed without losing data.
//!
//! Closing a socket that has unread bytes resets the connection, and a reset throws away what the peer has
//! not read yet: a subscriber would lose its last events to a window update of its own. So when HTTP/2 is
//! done with the connection this end stops writing, and goes on reading until the peer closes.

use super::{
    address::{Address, HostPort},
    unix_socket,
};
use nix::{
    libc,
    sys::socket::{Shutdown, setsockopt, shutdown, sockopt},
};
use std::{
    io,
    os::fd::AsRawFd as _,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
    time::{Instant, sleep},
};

/// How long a peer that has been sent everything may go on sending instead of closing.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// How much a peer may send instead of closing, even if it does not read.
const MAX_BYTES_BEFORE_CLOSE: usize = 16 * 1024 * 1024;

/// The interval between looks at what the peer's system has received.
const SENT_INTERVAL: Duration = Duration::from_millis(1);

/// When the system asks a silent peer whether it still exists, in seconds, how often and how many times.
const PROBE_AFTER: u32 = 30;
const PROBE_INTERVAL: u32 = 10;
const PROBES: u32 = 3;

/// How long sent data may stay unacknowledged, in milliseconds: about as long as the probes take.
const UNACKNOWLEDGED_MS: u32 = 60_000;

mod system {
    nix::ioctl_read_bad!(unsent_bytes, nix::libc::TIOCOUTQ, nix::libc::c_int);
}

/// A connection, shared between HTTP/2 and the code that closes it.
#[derive(Debug, Clone)]
pub enum Socket {
    /// TCP.
    Tcp(Arc<TcpStream>),
    /// A unix socket.
    Unix(Arc<UnixStream>),
}

/// Applies an operation to either kind of stream.
macro_rules! each {
    ($socket:expr, $stream:ident => $operation:expr) => {
        match $socket {
            Socket::Tcp($stream) => $operation,
            Socket::Unix($stream) => $operation,
        }
    };
}

impl Socket {
    /// Connects to an address.
    ///
    /// # Errors
    ///
    /// If its host has no address, or none of them accepts the connection.
    pub async fn connect(address: &Address) -> io::Result<Self> {
        match address {
            Address::Tcp(HostPort { host, port }) => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                Ok(Self::Tcp(Arc::new(stream)))
            }
            Address::Unix(path) => Ok(Self::Unix(Arc::new(unix_socket::connect(path).await?))),
        }
    }

    /// Discards what the peer still sends until it closes. A peer that does not read yet, or is silent, may
    /// take as long as it wants if its host exists; one that only sends is not waited for.
    pub async fn read_to_end(&self) {
        self.probe_peer();
        let mut discarded = [0; 4096];
        let (mut received, mut close_by) = (0, None);
        loop {
            let readable = each!(self, stream => stream.readable().await);
            let read = readable.and_then(|()| each!(self, stream => stream.try_read(&mut discarded)));
            match read {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(0) | Err(_) => return,
                Ok(bytes) => received += bytes,
            }
            if close_by.is_none() && self.has_sent_everything() {
                close_by = Some(Instant::now() + CLOSE_TIMEOUT);
            }
            if received > MAX_BYTES_BEFORE_CLOSE || close_by.is_some_and(|close_by| close_by < Instant::now())
            {
                return;
            }
        }
    }

    /// Waits until the peer's system has received everything.
    pub async fn all_sent(&self) {
        while !self.has_sent_everything() {
            sleep(SENT_INTERVAL).await;
        }
    }

    /// Whether the peer's system has received everything.
    fn has_sent_everything(&self) -> bool {
        let mut unsent: libc::c_int = 0;
        let fd = each!(self, stream => stream.as_raw_fd());
        // SAFETY: the call writes one int through the pointer, which is valid for that, and the descriptor is
        // open as long as the stream.
        unsafe { system::unsent_bytes(fd, &raw mut unsent) }.is_ok() && unsent == 0
    }

    /// Has the system find out whether the peer's host still exists. HTTP/2's keepalive ends with HTTP/2.
    fn probe_peer(&self) {
        let Self::Tcp(stream) = self else { return };
        // If this fails the connection has failed, which the next read reports.
        let _ = setsockopt(stream, sockopt::TcpKeepIdle, &PROBE_AFTER)
            .and_then(|()| setsockopt(stream, sockopt::TcpKeepInterval, &PROBE_INTERVAL))
            .and_then(|()| setsockopt(stream, sockopt::TcpKeepCount, &PROBES))
            .and_then(|()| setsockopt(stream, sockopt::TcpUserTimeout, &UNACKNOWLEDGED_MS))
            .and_then(|()| setsockopt(stream, sockopt::KeepAlive, &true));
    }

    fn poll_write_with(
        &self,
        context: &mut Context<'_>,
        operation: impl Fn(&Self) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(each!(self, stream => stream.poll_write_ready(context)))?;
            match operation(self) {
                // The attempt has cleared the readiness: the next round registers the waker.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(each!(&*self, stream => stream.poll_read_ready(context)))?;
            match each!(&*self, stream => stream.try_read_buf(&mut buffer)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result.map(drop)),
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_with(context, |socket| each!(socket, stream => stream.try_write(bytes)))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_with(context, |socket| each!(socket, stream => stream.try_write_vectored(slices)))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(shutdown(each!(&*self, stream => stream.as_raw_fd()), Shutdown::Write)?))
    }
}
