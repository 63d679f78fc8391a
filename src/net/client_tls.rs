//! The TLS side of clients.

use super::{
    pem,
    reload::Source,
    server_verifier::ServerVerifier,
    source_file::{SourceError, SourceFile},
};
use rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::ServerName, sign::SingleCertAndKey};
use std::{io, path::PathBuf, sync::Arc};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// The settings of a TLS client and their PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClientTlsFiles {
    /// The authorities to trust instead of the system's.
    pub(crate) authorities: Option<SourceFile>,
    /// The client's certificate and private key.
    pub(crate) identity: Option<(SourceFile, SourceFile)>,
    /// The protocol inside TLS (ALPN).
    pub(crate) protocol: &'static str,
}

impl Source for ClientTlsFiles {
    type Value = ClientConfig;

    fn files(&self) -> Vec<&SourceFile> {
        let identity = self.identity.iter().flat_map(|(certificate, key)| [certificate, key]);
        self.authorities.iter().chain(identity).collect()
    }

    fn load(&self) -> Result<ClientConfig, SourceError> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| SourceFile::public("TLS", PathBuf::new()).error(error))?;
        let builder = if let Some(file) = &self.authorities {
            let verifier = ServerVerifier::new(pem::certificates(file)?, file, provider)?;
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
        } else {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            builder.with_root_certificates(roots)
        };
        let mut config = match &self.identity {
            Some((certificate, key)) => {
                let identity = SingleCertAndKey::from(pem::identity(certificate, key)?);
                builder.with_client_cert_resolver(Arc::new(identity))
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![self.protocol.into()];
        Ok(config)
    }
}

/// Starts TLS on a connection to the host of a URL.
///
/// # Errors
///
/// If no certificate can have the host's name, or the handshake fails.
pub(crate) async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
    config: Arc<ClientConfig>,
    host: &str,
    stream: S,
) -> io::Result<TlsStream<S>> {
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let name = ServerName::try_from(address.unwrap_or(host).to_owned());
    let name = name.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    TlsConnector::from(config).connect(name, stream).await
}
