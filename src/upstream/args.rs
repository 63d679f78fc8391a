//! The options for a worker that serves gRPC itself, or that a pool takes for one that does.

use crate::{
    net::address::Address,
    system::{
        option::{Given, named, value},
        value::{Period, duration, switch_or},
    },
};
use clap::Args;
use std::time::Duration;

/// As long as Snakepit waits for a worker: models take long to load.
const UPSTREAM_TIMEOUT: Period = Period(Duration::from_secs(30));

/// The options of the command line. A replay has no worker, so it has none of them.
#[derive(Debug, Args)]
#[command(next_help_heading = "Upstream")]
pub struct UpstreamArgs {
    /// Relay calls to the worker's own gRPC server at HOST:PORT, unix:PATH or unix:@NAME
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "TELEMETRY_SIDECAR_UPSTREAM",
        value_parser = named(upstream),
        long_help = "Relay every call that is not the sidecar's own to the gRPC server of the worker at \
            HOST:PORT, unix:PATH or unix:@NAME. Health and reflection are the worker's if it has them. \
            Events of its own StreamTelemetry are merged with those that it prints"
    )]
    pub upstream: Option<Given<Address>>,

    /// How long after the start calls wait for a worker that does not serve yet
    #[arg(
        long,
        value_name = "DURATION",
        default_value_t = UPSTREAM_TIMEOUT,
        env = "TELEMETRY_SIDECAR_UPSTREAM_TIMEOUT",
        value_parser = value(duration)
    )]
    pub upstream_timeout: Period,

    /// Wrap a worker of a Snakepit pool; =alone: one that serves no gRPC
    #[arg(
        long,
        value_name = "MODE",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        env = "TELEMETRY_SIDECAR_SNAKEPIT",
        value_parser = named(switch_or("alone", Snakepit::Alone, Snakepit::Relay)),
        long_help = "Wrap a worker of a Snakepit pool. Calls are relayed, as with --upstream, to the port \
            that the worker writes to SNAKEPIT_READY_FILE, and the sidecar writes its own to the pool's. \
            --snakepit=alone is for a worker that serves no gRPC: the sidecar writes its port when the \
            worker runs, and answers Ping, InitializeSession, CleanupSession, GetSession and Heartbeat while \
            it runs; other calls are UNIMPLEMENTED. Implies --quiet. Without SNAKEPIT_READY_FILE in the \
            environment COMMAND is executed in the sidecar's place, as when a pool asks an interpreter for \
            its version"
    )]
    snakepit: Option<Given<Option<Snakepit>>>,
}

/// How the sidecar stands in front of a worker of a Snakepit pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Snakepit {
    /// The worker serves gRPC: its calls are relayed to the port that it writes to its ready file.
    Relay,
    /// The worker serves no gRPC: the sidecar answers the calls with which a pool watches a worker.
    Alone,
}

impl UpstreamArgs {
    /// Checks that there is one way at most to find the worker's server.
    ///
    /// # Errors
    ///
    /// If there are two.
    pub fn check(&self) -> Result<(), String> {
        match (&self.upstream, self.snakepit()) {
            (Some(upstream), Some(_)) => Err(upstream.origin.error("not together with --snakepit")),
            _ => Ok(()),
        }
    }

    /// How to stand in front of a worker of a pool, if it is one.
    pub fn snakepit(&self) -> Option<Given<Snakepit>> {
        let Given { value, origin } = self.snakepit.as_ref()?;
        Some(Given { value: (*value)?, origin: origin.clone() })
    }
}

/// An address to connect to.
fn upstream(text: &str) -> Result<Address, String> {
    let address = text.parse::<Address>().map_err(|error| error.to_string())?;
    match &address {
        Address::Tcp(address) if address.port == 0 => {
            Err("expected the port at which the worker listens".into())
        }
        _ => Ok(address),
    }
}
