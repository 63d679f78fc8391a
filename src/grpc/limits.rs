//! What clients may take: the options that limit it.

use crate::system::{
    option::value,
    value::{COUNT, Period, duration, integer_in, nonzero_duration},
};
use clap::Args;
use std::time::Duration;
use tokio::sync::Semaphore;

/// More than the consumers of one worker, and at 512 KiB each a bound on memory.
const MAX_CONNECTIONS: u32 = 256;

/// Half of the connections, so that status and health are always served. Each may queue `--queue-bytes`.
const MAX_SUBSCRIBERS: u32 = 128;

/// Enough for TLS over a slow link; a connection that sends nothing does not hold its permit for long.
const HANDSHAKE_TIMEOUT: Period = Period(Duration::from_secs(5));

/// Finds a dead peer within a minute, and keeps the state of NATs and load balancers alive.
const KEEPALIVE_INTERVAL: Period = Period(Duration::from_secs(30));

/// Limits on clients, each alone or all together.
///
/// The memory that clients can make the sidecar hold is bounded, with and without a token:
///
/// - a connection: what is on its way in, 512 KiB at most (see `connection`);
/// - an open request: its headers while they are examined and, unless it is refused, the part of its message
///   that has arrived, 4 KiB at most (see `request`), some 8 KiB with HTTP/2's own state: 200 MiB for all
///   that may be open by the defaults;
/// - an answer that is not read: some 12 KiB, 16 for a connection (see `router`): 50 MiB for all;
/// - with a worker behind it a connection may have as much on its way as the worker's own server would let it
///   have, up to 256 MiB of data and 10,000 requests with 256 KiB of headers each (see `upstream`): such
///   clients are the worker's;
/// - all queues: `--total-queue-bytes`;
/// - a subscriber: 64 KiB of controls that wait, or as much as one may have by the
///   [pattern limits](crate::control::PatternLimits::control_bytes) (270 KB), and its patterns, twice as much
///   as they allow.
#[derive(Debug, Clone, Copy, Args)]
#[command(next_help_heading = "Limits")]
pub struct ClientLimits {
    /// Connections at a time, over all listeners; further ones are closed at once
    #[arg(
        long = "max-connections",
        value_name = "N",
        default_value_t = MAX_CONNECTIONS,
        env = "TELEMETRY_SIDECAR_MAX_CONNECTIONS",
        value_parser = value(integer_in::<u32>(COUNT))
    )]
    pub connections: u32,

    /// Subscribers at a time, and as many observers; further ones are refused with RESOURCE_EXHAUSTED
    #[arg(
        long = "max-subscribers",
        value_name = "N",
        default_value_t = MAX_SUBSCRIBERS,
        env = "TELEMETRY_SIDECAR_MAX_SUBSCRIBERS",
        value_parser = value(integer_in::<u32>(COUNT))
    )]
    pub subscribers: u32,

    /// Time for a connection to send a request that is admitted, and for a short request to arrive
    #[arg(
        long,
        value_name = "DURATION",
        default_value_t = HANDSHAKE_TIMEOUT,
        env = "TELEMETRY_SIDECAR_HANDSHAKE_TIMEOUT",
        value_parser = value(nonzero_duration),
        long_help = "Time for a connection to complete TLS and to send a request that is admitted \
            (authenticated and for something that is served), then it is closed; and for a request other \
            than telemetry and reflection to arrive, then it is refused with DEADLINE_EXCEEDED"
    )]
    pub handshake_timeout: Period,

    /// Interval between HTTP/2 keepalive pings; 0s disables them
    #[arg(
        long,
        value_name = "DURATION",
        default_value_t = KEEPALIVE_INTERVAL,
        env = "TELEMETRY_SIDECAR_KEEPALIVE_INTERVAL",
        value_parser = value(duration)
    )]
    pub keepalive_interval: Period,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            connections: MAX_CONNECTIONS,
            subscribers: MAX_SUBSCRIBERS,
            handshake_timeout: HANDSHAKE_TIMEOUT,
            keepalive_interval: KEEPALIVE_INTERVAL,
        }
    }
}

impl ClientLimits {
    /// The interval between keepalive pings; `None` if they are disabled.
    pub fn keepalive_interval(&self) -> Option<Duration> {
        Some(self.keepalive_interval.0).filter(|interval| !interval.is_zero())
    }
}

/// A semaphore with `limit` permits, or as many as a semaphore can have.
pub fn permits(limit: u32) -> Semaphore {
    Semaphore::new(
        usize::try_from(limit).map_or(Semaphore::MAX_PERMITS, |limit| limit.min(Semaphore::MAX_PERMITS)),
    )
}
