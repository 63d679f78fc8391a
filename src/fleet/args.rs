//! The options of subcommands that connect to running sidecars.

use super::target::Target;
use crate::system::option::{Given, named, path};
use clap::Args;
use std::path::PathBuf;

/// How a client connects.
#[derive(Debug, Args)]
#[command(next_help_heading = "Security")]
pub struct ClientArgs {
    /// Connect over TLS to a server whose certificate one of these authorities signed (PEM)
    #[arg(long, value_name = "FILE", value_parser = path())]
    pub tls_ca: Option<Given<PathBuf>>,

    /// Client certificate (PEM)
    #[arg(long, value_name = "FILE", value_parser = path())]
    pub tls_cert: Option<Given<PathBuf>>,

    /// Private key of --tls-cert (PEM)
    #[arg(long, value_name = "FILE", value_parser = path())]
    pub tls_key: Option<Given<PathBuf>>,

    /// Send the first bearer token of this file
    #[arg(long, value_name = "FILE", value_parser = path())]
    pub auth_token_file: Option<Given<PathBuf>>,
}

/// The options of `ps`.
#[derive(Debug, Args)]
pub struct PsArgs {
    /// Print JSON: an object on each line
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub client: ClientArgs,
}

/// The options of `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// HOST:PORT, unix:PATH, unix:@NAME or PID [default: all of this host]
    #[arg(
        value_name = "SIDECAR",
        value_parser = named(str::parse::<Target>),
        long_help = "Sidecars: HOST:PORT, unix:PATH or unix:@NAME, or the process id of one of this host or \
            of its worker [default: all of this host]"
    )]
    pub targets: Vec<Given<Target>>,

    /// Print JSON: an object with all counters on each line
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub client: ClientArgs,
}
