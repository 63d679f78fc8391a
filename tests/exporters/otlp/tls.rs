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
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer},
    server::WebPkiClientVerifier,
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
        server(protocol, certificate.der().clone(), &key, Some(self))
    }
}

/// A server with a certificate, for clients of an authority if there is one.
fn server(
    protocol: Protocol,
    certificate: CertificateDer<'static>,
    key: &KeyPair,
    clients: Option<&Authority>,
) -> ServerConfig {
    let provider = Arc::new(ring::default_provider());
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let config = config.with_safe_default_protocol_versions().unwrap();
    let config = match clients {
        None => config.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.issuer.der().clone()).unwrap();
            let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            config.with_client_cert_verifier(clients.build().unwrap())
        }
    };
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let mut config = config.with_single_cert(vec![certificate], key).unwrap();
    config.alpn_protocols = match protocol {
        Protocol::Grpc => vec![b"h2".to_vec()],
        Protocol::Http => vec![b"http/1.1".to_vec()],
    };
    config
}

/// A sidecar that sends to this port of localhost with TLS, trusts the authorities in a file, and shows a
/// certificate if there is one.
fn start(port: u16, protocol: Protocol, ca: &str, client: Option<[&str; 2]>, drain: &str) -> Sidecar {
    let endpoint = format!("--export-otlp=https://localhost:{port}");
    let [certificate, key] = client.unwrap_or_default();
    let variables = [
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", ca),
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", certificate),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", key),
    ];
    wrap(&["--drain-timeout", drain, &endpoint], protocol, &[&variables[..], &QUICK].concat())
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
            let [ca, certificate, key] =
                [ca.path("ca"), client.path("client.pem"), client.path("client.key")];
            let drain = if arrives { "30s" } else { "1s" };
            let mut sidecar = start(collector.port, protocol, &ca, Some([&certificate, &key]), drain);
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

#[test]
fn renewed_certificates_are_used_and_unusable_ones_are_not() {
    for protocol in Protocol::BOTH {
        let (old, new) = (Authority::new(), Authority::new());
        let live = tempfile::tempdir().unwrap();
        let path = |name: &str| live.path().join(name).to_str().unwrap().to_owned();
        let install = |authority: &Authority| {
            authority.issue("client");
            for name in ["ca", "client.pem", "client.key"] {
                // Renamed, as all tools do that renew certificates: no half of a file is ever read.
                std::fs::copy(authority.path(name), path("next")).unwrap();
                std::fs::rename(path("next"), path(name)).unwrap();
            }
        };
        install(&old);
        let collector = Collector::start_at(0, protocol, Some(old.server(protocol)), &[]);
        let port = collector.port;
        let [certificate, key] = [path("client.pem"), path("client.key")];
        let mut sidecar = start(port, protocol, &path("ca"), Some([&certificate, &key]), "30s");
        sidecar.write(span("first.run", "c"));
        collector.wait_for_traces(1);

        std::fs::write(path("ca"), "nonsense").unwrap();
        sidecar.write(span("second.run", "c"));
        collector.wait_for_traces(2);
        sidecar.wait_for_stderr("the previous contents stay in force");
        drop(collector);

        install(&new);
        let collector = Collector::start_at(port, protocol, Some(new.server(protocol)), &[]);
        sidecar.write(span("third.run", "c"));
        assert_eq!(collector.wait_for_traces(1)[0].spans[0].name, "third.run");
        let finished = sidecar.finish();
        expect_counters(&finished, &[("spans_exported", 3), ("spans_failed", 0)]);
    }
}

/// What `openssl req -x509` makes is both an authority and the server's certificate.
#[test]
fn a_self_signed_server_certificate_is_accepted_if_it_is_the_one_that_is_named() {
    let self_signed = |name: &str| {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        (params.self_signed(&key).unwrap(), key)
    };
    let dir = tempfile::tempdir().unwrap();
    for protocol in Protocol::BOTH {
        let (ours, wrong_name, other) =
            (self_signed("localhost"), self_signed("other.example"), self_signed("localhost"));
        for (named, used, arrives) in
            [(&ours, &ours, true), (&wrong_name, &wrong_name, false), (&ours, &other, false)]
        {
            let path = dir.path().join("certificate");
            std::fs::write(&path, named.0.pem()).unwrap();
            let config = server(protocol, used.0.der().clone(), &used.1, None);
            let collector = Collector::start_at(0, protocol, Some(config), &[]);
            let drain = if arrives { "30s" } else { "1s" };
            let mut sidecar = start(collector.port, protocol, path.to_str().unwrap(), None, drain);
            sidecar.write(span("tool.run", "c"));
            if arrives {
                collector.wait_for_traces(1);
            } else {
                sidecar.wait_for_stderr("invalid peer certificate");
            }
            let (sent, failed) = if arrives { (1, 0) } else { (0, 1) };
            expect_counters(&sidecar.finish(), &[("spans_exported", sent), ("spans_failed", failed)]);
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
        ("/nowhere/ca", "the directory /nowhere does not exist"),
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
fn an_unusable_client_certificate_prevents_the_start() {
    const CERTIFICATE: &str = "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE";
    const KEY: &str = "OTEL_EXPORTER_OTLP_CLIENT_KEY";
    let authority = Authority::new();
    for name in ["client", "other"] {
        authority.issue(name);
    }
    let [certificate, key, other] =
        ["client.pem", "client.key", "other.key"].map(|name| authority.path(name));
    for (given, named, cause) in [
        ((NO_PEM, key.as_str()), CERTIFICATE, "there is no certificate"),
        (("/nowhere/cert", &key), CERTIFICATE, "the directory /nowhere does not exist"),
        ((&certificate, NO_PEM), KEY, "there is no private key"),
        ((&certificate, "/nowhere/key"), KEY, "the directory /nowhere does not exist"),
        (
            (&certificate, &other),
            KEY,
            "private key does not match the certificate in OTEL_EXPORTER_OTLP_CLIENT_C",
        ),
        ((&certificate, ""), CERTIFICATE, "OTEL_EXPORTER_OTLP_CLIENT_KEY is not set"),
        (("", &key), KEY, "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE is not set"),
    ] {
        let start = |url: &str| {
            let option = format!("--export-otlp={url}");
            let words = ["-q", "--drain-timeout", "0s", &option, "--", "touch", "{dir}/started"];
            Sidecar::command(&words).env(CERTIFICATE, given.0).env(KEY, given.1).start()
        };
        let line = refused_without(start("https://localhost:1"), "started");
        let path = if named == KEY { given.1 } else { given.0 };
        expect_words(&line, &[&format!("{named}: '{path}': "), cause]);
        // Without TLS the files are not read.
        start("http://localhost:1").finish().expect_code(0);
    }
}
