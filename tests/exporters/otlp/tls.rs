//! The OTLP exporter of the binary over TLS.

use super::{
    collector::{Collector, Protocol},
    exporting::{QUICK, expect_counters, span, wrap},
};
use crate::support::{
    Sidecar,
    refusal::{expect_words, refused_without},
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::sync::Arc;
use tokio_rustls::rustls::{
    RootCertStore, ServerConfig, crypto::ring, pki_types::PrivateKeyDer, server::WebPkiClientVerifier,
};

/// A certificate authority, and files with certificates that it has signed.
struct Authority {
    dir: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ca"), issuer.pem()).unwrap();
        Self { dir, issuer }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    /// A certificate for a name, also as files NAME.pem and NAME.key.
    fn issue(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.path(&format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
        (certificate, key)
    }

    /// A server for localhost that requires client certificates.
    fn server(&self, protocol: Protocol) -> ServerConfig {
        let (certificate, key) = self.issue("localhost");
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let provider = Arc::new(ring::default_provider());
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let config =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_client_cert_verifier(clients.build().unwrap());
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let mut config = config.with_single_cert(vec![certificate.der().clone()], key).unwrap();
        config.alpn_protocols = match protocol {
            Protocol::Grpc => vec![b"h2".to_vec()],
            Protocol::Http => vec![b"http/1.1".to_vec()],
        };
        config
    }
}

#[test]
fn tls_verifies_server_and_client() {
    let (ours, others) = (Authority::new(), Authority::new());
    ours.issue("client");
    others.issue("client");
    for protocol in Protocol::BOTH {
        for (ca, client, arrives) in [(&ours, &ours, true), (&others, &ours, false), (&ours, &others, false)]
        {
            let collector = Collector::start_at(0, protocol, Some(ours.server(protocol)), &[]);
            let variables = [
                ("OTEL_EXPORTER_OTLP_CERTIFICATE", ca.path("ca")),
                ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", client.path("client.pem")),
                ("OTEL_EXPORTER_OTLP_CLIENT_KEY", client.path("client.key")),
            ];
            let variables = variables.each_ref().map(|(name, path)| (*name, path.as_str()));
            let endpoint = format!("--export-otlp=https://localhost:{}", collector.port);
            let drain = if arrives { "30s" } else { "1s" };
            let mut sidecar =
                wrap(&["--drain-timeout", drain, &endpoint], protocol, &[&variables[..], &QUICK].concat());
            sidecar.write(span("tool.run", "c"));
            if arrives {
                collector.wait_for_traces(1);
            } else {
                sidecar.wait_for_stderr("will be sent again");
            }
            let finished = sidecar.finish();
            assert_eq!(collector.traces().len(), usize::from(arrives));
            let (sent, failed) = if arrives { (1, 0) } else { (0, 1) };
            expect_counters(&finished, &[("spans_exported", sent), ("spans_failed", failed)]);
        }
    }
}

/// A file that is not PEM.
const NO_PEM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");

/// Falling back to the system's authorities could send credentials in headers to another server.
#[test]
fn an_unusable_certificate_authority_prevents_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let broken = dir.path().join("broken");
    let words = ["BEGIN", "END"].map(|word| format!("-----{word} CERTIFICATE-----\n"));
    std::fs::write(&broken, words.join("AAAA\n")).unwrap();
    for (path, cause) in [
        ("/nowhere/ca", "No such file"),
        (NO_PEM, "no certificate"),
        (broken.to_str().unwrap(), "none of its certificates can be used"),
    ] {
        for variable in ["OTEL_EXPORTER_OTLP_CERTIFICATE", "OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE"] {
            let start = |url: &str| {
                let option = format!("--export-otlp={url}");
                let words = ["-q", "--drain-timeout", "0s", &option, "--", "touch", "{dir}/started"];
                Sidecar::command(&words).env(variable, path).start()
            };
            let line = refused_without(start("https://localhost:1"), "started");
            expect_words(&line, &[&format!("{variable}: '{path}': "), cause]);
            // Without TLS the file is not read.
            start("http://localhost:1").finish().expect_code(0);
        }
    }
}

#[test]
fn an_unusable_client_certificate_is_reported() {
    let words = ["-v", "--drain-timeout", "30s", "--export-otlp=https://localhost:1", "--", "true"];
    let with_key = |key| {
        Sidecar::command(&words)
            .env("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", NO_PEM)
            .env("OTEL_EXPORTER_OTLP_CLIENT_KEY", key)
            .start()
            .finish()
    };
    for (key, expected) in [
        (NO_PEM, format!("otlp: OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE: '{NO_PEM}': there is no certificate")),
        ("", "otlp: OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE: there is no OTEL_EXPORTER_OTLP_CLIENT_KEY".into()),
    ] {
        let finished = with_key(key);
        assert!(finished.expect_code(0).stderr().contains(&expected), "{}", finished.describe());
    }
}
