//! Who is let in, what clients may take, and that nobody else can come by accident.

use crate::{
    cli::{
        self,
        word::{COUNT, duration, some_time, whole},
    },
    control::PatternLimits,
    grpc::{auth::AccessFiles, limits::ClientLimits},
    net::{
        address::{Address, ResolvedAddress},
        source_file::SourceFile,
        tls::TlsFiles,
        tokens::TokenFile,
        unix_socket::SocketMode,
    },
};
use std::path::PathBuf;

/// The name of an option that the sidecar and `tail` have in common.
const TLS_CERT: &str = "--tls-cert";
const TLS_KEY: &str = "--tls-key";
const AUTH_TOKEN_FILE: &str = "--auth-token-file";

/// How `tail` gets in.
#[derive(Debug)]
pub struct ClientAccess {
    /// Speak TLS.
    pub tls: Option<ClientTls>,
    /// Bring the first of these.
    pub tokens: Option<TokenFile>,
}

/// TLS from a client's side.
#[derive(Debug)]
pub struct ClientTls {
    /// The authorities one of which has to have signed the server's certificate.
    pub ca: SourceFile,
    /// The client's certificate and its private key.
    pub identity: Option<(SourceFile, SourceFile)>,
}

/// The files that say who is let in.
///
/// An address that other hosts can reach needs TLS, and something that tells who they are.
pub(super) fn access(
    options: cli::Access,
    listen: &[ResolvedAddress],
) -> Result<(AccessFiles, SocketMode), String> {
    let mode = options.listen_mode.parse("--listen-mode", str::parse)?;
    let tls = match (pair(options.tls_cert, options.tls_key)?, options.tls_client_ca) {
        (Some((certificate, key)), client_ca) => {
            let client_ca = client_ca.map(|path| SourceFile::public("--tls-client-ca", path));
            Some(TlsFiles { certificate, key, client_ca })
        }
        (None, None) => None,
        (None, Some(path)) => {
            let path = path.display();
            return Err(format!("--tls-client-ca: '{path}': give {TLS_CERT} and {TLS_KEY} as well"));
        }
    };
    let files = AccessFiles { tls, tokens: options.auth_token_file.map(token_file) };
    if !options.insecure {
        for address in listen {
            protected(address, &files).map_err(|cause| format!("--listen: '{address}': {cause}"))?;
        }
    }
    Ok((files, mode))
}

/// Refuses an address at which anybody could come in, or listen to others.
fn protected(address: &ResolvedAddress, files: &AccessFiles) -> Result<(), String> {
    let missing = match &files.tls {
        Some(TlsFiles { client_ca, .. }) if client_ca.is_some() || files.tokens.is_some() => return Ok(()),
        Some(_) => "--auth-token-file or --tls-client-ca",
        None => "--tls-cert and --tls-key with --auth-token-file or --tls-client-ca",
    };
    if address.is_local() {
        return Ok(());
    }
    Err(format!(
        "other hosts can reach it: use 127.0.0.1 or unix:PATH, or protect it with {missing}, or allow it with --insecure"
    ))
}

/// How `tail` is to get in at this address.
pub(super) fn client(options: cli::Client, address: &Address) -> Result<ClientAccess, String> {
    let identity = pair(options.tls_cert, options.tls_key)?;
    let tls = match (options.tls_ca, identity) {
        (Some(path), _) if matches!(address, Address::Unix(_)) => {
            return Err(format!("--tls-ca: '{}': a unix socket has no TLS", path.display()));
        }
        (Some(path), identity) => Some(ClientTls { ca: SourceFile::public("--tls-ca", path), identity }),
        (None, None) => None,
        (None, Some((certificate, _))) => return Err(certificate.error("give --tls-ca as well")),
    };
    Ok(ClientAccess { tls, tokens: options.auth_token_file.map(token_file) })
}

/// A certificate and its key: both or none.
fn pair(
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
) -> Result<Option<(SourceFile, SourceFile)>, String> {
    let certificate = certificate.map(|path| SourceFile::public(TLS_CERT, path));
    let key = key.map(|path| SourceFile::secret(TLS_KEY, path));
    match (certificate, key) {
        (Some(certificate), Some(key)) => Ok(Some((certificate, key))),
        (None, None) => Ok(None),
        (Some(certificate), None) => Err(certificate.error(format_args!("give {TLS_KEY} as well"))),
        (None, Some(key)) => Err(key.error(format_args!("give {TLS_CERT} as well"))),
    }
}

fn token_file(path: PathBuf) -> TokenFile {
    TokenFile(SourceFile::secret(AUTH_TOKEN_FILE, path))
}

/// What clients may take.
pub(super) fn client_limits(options: &cli::Limits) -> Result<ClientLimits, String> {
    let keepalive_interval = options.keepalive_interval.parse("--keepalive-interval", duration)?;
    let controls_per_second = &options.max_controls_per_second;
    Ok(ClientLimits {
        connections: options.max_connections.parse("--max-connections", whole(COUNT))?,
        streams: options.max_streams.parse("--max-streams", whole(COUNT))?,
        subscribers: options.max_subscribers.parse("--max-subscribers", whole(COUNT))?,
        controls_per_second: controls_per_second.parse("--max-controls-per-second", whole(COUNT))?,
        header_bytes: options.max_header_bytes.parse("--max-header-bytes", whole(COUNT))?,
        handshake_timeout: options.handshake_timeout.parse("--handshake-timeout", some_time)?,
        keepalive_interval: (!keepalive_interval.is_zero()).then_some(keepalive_interval),
        keepalive_timeout: options.keepalive_timeout.parse("--keepalive-timeout", some_time)?,
    })
}

/// How many patterns a subscription may hold.
pub(super) fn pattern_limits(options: &cli::Limits) -> Result<PatternLimits, String> {
    Ok(PatternLimits {
        count: options.max_patterns.parse("--max-patterns", whole(COUNT))?,
        bytes: options.max_pattern_bytes.parse("--max-pattern-bytes", whole(COUNT))?,
        wildcards: options.max_wildcards.parse("--max-wildcards", whole(COUNT))?,
    })
}
