"""Connections of a relay: workers that come late, restart or are gone, unix sockets, TLS, keepalive."""

import time

import grpc
import pytest

from servers import free_ports
from test_security import certificates, tls  # noqa: F401 (the first is a fixture)
from upstream import Conversation, Upstream, unary
from waiting import TIMEOUT, wait_until

# More than the keepalive times below together, and not so long that it counts.
QUIET_SECONDS = 2


def failure_of(call, timeout=TIMEOUT):
    with pytest.raises(grpc.RpcError) as failure:
        call(b"", timeout=timeout)
    return failure.value.code(), failure.value.details()


def test_a_worker_that_does_not_serve_yet_is_waited_for(start):
    [port] = free_ports(1)
    sidecar = start(upstream=f"127.0.0.1:{port}", upstream_timeout="60s")
    call = unary(sidecar.channel(), "Echo").future(b"early", timeout=TIMEOUT)
    sidecar.status()  # answered meanwhile
    assert not call.done()
    with Upstream(f"127.0.0.1:{port}"):
        assert call.result() == b"early"


def test_a_worker_that_never_serves_is_unavailable(start):
    [port] = free_ports(1)
    sidecar = start(upstream=f"127.0.0.1:{port}", upstream_timeout="300ms")
    code, text = failure_of(unary(sidecar.channel(), "Echo"))
    assert code == grpc.StatusCode.UNAVAILABLE
    assert f"worker at 127.0.0.1:{port}: " in text
    # Telemetry needs no server of the worker.
    subscriber = sidecar.subscribe()
    sidecar.emit("python.call.start")
    assert subscriber.next()
    sidecar.end_worker()
    assert sidecar.wait() == 0


def test_a_worker_that_is_gone_is_unavailable_and_one_that_is_back_is_not(relay):
    sidecar, upstream = relay()
    channel = sidecar.channel()
    for _ in range(3):
        assert unary(channel, "Echo")(b"a", timeout=TIMEOUT) == b"a"
        upstream.stop()
        code, text = failure_of(unary(channel, "Echo"))
        assert code == grpc.StatusCode.UNAVAILABLE
        assert f"worker at {upstream.address}: " in text
        upstream.start()
    assert unary(channel, "Echo")(b"a", timeout=TIMEOUT) == b"a"


def test_calls_that_are_open_at_a_goaway_are_finished(relay):
    sidecar, upstream = relay()
    conversation = Conversation(sidecar.channel())
    assert conversation.ask(b"1") == b"re: 1"
    stopping = upstream.server.stop(TIMEOUT)
    assert conversation.ask(b"2") == b"re: 2"
    conversation.end()
    assert stopping.wait(TIMEOUT)


def test_no_call_is_lost_while_the_worker_replaces_its_connections(relay):
    options = [("grpc.max_connection_age_ms", 50), ("grpc.max_connection_age_grace_ms", TIMEOUT * 1000)]
    sidecar, upstream = relay(Upstream(options=options))
    channel = sidecar.channel()
    conversation = Conversation(channel)
    while len(upstream.peers) < 8:
        assert unary(channel, "Echo")(b"a", timeout=TIMEOUT) == b"a"
        assert conversation.ask(b"1") == b"re: 1"
    conversation.end()


def test_calls_beyond_the_workers_limit_of_streams_wait_their_turn(relay):
    sidecar, upstream = relay(Upstream(options=[("grpc.max_concurrent_streams", 2)]))
    channel = sidecar.channel()
    conversation = Conversation(channel)
    assert conversation.ask(b"1") == b"re: 1"
    waiting = unary(channel, "Wait").future(b"")
    wait_until("the call", lambda: upstream.calls == ["Wait"])

    queued = unary(channel, "Echo").future(b"queued", timeout=TIMEOUT)
    cancelled = unary(channel, "Echo").future(b"cancelled", timeout=TIMEOUT)
    code, _ = failure_of(unary(channel, "Echo"), timeout=0.2)
    assert code == grpc.StatusCode.DEADLINE_EXCEEDED
    cancelled.cancel()
    assert conversation.ask(b"2") == b"re: 2"
    assert not queued.done()
    waiting.cancel()
    assert queued.result() == b"queued"
    conversation.end()
    assert upstream.calls == ["Wait", "Echo"]


def test_keepalive_of_both_sides_passes_a_quiet_call(relay):
    pings = [("grpc.keepalive_time_ms", 200), ("grpc.keepalive_timeout_ms", 1000)]
    pings += [("grpc.keepalive_permit_without_calls", 1), ("grpc.http2.max_pings_without_data", 0)]
    sidecar, _ = relay(Upstream(options=pings))
    conversation = Conversation(sidecar.channel(options=pings))
    assert conversation.ask(b"1") == b"re: 1"
    time.sleep(QUIET_SECONDS)
    assert conversation.ask(b"2") == b"re: 2"
    conversation.end()


def test_unix_sockets_on_both_sides(relay, tmp_path):
    listener, worker = tmp_path / "sidecar", tmp_path / "worker"
    sidecar, upstream = relay(Upstream(f"unix:{worker}"), listen=f"unix:{listener}")
    channel = sidecar.channel()
    data = bytes(range(256)) * 10_000
    assert unary(channel, "Echo")(data, timeout=TIMEOUT) == data
    upstream.stop()
    code, text = failure_of(unary(channel, "Echo"))
    assert code == grpc.StatusCode.UNAVAILABLE
    assert f"worker at unix:{worker}: " in text


def test_tls_and_a_token_in_front_of_the_worker(relay, certificates):  # noqa: F811
    (certificates / "tokens").write_text("right")
    sidecar, upstream = relay(**tls(certificates), auth_token_file=str(certificates / "tokens"))
    trust = grpc.ssl_channel_credentials((certificates / "ca.pem").read_bytes())
    for token, code in (("wrong", grpc.StatusCode.UNAUTHENTICATED), ("right", None)):
        credentials = grpc.composite_channel_credentials(trust, grpc.access_token_call_credentials(token))
        sidecar.credentials = credentials
        channel = sidecar.channel()
        if code:
            assert failure_of(unary(channel, "Echo"))[0] == code
            assert not upstream.peers
        else:
            assert unary(channel, "Echo")(b"a", timeout=TIMEOUT) == b"a"
            conversation = Conversation(channel)
            assert conversation.ask(b"1") == b"re: 1"
            conversation.end()
