//! The worker's server: where it is, and whether it is waited for.

use super::services::Builtin;
use crate::{
    net::{address::Address, socket::Socket},
    worker::state::WorkerState,
};
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use thiserror::Error;
use tokio::{
    sync::OnceCell,
    time::{Instant, sleep, timeout},
};

/// The interval between attempts to connect to a worker that does not listen yet.
const RETRY_INTERVAL: Duration = Duration::from_millis(20);

/// How long one attempt may take. Hosts that do not answer at all are rare: the worker is on this one.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// Why a call cannot be relayed.
#[derive(Debug, Clone, Error)]
#[error("worker at {address}: {cause}")]
pub struct Unavailable {
    address: String,
    cause: String,
}

/// The gRPC server of a worker.
#[derive(Debug)]
pub struct Upstream {
    address: Address,
    /// Until when connections wait for a worker that does not listen yet; none is without a limit.
    wait_until: Option<Instant>,
    /// Whether it has accepted a connection. From then on it is not waited for.
    was_reached: AtomicBool,
    worker: Arc<WorkerState>,
    /// Whether it has these services, in the order of [`Builtin::ALL`].
    services: [OnceCell<bool>; Builtin::ALL.len()],
}

impl Upstream {
    /// The server of this worker at this address. A worker that does not listen yet is waited for until
    /// `start_timeout` from now is over.
    pub fn new(address: Address, start_timeout: Duration, worker: Arc<WorkerState>) -> Self {
        let wait_until = Instant::now().checked_add(start_timeout);
        Self {
            address,
            wait_until,
            was_reached: AtomicBool::new(false),
            worker,
            services: Default::default(),
        }
    }

    /// Connects. Waits for a worker that does not listen yet, unless it has exited or the time for that is
    /// over.
    pub(super) async fn connect(&self) -> Result<Socket, Unavailable> {
        loop {
            let is_awaited = self.is_awaited();
            let connected = timeout(CONNECT_TIMEOUT, Socket::connect(&self.address)).await;
            let error = match connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                Ok(socket) => {
                    self.was_reached.store(true, Ordering::Relaxed);
                    return Ok(socket);
                }
                Err(error) => error,
            };
            if !is_awaited {
                return Err(self.unavailable(&error));
            }
            sleep(RETRY_INTERVAL).await;
        }
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

    /// What clients get as UNAVAILABLE.
    pub(super) fn unavailable(&self, cause: &impl ToString) -> Unavailable {
        Unavailable { address: self.address.to_string(), cause: cause.to_string() }
    }
}
