//! The end of a connection that had a telemetry stream: one GOAWAY behind the last stream's trailers, and
//! nothing behind it. Then this end stops writing, and goes on reading until the peer closes.
//!
//! hyper's graceful shutdown sends a first GOAWAY, a PING and a second GOAWAY as soon as it is called, while
//! events and trailers still wait for the peer's window. curl, and what is built on Python's h2, lose what
//! comes after a GOAWAY. So hyper serves the connection until every response is written, is dropped, and
//! GOAWAY is written here.
//!
//! Some clients (grpclib) also discard what they have received but not processed when they see GOAWAY. So it
//! is sent a moment after the peer has processed the trailers. For that SETTINGS without any setting follow
//! the trailers: a peer must acknowledge them once it has processed all that came before (RFC 9113, section
//! 6.5).

use super::{
    frames::{GOAWAY, SETTINGS, encode},
    wire::Wire,
};
use crate::{net::socket::Socket, pipeline::output::Drain};
use std::{io, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// How long the peer may take to acknowledge the settings: it may have megabytes to process before.
const ACKNOWLEDGEMENT_TIMEOUT: Duration = Duration::from_secs(10);

/// The same if it has not acknowledged any settings so far: some clients never do.
const FIRST_ACKNOWLEDGEMENT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long after that GOAWAY waits for the peer to close by itself: curl reports the trailers only if it
/// sees no GOAWAY before it has passed on what it has received, and grpclib cancels a call that has not
/// returned.
const GRACE: Duration = Duration::from_millis(50);

/// The error code in GOAWAY.
const NO_ERROR: u32 = 0;

/// Closes a connection whose responses are all written.
#[derive(Debug, Clone)]
pub(super) struct Closing {
    /// How long the shutdown may take.
    pub(super) drain: Drain,
    /// Cancelled when the shutdown starts.
    pub(super) shutdown: CancellationToken,
}

impl Closing {
    /// Sends GOAWAY and waits until the peer closes. `last` is the highest stream that was answered.
    pub(super) async fn close<T>(&self, mut wire: Wire<T>, socket: &Socket, last: u32)
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        if self.send_goaway(&mut wire, last).await.is_ok() {
            socket.read_to_end().await;
        }
    }

    async fn send_goaway<T>(&self, wire: &mut Wire<T>, last: u32) -> io::Result<()>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        wire.write_all(&encode(SETTINGS, &[])).await?;
        wire.flush().await?;
        let limit = if wire.acknowledges_settings() {
            ACKNOWLEDGEMENT_TIMEOUT
        } else {
            FIRST_ACKNOWLEDGEMENT_TIMEOUT
        };
        let processed = async {
            match timeout(limit, read_while(wire, |wire| !wire.settings_are_acknowledged())).await {
                Ok(Ok(())) => timeout(GRACE, read_while(wire, |_| true)).await.unwrap_or(Ok(())),
                Ok(failed) => failed,
                Err(_) => Ok(()),
            }
        };
        tokio::select! {
            processed = processed => processed?,
            () = self.half_time() => {}
        }
        write_goaway(wire, last).await
    }

    /// Waits until half of the time for the shutdown is over.
    async fn half_time(&self) {
        let Drain::Within(limit) = self.drain else { return std::future::pending().await };
        self.shutdown.cancelled().await;
        sleep(limit / 2).await;
    }
}

/// Closes a connection without a request that is waited for. A client that is about to send one learns from
/// GOAWAY that it may send it again on another connection.
pub(super) async fn close_unused<T: AsyncWrite + Unpin>(mut wire: Wire<T>) {
    let last = wire.close_to_requests();
    if wire.acknowledges_settings() && wire.is_idle() {
        // The peer may not read, or may have closed.
        let _ = timeout(GRACE, write_goaway(&mut wire, last)).await;
    }
}

/// Sends GOAWAY and stops writing.
async fn write_goaway<T: AsyncWrite + Unpin>(wire: &mut Wire<T>, last: u32) -> io::Result<()> {
    let payload = [last.to_be_bytes(), NO_ERROR.to_be_bytes()].concat();
    wire.write_all(&encode(GOAWAY, &payload)).await?;
    wire.flush().await?;
    wire.shutdown().await
}

/// Reads as long as the condition holds. Fails if the peer closes.
async fn read_while<T>(wire: &mut Wire<T>, condition: impl Fn(&Wire<T>) -> bool) -> io::Result<()>
where
    T: AsyncRead + Unpin,
{
    let mut discarded = [0; 4096];
    while condition(wire) {
        if wire.read(&mut discarded).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}
