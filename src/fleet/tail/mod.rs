//! `tail`: prints the events of running sidecars.
//!
//! All subscriptions run on one thread. While standard output is not read they are not read either, so that
//! the sidecars' own queues decide which events are dropped, and this process's memory is bounded.

pub mod args;
mod follow;
mod label;
mod output;
mod printer;
mod stream;

pub use stream::Wanted;

use super::{
    client::{ClientAccess, ClientError, Connector},
    error::FleetError,
    target::Target,
};
use crate::{
    system::{thread, value::Period},
    worker::Exit,
};
use follow::Tail;
use output::Output;
use printer::Printer;
use std::{io, sync::Arc};
use thiserror::Error;
use tokio::{select, time::Instant};

/// What to print.
#[derive(Debug)]
pub struct Settings {
    /// The sidecars; none is all of this host.
    pub targets: Vec<Target>,
    /// Whether to print JSON lines on a terminal, too.
    pub json: bool,
    /// The requested subscription.
    pub wanted: Wanted,
    /// How long to wait for a sidecar that is not there yet.
    pub wait: Option<Period>,
    /// How to connect.
    pub access: ClientAccess,
}

/// Why there are no more events.
#[derive(Debug, Error)]
pub enum TailError {
    #[error(transparent)]
    Fleet(#[from] FleetError),
    #[error("standard output: {0}")]
    Output(io::Error),
    #[error("{0} (waited {1})")]
    Absent(ClientError, Period),
    #[error("{0}")]
    NoneFound(String),
    #[error("{0}")]
    NoProcess(String),
}

impl From<ClientError> for TailError {
    fn from(error: ClientError) -> Self {
        Self::Fleet(error.into())
    }
}

/// Prints events until all streams have ended or standard output is closed. The exit code is 125 if one of
/// several has failed, which is reported when it happens.
///
/// # Errors
///
/// If the only connection or stream fails, or standard output does.
pub fn run(settings: Settings) -> Result<Exit, TailError> {
    let output = Output::start().map_err(TailError::Output)?;
    let runtime = thread::runtime().enable_all().build().map_err(FleetError::Start)?;
    let ended = runtime.block_on(tail(settings, output));
    // A name may still be looked up.
    runtime.shutdown_background();
    ended
}

async fn tail(settings: Settings, output: Output) -> Result<Exit, TailError> {
    let printer = Printer::new(output.clone(), settings.json);
    let connector = Connector::new(&settings.access).map_err(ClientError::from)?;
    let wait = settings.wait.map(|wait| (Instant::now() + wait.0, wait));
    let tail = Arc::new(Tail { printer, connector, wanted: settings.wanted, wait });
    let following = async {
        let ended = match <[Target; 1]>::try_from(settings.targets) {
            Ok([only]) => tail.follow_one(&only).await,
            Err(all) if all.is_empty() => tail.follow_all().await,
            Err(several) => Ok(tail.follow_several(several).await),
        };
        output.written().await;
        ended
    };
    select! {
        biased;
        error = output.failed() => match error.kind() {
            // The reader has what it wants.
            io::ErrorKind::BrokenPipe => Ok(Exit::Code(0)),
            _ => Err(TailError::Output(error)),
        },
        ended = following => ended,
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::client::{KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT},
        *,
    };
    use crate::net::address::Address;
    use tokio::{io::AsyncReadExt as _, net::UnixListener, time::Instant};

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_answers_no_ping_ends_it_with_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let peer = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_to_end(&mut Vec::new()).await
        });
        let start = Instant::now();
        let settings = Settings {
            targets: vec![Target::Address(Address::Unix(path))],
            json: false,
            wanted: Wanted::default(),
            wait: None,
            access: ClientAccess { tls: None, tokens: None },
        };
        let ended = tail(settings, Output::start().unwrap()).await;
        let text = ended.unwrap_err().to_string();
        assert!(text.contains("the connection failed: ") && text.contains("timed out"), "{text}");
        assert_eq!(start.elapsed().as_secs(), (KEEPALIVE_INTERVAL + KEEPALIVE_TIMEOUT).as_secs());
        peer.abort();
    }
}
