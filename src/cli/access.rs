//! The options of who is let in, and of what those may take.

use super::word::{FromVariable, Word, switch};
use crate::control::PatternLimits;
use clap::Args;
use std::path::PathBuf;

/// Who may connect and subscribe.
#[derive(Debug, Args)]
#[command(next_help_heading = "Security")]
pub struct Access {
    /// Allow a listener that other hosts can reach, without TLS and authentication
    #[arg(long, env = "TELEMETRY_SIDECAR_INSECURE", value_parser = FromVariable(switch))]
    pub insecure: bool,

    /// Serve TCP over TLS with this certificate and those between it and the authority's (PEM)
    #[arg(long, value_name = "FILE", env = "TELEMETRY_SIDECAR_TLS_CERT")]
    pub tls_cert: Option<PathBuf>,

    /// The private key of --tls-cert (PEM)
    #[arg(long, value_name = "FILE", env = "TELEMETRY_SIDECAR_TLS_KEY")]
    pub tls_key: Option<PathBuf>,

    /// Serve only TLS clients with a certificate that one of these authorities has signed (PEM)
    #[arg(long, value_name = "FILE", env = "TELEMETRY_SIDECAR_TLS_CLIENT_CA")]
    pub tls_client_ca: Option<PathBuf>,

    /// Serve only requests that bring one of these bearer tokens, one a line; health is open to all
    #[arg(long, value_name = "FILE", env = "TELEMETRY_SIDECAR_AUTH_TOKEN_FILE")]
    pub auth_token_file: Option<PathBuf>,

    /// Permissions of unix sockets, in octal; only this user and root are served unless others may write
    #[arg(long, value_name = "MODE", default_value = "0600", env = "TELEMETRY_SIDECAR_LISTEN_MODE")]
    pub listen_mode: Word,
}

/// What clients may take.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub struct Limits {
    /// Connections at a time; one more is closed at once
    #[arg(long, value_name = "N", default_value = "256", env = "TELEMETRY_SIDECAR_MAX_CONNECTIONS")]
    pub max_connections: Word,

    /// Open requests of a connection
    #[arg(long, value_name = "N", default_value = "100", env = "TELEMETRY_SIDECAR_MAX_STREAMS")]
    pub max_streams: Word,

    /// Telemetry streams at a time; one more is refused
    #[arg(long, value_name = "N", default_value = "128", env = "TELEMETRY_SIDECAR_MAX_SUBSCRIBERS")]
    pub max_subscribers: Word,

    /// Controls of a subscriber each second, those with many patterns counting more than once; more wait
    #[arg(long, value_name = "N", default_value = "1000", env = "TELEMETRY_SIDECAR_MAX_CONTROLS_PER_SECOND")]
    pub max_controls_per_second: Word,

    /// Patterns in a subscriber's filter, and as many in its sampling; a control with more is refused
    #[arg(
        long,
        value_name = "N",
        default_value_t = PatternLimits::DEFAULT.count.to_string().into(),
        env = "TELEMETRY_SIDECAR_MAX_PATTERNS"
    )]
    pub max_patterns: Word,

    /// Bytes of a pattern; a control with a longer one is refused
    #[arg(
        long,
        value_name = "N",
        default_value_t = PatternLimits::DEFAULT.bytes.to_string().into(),
        env = "TELEMETRY_SIDECAR_MAX_PATTERN_BYTES"
    )]
    pub max_pattern_bytes: Word,

    /// `*`, `?` and characters in `[...]` in its filter, and as many in its sampling; a control with more is refused
    #[arg(
        long,
        value_name = "N",
        default_value_t = PatternLimits::DEFAULT.wildcards.to_string().into(),
        env = "TELEMETRY_SIDECAR_MAX_WILDCARDS"
    )]
    pub max_wildcards: Word,

    /// Bytes of a request's headers
    #[arg(long, value_name = "N", default_value = "16384", env = "TELEMETRY_SIDECAR_MAX_HEADER_BYTES")]
    pub max_header_bytes: Word,

    /// How long a new connection may take to begin with HTTP/2, TLS included, and a short request to come
    #[arg(long, value_name = "DURATION", default_value = "5s", env = "TELEMETRY_SIDECAR_HANDSHAKE_TIMEOUT")]
    pub handshake_timeout: Word,

    /// After so long a silence a client is asked whether it is there; 0s never asks
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "30s",
        env = "TELEMETRY_SIDECAR_KEEPALIVE_INTERVAL"
    )]
    pub keepalive_interval: Word,

    /// How long it may take to answer until its connection is closed
    #[arg(long, value_name = "DURATION", default_value = "20s", env = "TELEMETRY_SIDECAR_KEEPALIVE_TIMEOUT")]
    pub keepalive_timeout: Word,
}

/// How `tail` gets in.
#[derive(Debug, Args)]
pub struct Client {
    /// Connect over TLS, to a server whose certificate one of these authorities has signed (PEM)
    #[arg(long, value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,

    /// Show this certificate to the server (PEM)
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,

    /// The private key of --tls-cert (PEM)
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,

    /// Bring the first token of this file
    #[arg(long, value_name = "FILE")]
    pub auth_token_file: Option<PathBuf>,
}
