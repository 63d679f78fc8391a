//! The options that say who may connect.

use crate::{
    net::unix_socket::SocketMode,
    system::{
        option::{Given, path, value},
        value::switch,
    },
};
use clap::Args;
use std::path::PathBuf;

/// The options of the command line.
#[derive(Debug, Args)]
#[command(next_help_heading = "Security")]
pub struct AccessArgs {
    /// Allow listeners that other hosts can reach without TLS and authentication
    #[arg(long, env = "TELEMETRY_SIDECAR_INSECURE", value_parser = value(switch))]
    pub insecure: bool,

    /// Serve TLS with this certificate chain (PEM)
    #[arg(long, value_name = "FILE", env = "TELEMETRY_SIDECAR_TLS_CERT", value_parser = path())]
    pub tls_cert: Option<Given<PathBuf>>,

    /// Private key of --tls-cert (PEM)
    #[arg(long, value_name = "FILE", env = "TELEMETRY_SIDECAR_TLS_KEY", value_parser = path())]
    pub tls_key: Option<Given<PathBuf>>,

    /// Require a client certificate signed by one of these authorities (PEM)
    #[arg(long, value_name = "FILE", env = "TELEMETRY_SIDECAR_TLS_CLIENT_CA", value_parser = path())]
    pub tls_client_ca: Option<Given<PathBuf>>,

    /// Require a bearer token from this file (one per line); health checks are exempt
    #[arg(long, value_name = "FILE", env = "TELEMETRY_SIDECAR_AUTH_TOKEN_FILE", value_parser = path())]
    pub auth_token_file: Option<Given<PathBuf>>,

    /// Permissions of unix sockets, in octal; peers of other users are served only if the mode lets them
    /// write
    #[arg(
        long,
        value_name = "MODE",
        default_value_t,
        env = "TELEMETRY_SIDECAR_LISTEN_MODE",
        value_parser = value(str::parse::<SocketMode>)
    )]
    pub listen_mode: SocketMode,
}
