//! Certificates and private keys from PEM files. Errors show nothing of what a file contains.

use super::source_file::SourceFile;
use rustls::{
    Error, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject as _},
    sign::CertifiedKey,
};

const INVALID_CERTIFICATE: &str = "no valid certificate";

/// A certificate chain with its private key.
///
/// # Errors
///
/// The option, the path and the cause, in one line.
pub(crate) fn identity(certificate: &SourceFile, key: &SourceFile) -> Result<CertifiedKey, String> {
    let (chain, private_key) = (certificates(certificate)?, private_key(key)?);
    CertifiedKey::from_der(chain, private_key, &ring::default_provider()).map_err(|error| match error {
        Error::InconsistentKeys(_) => {
            let option = certificate.option();
            key.error(format_args!("private key does not match the certificate in {option}"))
        }
        Error::InvalidCertificate(_) => certificate.error(INVALID_CERTIFICATE),
        _ => key.error("no valid private key"),
    })
}

/// The authorities in a file, each of which has to be valid.
///
/// # Errors
///
/// The option, the path and the cause, in one line.
pub(crate) fn authorities(file: &SourceFile) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots.add(certificate).map_err(|_| file.error(INVALID_CERTIFICATE))?;
    }
    Ok(roots)
}

/// All certificates in a file, at least one.
///
/// # Errors
///
/// The option, the path and the cause, in one line.
pub(crate) fn certificates(file: &SourceFile) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = file.read()?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let certificates =
        certificates.and_then(|all| if all.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(all) });
    certificates.map_err(|error| file.error(describe(&error, "certificate")))
}

fn private_key(file: &SourceFile) -> Result<PrivateKeyDer<'static>, String> {
    let pem = file.read()?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|error| {
        // "BEGIN ENCRYPTED PRIVATE KEY", or a header "Proc-Type: 4,ENCRYPTED" before the key.
        if memchr::memmem::find(&pem, b"ENCRYPTED").is_some() {
            file.error("encrypted, give one that is not")
        } else {
            file.error(describe(&error, "private key"))
        }
    })
}

/// The error without the parts of the file that its own text may show.
fn describe(error: &pem::Error, item: &str) -> String {
    match error {
        pem::Error::NoItemsFound => format!("there is no {item} in it (PEM)"),
        pem::Error::MissingSectionEnd { .. } => format!("the {item} is cut off"),
        _ => "no valid PEM".into(),
    }
}
