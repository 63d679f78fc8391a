//! Who is let in: TLS for TCP listeners, and a token for every listener.

use crate::net::{reloader::Reloader, tls::TlsFiles, tokens::TokenFile};
use crate::system::log::Log;
use http::{Request, header::AUTHORIZATION};
use tokio_rustls::TlsAcceptor;

/// Health may be asked for without a token: what asks are probes of an orchestrator, and it tells nothing. Nor does it
/// take anything: such a request is short, or refused, and comes whole soon, or is refused.
const OPEN_TO_ALL: &str = "/grpc.health.v1.Health/";

/// The files that say who is let in.
#[derive(Debug, Default)]
pub struct AccessFiles {
    /// Certificates and keys; none serves TCP without TLS.
    pub tls: Option<TlsFiles>,
    /// Tokens; none asks for no token.
    pub tokens: Option<TokenFile>,
}

/// Those files, read; and read again when they change.
pub struct Access {
    tls: Option<Reloader<TlsFiles>>,
    tokens: Option<Reloader<TokenFile>>,
}

impl Access {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// What cannot be used and why, in one line.
    pub fn load(files: AccessFiles, log: &Log) -> Result<Self, String> {
        let AccessFiles { tls, tokens } = files;
        Ok(Self {
            tls: tls.map(|files| Reloader::load(files, log.clone())).transpose()?,
            tokens: tokens.map(|file| Reloader::load(file, log.clone())).transpose()?,
        })
    }

    /// What a new TCP connection has to go through first, if anything.
    pub async fn tls(&self) -> Option<TlsAcceptor> {
        let tls = self.tls.as_ref()?;
        Some(TlsAcceptor::clone(&*tls.current().await))
    }

    /// Why a request is not authenticated; `None` if it is.
    pub async fn refusal<B>(&self, request: &Request<B>) -> Option<&'static str> {
        let tokens = self.tokens.as_ref()?;
        if request.uri().path().starts_with(OPEN_TO_ALL) || tokens.current().await.accept(request.headers()) {
            None
        } else if request.headers().contains_key(AUTHORIZATION) {
            Some("the token is not accepted")
        } else {
            Some("a token is required: authorization: Bearer TOKEN")
        }
    }
}
