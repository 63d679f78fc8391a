//! Who may connect: certificates and keys go in pairs, and an address that other hosts can reach needs
//! protection.

use super::UsageError;
use crate::{
    fleet::{
        args::ClientArgs,
        client::{ClientAccess, ClientTls},
    },
    grpc::{args::AccessArgs, auth::AccessFiles},
    net::{
        address::{Address, ResolvedAddress},
        source_file::SourceFile,
        tls::TlsFiles,
        tokens::TokenFile,
    },
    system::option::Given,
};
use std::path::PathBuf;

/// The files that decide who may connect to these addresses.
pub(super) fn server(args: AccessArgs, listen: &[Given<ResolvedAddress>]) -> Result<AccessFiles, UsageError> {
    let tls = match (pair(args.tls_cert, args.tls_key)?, args.tls_client_ca) {
        (Some((certificate, key)), client_ca) => {
            Some(TlsFiles { certificate, key, client_ca: client_ca.map(public) })
        }
        (None, None) => None,
        (None, Some(client_ca)) => {
            return Err(client_ca.origin.error("give --tls-cert and --tls-key as well").into());
        }
    };
    let files = AccessFiles { tls, tokens: args.auth_token_file.map(token_file) };
    if !args.insecure {
        for address in listen {
            protected(&address.value, &files).map_err(|cause| address.origin.error(cause))?;
        }
    }
    Ok(files)
}

/// Refuses an address at which other hosts could subscribe without authentication, or read the traffic.
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
        "other hosts can reach it: use 127.0.0.1 or unix:PATH, or protect it with {missing}, \
         or allow it with --insecure"
    ))
}

/// How to connect to these addresses, or, if there are none, to the sidecars that will be found.
pub(super) fn client(args: ClientArgs, addresses: &[Address]) -> Result<ClientAccess, UsageError> {
    let identity = pair(args.tls_cert, args.tls_key)?;
    let tls = match (args.tls_ca, identity) {
        (Some(ca), _) if is_unix(addresses) => {
            return Err(ca.origin.error("a unix socket has no TLS").into());
        }
        (Some(ca), identity) => Some(ClientTls { ca: public(ca), identity }),
        (None, None) => None,
        (None, Some((certificate, _))) => return Err(format!("{certificate}: give --tls-ca as well").into()),
    };
    Ok(ClientAccess { tls, tokens: args.auth_token_file.map(token_file) })
}

/// Whether all of them are unix sockets, so that TLS would have no effect.
fn is_unix(addresses: &[Address]) -> bool {
    !addresses.is_empty() && addresses.iter().all(|address| matches!(address, Address::Unix(_)))
}

/// A certificate and its key: both or none.
fn pair(
    certificate: Option<Given<PathBuf>>,
    key: Option<Given<PathBuf>>,
) -> Result<Option<(SourceFile, SourceFile)>, UsageError> {
    match (certificate, key) {
        (Some(certificate), Some(key)) => Ok(Some((public(certificate), secret(key)))),
        (None, None) => Ok(None),
        (Some(certificate), None) => Err(certificate.origin.error("give --tls-key as well").into()),
        (None, Some(key)) => Err(key.origin.error("give --tls-cert as well").into()),
    }
}

fn public(file: Given<PathBuf>) -> SourceFile {
    SourceFile::public(file.origin.name().to_owned(), file.value)
}

fn secret(file: Given<PathBuf>) -> SourceFile {
    SourceFile::secret(file.origin.name().to_owned(), file.value)
}

fn token_file(file: Given<PathBuf>) -> TokenFile {
    TokenFile(secret(file))
}
