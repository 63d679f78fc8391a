//! Errors of connections and calls.

use crate::{
    net::{address::Address, source_file::SourceError},
    system::visible::one_line,
};
use std::{error::Error, io};
use thiserror::Error;
use tonic::{Code, Status, transport};

/// What is wrong with the address of a web server.
const NOT_GRPC: &str = "speaks HTTP/1, not gRPC (the page of --export-prometheus?): give an address of \
    --listen, which ps shows";

/// Why a sidecar cannot be connected to, or why its answer ended.
#[derive(Debug, Error)]
pub enum ClientError {
    #[error(transparent)]
    File(#[from] SourceError),
    #[error("{address}: cannot connect: {}{}", root_cause(.cause), hint(.cause))]
    Connect { address: Address, cause: transport::Error },
    #[error("{address}: {}", describe(.status))]
    Call { address: Address, status: Status },
    #[error("{address}: {NOT_GRPC}")]
    NotGrpc { address: Address },
    #[error("{address}: does not answer")]
    NoAnswer { address: Address },
    #[error("{address}: belongs to another user (uid {uid}), gets the token only if its address is given")]
    Untrusted { address: Address, uid: u32 },
    #[error("sidecar {pid} is stopped: `kill -CONT {pid}` continues it")]
    Stopped { pid: u32 },
}

impl ClientError {
    /// Whether there is no server yet, so that trying again may help: neither TLS nor a call has failed.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Connect { cause, .. } if tls_error(cause).is_none() && !is_tls_alert(cause))
    }

    /// The same in a few words, for a table that has the address already.
    pub fn brief(&self) -> String {
        match self {
            Self::NotGrpc { .. } => NOT_GRPC.into(),
            Self::NoAnswer { .. } => "does not answer".into(),
            Self::Stopped { .. } => "stopped".into(),
            Self::Untrusted { .. } => "another user's: gets the token only if its address is given".into(),
            Self::Call { status, .. } if status.code() == Code::Unauthenticated => refused(status),
            Self::Call { status, .. } => match status.source() {
                Some(cause) if is_tls_alert(cause) => "speaks TLS (--tls-ca)".into(),
                Some(cause) => one_line(&root_cause(cause)),
                None => one_line(status.message()),
            },
            Self::Connect { cause, .. } => one_line(&root_cause(cause)),
            Self::File(error) => error.to_string(),
        }
    }
}

/// What a server says of a missing or a wrong token.
fn refused(status: &Status) -> String {
    if status.message().starts_with("a token") {
        "needs a token: --auth-token-file".into()
    } else {
        one_line(status.message())
    }
}

fn describe(status: &Status) -> String {
    match status.source() {
        _ if status.code() == Code::Unauthenticated => refused(status),
        Some(cause) => format!("the connection failed: {}", root_cause(cause)),
        None => format!("{}: {}", status.code(), status.message()),
    }
}

/// The root cause: the system's or TLS's error, or a hint that only one side uses TLS.
fn root_cause(error: &(dyn Error + 'static)) -> String {
    if let Some(rustls::Error::InvalidMessage(_)) = tls_error(error) {
        return "it does not speak TLS".into();
    }
    let text = root(error).to_string();
    if is_tls_alert(error) { text + ", does it speak TLS? (--tls-ca)" } else { text }
}

/// What to do if nothing listens there.
fn hint(error: &(dyn Error + 'static)) -> &'static str {
    let kind = root(error).downcast_ref::<io::Error>().map(io::Error::kind);
    match kind {
        Some(io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => {
            ", ps lists the sidecars of this host"
        }
        _ => "",
    }
}

fn root<'a>(mut error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    while let Some(cause) = error.source() {
        error = cause;
    }
    error
}

fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    root(error).downcast_ref::<io::Error>()?.get_ref()?.downcast_ref()
}

/// Whether a handshake failed because the peer speaks no TLS.
pub(super) fn is_plain(error: &ClientError) -> bool {
    let ClientError::Connect { cause, .. } = error else { return false };
    matches!(tls_error(cause), Some(rustls::Error::InvalidMessage(_)))
}

/// Whether a sidecar has to be connected to in another way.
pub(super) fn is_about_access(error: &ClientError) -> bool {
    match error {
        ClientError::Connect { cause, .. } => tls_error(cause).is_some(),
        ClientError::Untrusted { .. } => true,
        ClientError::Call { status, .. } => {
            status.code() == Code::Unauthenticated || status.source().is_some_and(is_tls_alert)
        }
        _ => false,
    }
}

/// Whether HTTP/2 got a TLS alert, which it takes for a frame.
fn is_tls_alert(error: &(dyn Error + 'static)) -> bool {
    root(error).to_string().ends_with("frame with invalid size")
}

/// Whether a handshake failed because the certificate is for another name.
pub(super) fn is_other_name(error: &ClientError) -> bool {
    use rustls::CertificateError::{NotValidForName, NotValidForNameContext};
    let ClientError::Connect { cause, .. } = error else { return false };
    matches!(
        tls_error(cause),
        Some(rustls::Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. }))
    )
}
