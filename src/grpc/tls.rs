//! TLS: what certificates and keys come to.
//!
//! Nothing of it is touched unless it was asked for. Sessions are not resumed: streams live long, and a client that
//! comes again is to be judged by the certificates of that time.

use super::reload::{Source, SourceFile};
use rustls::{
    Error, RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject as _},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
};
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

/// The files that a TLS listener needs, in PEM.
#[derive(Debug)]
pub struct TlsFiles {
    /// The listener's certificate, and those between it and the authority's.
    pub certificate: SourceFile,
    /// Its private key.
    pub key: SourceFile,
    /// The authorities one of which has to have signed a client's certificate; none asks for no certificate.
    pub client_ca: Option<SourceFile>,
}

impl Source for TlsFiles {
    type Value = TlsAcceptor;

    fn files(&self) -> Vec<&SourceFile> {
        [&self.certificate, &self.key].into_iter().chain(&self.client_ca).collect()
    }

    fn load(&self) -> Result<TlsAcceptor, String> {
        let chain = certificates(&self.certificate)?;
        let key = private_key(&self.key)?;
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| self.certificate.fault(error))?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(file)? {
                    roots.add(certificate).map_err(|error| file.fault(error))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(verifier.map_err(|error| file.fault(error))?)
            }
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|error| match error {
            Error::InconsistentKeys(_) => self.key.fault("it is not the key of --tls-cert's certificate"),
            Error::InvalidCertificate(_) => self.certificate.fault(error),
            _ => self.key.fault(error),
        })?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

/// All certificates of a file, at least one.
///
/// # Errors
///
/// The option, the path and what is wrong, in one line.
pub fn certificates(file: &SourceFile) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = file.read()?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err(file.fault("there is no certificate in it (PEM)")),
        certificates => certificates.map_err(|error| file.fault(error)),
    }
}

fn private_key(file: &SourceFile) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(&file.read()?).map_err(|error| match error {
        pem::Error::NoItemsFound => file.fault("there is no private key in it (PEM, not encrypted)"),
        error => file.fault(error),
    })
}
