//! Certificates and private keys from PEM files. Errors show nothing of what a file contains.

use super::source_file::{SourceCause, SourceError, SourceFile};
use rustls::{
    Error, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject as _},
    sign::CertifiedKey,
};

/// A certificate chain with its private key.
///
/// # Errors
///
/// The option, the path and the cause, in one line.
pub(crate) fn identity(certificate: &SourceFile, key: &SourceFile) -> Result<CertifiedKey, SourceError> {
    let (chain, private_key) = (certificates(certificate)?, private_key(key)?);
    CertifiedKey::from_der(chain, private_key, &ring::default_provider()).map_err(|error| match error {
        Error::InconsistentKeys(_) => {
            key.error(SourceCause::KeyMismatch { certificate: certificate.option().to_owned() })
        }
        Error::InvalidCertificate(_) => certificate.error(SourceCause::InvalidCertificate),
        _ => key.error(SourceCause::InvalidKey),
    })
}

/// The authorities in a file, each of which has to be valid.
///
/// # Errors
///
/// The option, the path and the cause, in one line.
pub(crate) fn authorities(file: &SourceFile) -> Result<RootCertStore, SourceError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots.add(certificate).map_err(|_| file.error(SourceCause::InvalidCertificate))?;
    }
    Ok(roots)
}

/// All certificates in a file, at least one.
///
/// # Errors
///
/// The option, the path and the cause, in one line.
pub(crate) fn certificates(file: &SourceFile) -> Result<Vec<CertificateDer<'static>>, SourceError> {
    let pem = file.read()?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let certificates =
        certificates.and_then(|all| if all.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(all) });
    certificates.map_err(|error| file.error(cause(&error, "certificate")))
}

fn private_key(file: &SourceFile) -> Result<PrivateKeyDer<'static>, SourceError> {
    let pem = file.read()?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|error| {
        // "BEGIN ENCRYPTED PRIVATE KEY", or a header "Proc-Type: 4,ENCRYPTED" before the key.
        if memchr::memmem::find(&pem, b"ENCRYPTED").is_some() {
            file.error(SourceCause::EncryptedKey)
        } else {
            file.error(cause(&error, "private key"))
        }
    })
}

/// The error without the parts of the file that its own text may show.
fn cause(error: &pem::Error, item: &'static str) -> SourceCause {
    match error {
        pem::Error::NoItemsFound => SourceCause::Lacks(item),
        pem::Error::MissingSectionEnd { .. } => SourceCause::CutOff(item),
        _ => SourceCause::InvalidPem,
    }
}
