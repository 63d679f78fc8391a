//! Authentication: TLS for TCP listeners, and tokens for every listener.

use crate::net::{
    reloader::{LoadError, Reloader},
    tls::TlsFiles,
    tokens::TokenFile,
};
use http::{Request, header::AUTHORIZATION};
use tokio_rustls::TlsAcceptor;

/// Health checks need no token, for the probes of orchestrators: the answer reveals nothing, and the request
/// is bounded in size and time like any other.
const NO_TOKEN_REQUIRED: &str = "/grpc.health.v1.Health/";

/// The files that authentication uses.
#[derive(Debug, Default)]
pub struct AccessFiles {
    /// Certificate and key; `None` serves TCP without TLS.
    pub tls: Option<TlsFiles>,
    /// Tokens; `None` requires no token.
    pub tokens: Option<TokenFile>,
}

/// The contents of [`AccessFiles`], reloaded when they change.
pub struct Access {
    tls: Option<Reloader<TlsFiles>>,
    tokens: Option<Reloader<TokenFile>>,
}

impl Access {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// One line that names the file and the cause.
    pub fn load(files: AccessFiles) -> Result<Self, LoadError> {
        let AccessFiles { tls, tokens } = files;
        Ok(Self {
            tls: tls.map(Reloader::load).transpose()?,
            tokens: tokens.map(Reloader::load).transpose()?,
        })
    }

    /// The TLS handshake for a new TCP connection, if TLS is configured.
    pub async fn tls(&self) -> Option<TlsAcceptor> {
        let tls = self.tls.as_ref()?;
        Some(TlsAcceptor::clone(&*tls.current().await))
    }

    /// Why a request is not authenticated; `None` if it is.
    pub async fn refusal<B>(&self, request: &Request<B>) -> Option<&'static str> {
        let tokens = self.tokens.as_ref()?;
        if request.uri().path().starts_with(NO_TOKEN_REQUIRED)
            || tokens.current().await.accept(request.headers())
        {
            None
        } else if request.headers().contains_key(AUTHORIZATION) {
            Some("the token is not accepted")
        } else {
            Some("a token is required: authorization: Bearer TOKEN")
        }
    }
}
