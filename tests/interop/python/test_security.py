"""TLS, client certificates and tokens, as grpcio has them. The certificates are made as docs/security.md makes them."""

import subprocess

import grpc
import pytest

from sidecar import ECHO
from subscriber import Subscriber, counts
from waiting import wait_until


def openssl(folder, *words):
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def certificates(tmp_path):
    """A folder with an authority's certificate, ca.pem, and a pair that it signed, cert.pem and key.pem."""
    names = "subjectAltName=DNS:localhost,IP:127.0.0.1"
    new = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=worker"]
    openssl(tmp_path, *new, "-x509", "-days", "30", "-keyout", "ca-key.pem", "-out", "ca.pem")
    openssl(tmp_path, *new, "-addext", names, "-keyout", "key.pem", "-out", "request.pem")
    sign = ["x509", "-req", "-in", "request.pem", "-copy_extensions", "copy", "-days", "30", "-out", "cert.pem"]
    openssl(tmp_path, *sign, "-CA", "ca.pem", "-CAkey", "ca-key.pem")
    return tmp_path


def tls(folder):
    """The options that serve a folder's certificate."""
    return {"tls_cert": str(folder / "cert.pem"), "tls_key": str(folder / "key.pem")}


def test_tls_and_a_valid_token_are_accepted(start, certificates):
    (certificates / "tokens").write_text("old\nnew\n")
    sidecar = start(ECHO, **tls(certificates), auth_token_file=str(certificates / "tokens"))
    trust = grpc.ssl_channel_credentials((certificates / "ca.pem").read_bytes())
    sidecar.credentials = grpc.composite_channel_credentials(trust, grpc.access_token_call_credentials("new"))
    subscriber = sidecar.subscribe()
    for number in range(100):
        sidecar.emit("tool.execution.stop", number)
    sidecar.end_worker()
    assert counts(subscriber.rest()) == list(range(100))
    assert sidecar.wait() == 0


def test_a_wrong_or_missing_token_is_unauthenticated(start, certificates):
    (certificates / "tokens").write_text("right")
    sidecar = start(ECHO, **tls(certificates), auth_token_file=str(certificates / "tokens"))
    trust = grpc.ssl_channel_credentials((certificates / "ca.pem").read_bytes())
    wrong = grpc.composite_channel_credentials(trust, grpc.access_token_call_credentials("wrong"))
    for credentials in (trust, wrong):
        sidecar.credentials = credentials
        call = Subscriber(sidecar.channel(), reads=False).call
        wait_until("the refusal", call.done)
        assert call.code() == grpc.StatusCode.UNAUTHENTICATED
    sidecar.end_worker()
    assert sidecar.wait() == 0


def test_a_client_certificate_is_accepted(start, certificates):
    client_ca = str(certificates / "ca.pem")
    sidecar = start(ECHO, **tls(certificates), tls_client_ca=client_ca)
    pem = [(certificates / name).read_bytes() for name in ("ca.pem", "key.pem", "cert.pem")]
    sidecar.credentials = grpc.ssl_channel_credentials(*pem)
    subscriber = sidecar.subscribe()
    sidecar.emit("tool.execution.stop", 1)
    assert counts([subscriber.next()]) == [1]
    sidecar.end_worker()
    assert subscriber.rest() == []
    assert sidecar.wait() == 0
