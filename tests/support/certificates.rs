//! Certificates for tests, and TLS clients.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use std::{fs, path::Path};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Error, Identity};

/// A certificate authority.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its private key, in PEM.
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

impl Authority {
    pub fn new() -> Self {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap())
    }

    /// The authority's certificate, in PEM.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for a server on this host, or for a client.
    pub fn issue(&self) -> Pair {
        let mut parameters =
            CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        parameters.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &self.0).unwrap();
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    /// Connects to a local port whose certificate must be signed by this authority.
    pub async fn connect(&self, port: u16, identity: Option<&Pair>) -> Result<Channel, Error> {
        let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(self.pem()));
        if let Some(Pair { certificate, key }) = identity {
            tls = tls.identity(Identity::from_pem(certificate, key));
        }
        let endpoint = Endpoint::from_shared(format!("https://127.0.0.1:{port}"))?.tls_config(tls)?;
        endpoint.connect().await
    }
}

impl Pair {
    /// What `openssl req -x509` makes: the certificate of a server on this host, self-signed and marked as an
    /// authority.
    pub fn self_signed_authority() -> Self {
        let mut parameters = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self { certificate: parameters.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
    }

    /// Writes the files `cert.pem` and `key.pem`.
    pub fn write(&self, dir: &Path) {
        fs::write(dir.join("cert.pem"), &self.certificate).unwrap();
        fs::write(dir.join("key.pem"), &self.key).unwrap();
    }
}
