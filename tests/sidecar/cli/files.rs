//! Certificates and keys that cannot be used, and a client that speaks TLS to a server that does not.

use crate::support::{
    Sidecar,
    certificates::{Authority, Pair},
    refusal::{expect_one_line, expect_words},
};
use std::fs;

#[test]
fn invalid_certificates_and_keys_are_reported_with_their_file() {
    let (authority, other) = (Authority::new(), Authority::new());
    let Pair { certificate, key } = authority.issue();
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let header =
        "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END EC PRIVATE KEY-----\n";
    let (cert, of_key) = (("--tls-cert", "cert.pem"), ("--tls-key", "key.pem"));
    let cases = [
        (cert, &certificate[..100], "the certificate is cut off"),
        (cert, broken, "no valid certificate"),
        (cert, "", "there is no certificate in it (PEM)"),
        (of_key, &key[..100], "the private key is cut off"),
        (of_key, header, "encrypted, give one that is not"),
        (of_key, &key.replace("PRIVATE", "ENCRYPTED PRIVATE"), "encrypted, give one that is not"),
        (of_key, &broken.replace("CERTIFICATE", "PRIVATE KEY"), "no valid private key"),
        (of_key, &other.issue().key, "private key does not match the certificate in --tls-cert"),
        (("--tls-ca", "ca.pem"), broken, "no valid certificate"),
    ];
    let files = ["--tls-cert", "{dir}/cert.pem", "--tls-key", "{dir}/key.pem"];
    let tail = [&["tail", "--tls-ca", "{dir}/ca.pem"], &files[..], &["127.0.0.1:1"]].concat();
    let wrap = [&files[..], &["--", "true"]].concat();
    for ((option, file), text, cause) in cases {
        for words in [&wrap, &tail].into_iter().filter(|words| words.contains(&option)) {
            let builder = Sidecar::command(words);
            authority.issue().write(&builder.path(""));
            fs::write(builder.path("ca.pem"), authority.pem()).unwrap();
            fs::write(builder.path("cert.pem"), &certificate).unwrap();
            fs::write(builder.path("key.pem"), &key).unwrap();
            fs::write(builder.path(file), text).unwrap();
            let line = expect_one_line(&builder.start().finish(), || true);
            expect_words(&line, &[&format!("{option}: '"), file, cause]);
        }
    }
}

#[test]
fn tail_reports_a_tls_mismatch() {
    let authority = Authority::new();
    for (tls, words) in [(true, &["tail"][..]), (false, &["tail", "--tls-ca", "{dir}/ca.pem"])] {
        let files = ["--tls-cert", "{dir}/cert.pem", "--tls-key", "{dir}/key.pem"];
        let serve = ["--ready-file", "{dir}/ready", "--", "cat"];
        let builder = Sidecar::command(&[if tls { &files[..] } else { &[] }, &serve].concat());
        authority.issue().write(&builder.path(""));
        let sidecar = builder.start();
        let address = format!("127.0.0.1:{}", sidecar.port());
        let client = Sidecar::command(&[words, &[&address]].concat());
        fs::write(client.path("ca.pem"), authority.pem()).unwrap();
        let line = expect_one_line(&client.start().finish(), || true);
        let cause = if tls { "does it speak TLS? (--tls-ca)" } else { "it does not speak TLS" };
        expect_words(&line, &[&address, cause]);
        sidecar.finish().expect_code(0);
    }
}

#[test]
fn the_page_of_metrics_is_no_sidecar() {
    let options = ["--ready-file", "{dir}/ready", "--export-prometheus", "127.0.0.1:0"];
    let sidecar = Sidecar::command(&[&options[..], &["--", "cat"]].concat()).start();
    let page = sidecar.ready_lines()[1].replace("prometheus ", "127.0.0.1:");
    let cause = "speaks HTTP/1, not gRPC (the page of --export-prometheus?): give an address of --listen";
    for words in [&["tail"][..], &["status"], &["top", "--once"]] {
        let finished = Sidecar::command(&[words, &[&page]].concat()).start().finish();
        let stderr = finished.expect_code(125).stderr();
        assert!(stderr.starts_with(&format!("telemetry-sidecar: {page}: {cause}")), "{stderr}");
    }
    sidecar.finish().expect_code(0);
}
