//! What clients may take.

use std::time::Duration;
use tokio::sync::Semaphore;

/// What clients may take of the sidecar, each alone or all together.
///
/// What they make it hold in memory is bounded, whoever they are:
///
/// - a connection: what is on its way in, 512 KiB at most (see `connection`);
/// - an open request: its headers for as long as it takes to look at them and, unless it is refused, what has come of
///   its message, 4 KiB at most (see `request`), some 8 KiB with what HTTP/2 knows of it: 200 MiB for all that may be
///   open by the defaults;
/// - a subscriber: its queue, 64 KiB of controls that wait, or as much as one may have by the
///   [pattern limits](crate::control::PatternLimits::control_bytes) (270 KB), and its patterns, twice as much as they
///   allow.
#[derive(Debug, Clone, Copy)]
pub struct ClientLimits {
    /// The most connections at a time, over all listeners.
    pub connections: u32,
    /// The most open requests of a connection.
    pub streams: u32,
    /// The most telemetry streams at a time.
    pub subscribers: u32,
    /// How many controls of a subscriber are applied each second, long ones and those with much to match counting more
    /// than once; more wait.
    pub controls_per_second: u32,
    /// The most bytes of a request's headers, as HTTP/2 counts them (RFC 9113, section 6.5.2).
    pub header_bytes: u32,
    /// How long a new connection may take until HTTP/2 has begun, TLS included, and a request other than telemetry to
    /// come whole.
    pub handshake_timeout: Duration,
    /// How long a connection may be silent until it is asked whether it is alive; `None` never asks.
    pub keepalive_interval: Option<Duration>,
    /// How long it may take to answer that.
    pub keepalive_timeout: Duration,
}

/// A semaphore with `limit` permits, or as many as a semaphore can have.
pub fn permits(limit: u32) -> Semaphore {
    Semaphore::new(
        usize::try_from(limit).map_or(Semaphore::MAX_PERMITS, |limit| limit.min(Semaphore::MAX_PERMITS)),
    )
}
