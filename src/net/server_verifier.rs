//! Verification of servers by clients that trust the authorities in a file.

use super::source_file::{SourceCause, SourceError, SourceFile};
use rustls::{
    CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};
use std::sync::Arc;

/// Accepts servers with a certificate that one of the authorities has issued, and servers with a certificate
/// that is in the file itself.
///
/// The latter is what `openssl req -x509` makes for a single server: self-signed, and marked as an authority.
/// WebPKI refuses authorities as servers.
#[derive(Debug)]
pub(crate) struct ServerVerifier {
    webpki: Arc<WebPkiServerVerifier>,
    authorities: Vec<CertificateDer<'static>>,
}

impl ServerVerifier {
    /// Trusts the authorities of a file. Certificates that cannot be used are skipped as long as one can.
    ///
    /// # Errors
    ///
    /// If no certificate can be used.
    pub(crate) fn new(
        authorities: Vec<CertificateDer<'static>>,
        file: &SourceFile,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, SourceError> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(authorities.iter().cloned());
        if roots.is_empty() {
            return Err(file.error(SourceCause::NoUsableCertificate));
        }
        let webpki = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
        Ok(Self { webpki: webpki.map_err(|error| file.error(error))?, authorities })
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.webpki.verify_server_cert(certificate, intermediates, name, ocsp_response, now);
        match verified {
            // WebPKI checks first the time, then this. The name is left; nothing has to be signed.
            Err(error) if is_authority_as_server(&error) && self.authorities.contains(certificate) => {
                verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}

fn is_authority_as_server(error: &Error) -> bool {
    let Error::InvalidCertificate(CertificateError::Other(other)) = error else { return false };
    other.0.downcast_ref() == Some(&webpki::Error::CaUsedAsEndEntity)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};
    use rustls::crypto::ring;

    /// A self-signed certificate that is marked as an authority or not, of these years.
    fn self_signed(is_authority: bool, years: [i32; 2]) -> CertificateDer<'static> {
        let mut parameters = CertificateParams::new(["localhost".to_owned()]).unwrap();
        if is_authority {
            parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        [parameters.not_before, parameters.not_after] = years.map(|year| date_time_ymd(year, 1, 1));
        parameters.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    #[test]
    fn a_self_signed_certificate_of_the_file_is_accepted_if_name_and_time_match() {
        const VALID: [i32; 2] = [2020, 2100];
        let file = SourceFile::public("--ca", "/ca".into());
        let verify = |trusted: &CertificateDer<'static>, shown: &CertificateDer<'static>, name: &str| {
            let provider = Arc::new(ring::default_provider());
            let verifier = ServerVerifier::new(vec![trusted.clone()], &file, provider).unwrap();
            let name = ServerName::try_from(name.to_owned()).unwrap();
            verifier.verify_server_cert(shown, &[], &name, &[], UnixTime::now()).is_ok()
        };
        for is_authority in [true, false] {
            let ours = self_signed(is_authority, VALID);
            assert!(verify(&ours, &ours, "localhost"), "{is_authority}");
            assert!(!verify(&ours, &ours, "other.example"), "{is_authority}");
            // The same names and times with another key.
            assert!(!verify(&ours, &self_signed(is_authority, VALID), "localhost"), "{is_authority}");
            for years in [[2020, 2021], [2090, 2100]] {
                let invalid = self_signed(is_authority, years);
                assert!(!verify(&invalid, &invalid, "localhost"), "{is_authority} {years:?}");
            }
        }
    }
}
