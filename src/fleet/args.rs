//! The options of subcommands that connect to running sidecars.

use crate::system::option::{Given, path};
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
