//! The options for a worker that a pool starts and calls.

use crate::system::{
    option::{Given, named},
    value::switch,
};
use clap::Args;

/// The options of the command line.
#[derive(Debug, Args)]
#[command(next_help_heading = "Upstream")]
pub struct UpstreamArgs {
    /// Stand in front of a worker of a Snakepit pool: "alone" for one that serves no gRPC
    #[arg(
        long,
        value_name = "MODE",
        num_args = 1,
        require_equals = true,
        env = "TELEMETRY_SIDECAR_SNAKEPIT",
        value_parser = named(snakepit),
        long_help = "Stand in front of a worker of a Snakepit pool. --snakepit=alone is for a worker that \
            serves no gRPC: the sidecar writes its own port to SNAKEPIT_READY_FILE when the worker runs, and \
            answers Ping, InitializeSession, CleanupSession, GetSession and Heartbeat while it runs; other \
            calls are UNIMPLEMENTED. Implies --quiet. Without SNAKEPIT_READY_FILE in the environment \
            COMMAND is executed in the sidecar's place, as when a pool asks an interpreter for its version"
    )]
    snakepit: Option<Given<Option<Snakepit>>>,
}

/// How the sidecar stands in front of a worker of a Snakepit pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Snakepit {
    /// The worker serves no gRPC: the sidecar answers the calls with which a pool watches a worker.
    Alone,
}

impl UpstreamArgs {
    /// How to stand in front of a worker of a pool, if it is one.
    pub fn snakepit(&self) -> Option<Given<Snakepit>> {
        let Given { value, origin } = self.snakepit.as_ref()?;
        Some(Given { value: (*value)?, origin: origin.clone() })
    }
}

fn snakepit(word: &str) -> Result<Option<Snakepit>, String> {
    match (word, switch(word)) {
        ("alone", _) => Ok(Some(Snakepit::Alone)),
        (_, Ok(false)) => Ok(None),
        _ => Err("expected alone, or 0 or false".into()),
    }
}
