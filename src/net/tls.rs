//! The TLS side of TCP listeners.
//!
//! Sessions are not resumed: streams are long-lived, and a client that reconnects has to be checked against
//! the current certificates.

use super::{
    pem,
    reload::Source,
    source_file::{SourceError, SourceFile},
};
use rustls::{
    ServerConfig,
    crypto::ring,
    server::{NoServerSessionStorage, WebPkiClientVerifier},
    sign::SingleCertAndKey,
};
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

/// The PEM files of a TLS listener.
#[derive(Debug)]
pub struct TlsFiles {
    /// The listener's certificate chain.
    pub certificate: SourceFile,
    /// The private key of the certificate.
    pub key: SourceFile,
    /// Authorities. If there are some a client needs a certificate that one of them has signed.
    pub client_ca: Option<SourceFile>,
}

impl Source for TlsFiles {
    type Value = TlsAcceptor;

    fn files(&self) -> Vec<&SourceFile> {
        [&self.certificate, &self.key].into_iter().chain(&self.client_ca).collect()
    }

    fn load(&self) -> Result<TlsAcceptor, SourceError> {
        let identity = pem::identity(&self.certificate, &self.key)?;
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| self.certificate.error(error))?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let roots = Arc::new(pem::authorities(file)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
                builder.with_client_cert_verifier(verifier.map_err(|error| file.error(error))?)
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(identity)));
        config.alpn_protocols = vec![b"h2".to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}
