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
    sign::{CertifiedKey, SingleCertAndKey},
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
        let identity = identity(&self.certificate, &self.key)?;
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| self.certificate.fault(error))?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let roots = Arc::new(authorities(file)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
                builder.with_client_cert_verifier(verifier.map_err(|error| file.fault(error))?)
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(identity)));
        config.alpn_protocols = vec![b"h2".to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

/// A certificate with those between it and the authority's, and its private key.
///
/// # Errors
///
/// The option, the path and what is wrong, in one line.
pub fn identity(certificate: &SourceFile, key: &SourceFile) -> Result<CertifiedKey, String> {
    let identity =
        CertifiedKey::from_der(certificates(certificate)?, private_key(key)?, &ring::default_provider());
    identity.map_err(|error| match error {
        Error::InconsistentKeys(_) => key.fault("it is not the key of --tls-cert's certificate"),
        Error::InvalidCertificate(_) => certificate.fault(NO_VALID_CERTIFICATE),
        _ => key.fault("no valid private key"),
    })
}

/// Those whose signature is trusted.
///
/// # Errors
///
/// The option, the path and what is wrong, in one line.
pub fn authorities(file: &SourceFile) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots.add(certificate).map_err(|_| file.fault(NO_VALID_CERTIFICATE))?;
    }
    Ok(roots)
}

const NO_VALID_CERTIFICATE: &str = "no valid certificate";

/// All certificates of a file, at least one.
fn certificates(file: &SourceFile) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = file.read()?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let certificates =
        certificates.and_then(|all| if all.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(all) });
    certificates.map_err(|error| file.fault(explain(&error, "certificate")))
}

fn private_key(file: &SourceFile) -> Result<PrivateKeyDer<'static>, String> {
    let pem = file.read()?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|error| {
        // "BEGIN ENCRYPTED PRIVATE KEY", or a header "Proc-Type: 4,ENCRYPTED" in front of the key.
        if memchr::memmem::find(&pem, b"ENCRYPTED").is_some() {
            file.fault("encrypted, give one that is not")
        } else {
            file.fault(explain(&error, "private key"))
        }
    })
}

/// What is wrong with a file in PEM. The error itself may show what is in it.
fn explain(error: &pem::Error, what: &str) -> String {
    match error {
        pem::Error::NoItemsFound => format!("there is no {what} in it (PEM)"),
        pem::Error::MissingSectionEnd { .. } => format!("the {what} is cut off"),
        _ => "no valid PEM".into(),
    }
}
