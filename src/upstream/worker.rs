//! The worker's server: where it is, and whether it is waited for.

use super::{
    readiness::{self, NotReady, WorkerFile, no_port},
    services::Builtin,
};
use crate::{
    net::{address::Address, socket::Socket},
    system::value::Period,
    worker::{Exit, state::WorkerState},
};
use std::{
    io,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};
use thiserror::Error;
use tokio::{
    sync::OnceCell,
    time::{Instant, sleep, timeout},
};

/// The interval between attempts to connect to a worker that does not listen yet.
const RETRY_INTERVAL: Duration = Duration::from_millis(20);

/// How long after the worker's exit the thread that reads its port may need to see it.
const SETTLE_TIMEOUT: Duration = Duration::from_millis(200);

/// How long one attempt may take. Hosts that do not answer at all are rare: the worker is on this one.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// Why a call cannot be relayed.
#[derive(Debug, Clone, Error)]
pub enum Unavailable {
    /// The worker's server cannot be reached, or was lost.
    #[error("worker at {address}: {cause}")]
    Server {
        /// The server's address.
        address: Address,
        /// What happened.
        cause: String,
    },
    /// The server's address is not known.
    #[error("worker: {0}")]
    NotReady(#[from] NotReady),
}

/// The gRPC server of a worker.
#[derive(Debug)]
pub struct Upstream {
    /// Empty until it is known.
    address: OnceLock<Result<Address, NotReady>>,
    /// How long after the start a worker that does not listen yet is waited for.
    start_timeout: Period,
    /// When that time is over; none is too late for the clock.
    wait_until: Option<Instant>,
    /// Whether it has accepted a connection. From then on it is not waited for.
    was_reached: AtomicBool,
    worker: Arc<WorkerState>,
    /// Whether it has these services, in the order of [`Builtin::ALL`].
    services: [OnceCell<bool>; Builtin::ALL.len()],
}

impl Upstream {
    /// The server of this worker at this address, or at one that is [found](Self::wait_for_port) later. It is
    /// waited for until `start_timeout` from now is over.
    pub fn new(address: Option<Address>, start_timeout: Period, worker: Arc<WorkerState>) -> Self {
        let wait_until = Instant::now().checked_add(start_timeout.0);
        Self {
            address: address.map(Ok).map_or_else(OnceLock::new, OnceLock::from),
            start_timeout,
            wait_until,
            was_reached: AtomicBool::new(false),
            worker,
            services: Default::default(),
        }
    }

    /// Waits until the worker has written its port, and returns the address at which it serves from then on.
    ///
    /// # Errors
    ///
    /// If it does not write a port in time.
    pub fn wait_for_port(&self, file: &WorkerFile) -> Result<Address, NotReady> {
        let address = file.wait(self.start_timeout, &self.worker).map(Address::localhost);
        self.address.get_or_init(|| address).clone()
    }

    /// The address, if it is known.
    pub fn known_address(&self) -> Option<&Address> {
        self.address.get()?.as_ref().ok()
    }

    /// Why there is no port, once the worker has exited, unless it has failed before it could write one.
    /// Waits a moment for the thread that reads the port.
    pub fn missing_port(&self) -> Option<String> {
        let deadline = Instant::now() + SETTLE_TIMEOUT;
        while self.address.get().is_none() && Instant::now() < deadline {
            thread::sleep(readiness::INTERVAL);
        }
        match self.address.get()?.as_ref().err()? {
            // It has said why, or the signal does.
            NotReady::Exited if self.worker.exit().is_some_and(Exit::has_failed) => None,
            error => Some(no_port(error)),
        }
    }

    /// Connects. Waits for a worker that does not listen yet, unless it has exited or the time for that is
    /// over.
    pub(super) async fn connect(&self) -> Result<Socket, Unavailable> {
        loop {
            let is_awaited = self.is_awaited();
            let error = match self.try_to_connect().await {
                Ok(socket) => {
                    self.was_reached.store(true, Ordering::Relaxed);
                    return Ok(socket);
                }
                Err(error) => error,
            };
            // The thread that waits for the worker's port sets the address, or the reason why there is none.
            if !is_awaited && !matches!(error, Unavailable::NotReady(NotReady::NotYet)) {
                return Err(error);
            }
            sleep(RETRY_INTERVAL).await;
        }
    }

    async fn try_to_connect(&self) -> Result<Socket, Unavailable> {
        let address = self.address()?;
        let connected = timeout(CONNECT_TIMEOUT, Socket::connect(&address)).await;
        let connected = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        connected.map_err(|error| Unavailable::Server { address, cause: error.to_string() })
    }

    fn address(&self) -> Result<Address, NotReady> {
        self.address.get().cloned().unwrap_or(Err(NotReady::NotYet))
    }

    fn is_awaited(&self) -> bool {
        !self.was_reached.load(Ordering::Relaxed)
            && self.worker.exit().is_none()
            && self.wait_until.is_none_or(|end| Instant::now() < end)
    }

    /// Whether it serves this service, once that was found out.
    pub(super) fn serves(&self, builtin: Builtin) -> &OnceCell<bool> {
        let [health, reflection, reflection_alpha] = &self.services;
        match builtin {
            Builtin::Health => health,
            Builtin::Reflection => reflection,
            Builtin::ReflectionAlpha => reflection_alpha,
        }
    }

    /// What clients get when the connection was lost.
    pub(super) fn lost(&self, cause: String) -> Unavailable {
        match self.address() {
            Ok(address) => Unavailable::Server { address, cause },
            Err(not_ready) => not_ready.into(),
        }
    }
}
