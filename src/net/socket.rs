//! An accepted connection that can be closed without losing data.
//!
//! Closing a socket that has unread bytes resets the connection, and a reset throws away what the peer has
//! not read yet: a subscriber would lose its last events to a window update of its own. So when HTTP/2 is
//! done with the connection this end stops writing, and goes on reading until the peer closes.

use nix::sys::socket::{Shutdown, shutdown};
use std::{
    io,
    os::fd::AsRawFd as _,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
};

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
    /// Discards what the peer still sends until it closes.
    pub async fn read_to_end(&self) {
        let mut scrap = [0; 4096];
        loop {
            let readable = each!(self, stream => stream.readable().await);
            let read = readable.and_then(|()| each!(self, stream => stream.try_read(&mut scrap)));
            match read {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
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
