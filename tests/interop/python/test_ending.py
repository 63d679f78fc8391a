"""How it ends: with the worker, with the worker's status, and no later for what clients do."""

import contextlib
import queue
import signal
import socket
import time

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from raw_http2 import RawSubscriber
from sidecar import exits, fixture, gated, python
from subscriber import name, names
from waiting import wait_until

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

# What a busy machine may add.
MARGIN_SECONDS = 20

# Says when it listens for signals; exits with 7 on SIGTERM.
TERMINABLE = python(
    """
import os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: os._exit(7))
os.write(2, b'TELEMETRY:{"event": "ready"}\\n')
while True: signal.pause()
"""
)


def seconds_until_exit(sidecar):
    """Ends the worker, if it still runs, and says how long the sidecar takes to follow."""
    sidecar.end_worker()
    started = time.monotonic()
    sidecar.wait()
    return time.monotonic() - started


@contextlib.contextmanager
def health_watch(sidecar, channel=None):
    """An open Watch that has said SERVING."""
    watch = health_pb2_grpc.HealthStub(channel or sidecar.channel()).Watch(health_pb2.HealthCheckRequest())
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    yield watch


@contextlib.contextmanager
def reflection_stream(sidecar):
    """A stream with one question answered, and a client that may ask another."""
    questions = queue.SimpleQueue()
    questions.put(reflection_pb2.ServerReflectionRequest(list_services=""))
    stub = reflection_pb2_grpc.ServerReflectionStub(sidecar.channel())
    answers = stub.ServerReflectionInfo(iter(questions.get, None))
    assert next(answers).HasField("list_services_response")
    yield
    questions.put(None)


@contextlib.contextmanager
def silent_connection(sidecar, sent=b""):
    with socket.create_connection(("127.0.0.1", sidecar.port)) as connection:
        connection.sendall(sent)
        yield


def half_a_preface(sidecar):
    return silent_connection(sidecar, PREFACE[: len(PREFACE) // 2])


def not_even_http(sidecar):
    return silent_connection(sidecar, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")


def half_a_request(sidecar):
    """A HEADERS frame that promises more than it has."""
    empty_settings = bytes(3) + b"\4" + bytes(5)
    return silent_connection(sidecar, PREFACE + empty_settings + b"\0\0\x40\1\0\0\0\0\1")


IDLERS = [health_watch, reflection_stream, silent_connection, half_a_preface, not_even_http, half_a_request]


@pytest.mark.parametrize("idler", IDLERS)
def test_a_client_without_telemetry_does_not_delay_the_exit(start, idler):
    sidecar = start(exits(5), drain_timeout="200s")
    sidecar.status()
    with idler(sidecar):
        assert seconds_until_exit(sidecar) < MARGIN_SECONDS
    assert sidecar.process.returncode == 5


@pytest.mark.parametrize("idler", IDLERS)
def test_a_client_without_telemetry_does_not_cost_a_subscriber_events(start, idler):
    sidecar = start(exits(5), drain_timeout="200s")
    with idler(sidecar):
        subscriber = sidecar.subscribe()
        for number in range(100):
            sidecar.emit("tool.execution.stop", number)
        assert seconds_until_exit(sidecar) < MARGIN_SECONDS
        assert len(subscriber.rest()) == 100
    assert sidecar.process.returncode == 5


def test_a_health_watch_on_a_subscribers_connection_does_not_delay_the_exit(start):
    sidecar = start(exits(5), drain_timeout="200s")
    subscriber = sidecar.subscribe()
    with health_watch(sidecar, subscriber.channel):
        sidecar.emit("python.call.start")
        assert seconds_until_exit(sidecar) < MARGIN_SECONDS
        assert names(subscriber.rest()) == ["python.call.start"]
    assert sidecar.process.returncode == 5


def test_without_clients_the_sidecar_exits_with_the_worker(start):
    sidecar = start(exits(6), drain_timeout="200s")
    sidecar.emit("python.call.start")
    assert seconds_until_exit(sidecar) < MARGIN_SECONDS
    assert sidecar.process.returncode == 6


def fill(sidecar):
    """Events of some 5 MB, more than a client that does not read has room for."""
    for number in range(1000):
        sidecar.emit("tool.execution.stop", number, metadata={"padding": "x" * 5000})


def test_a_subscriber_that_never_reads_delays_the_exit_by_the_drain_timeout_at_most(start):
    sidecar = start(exits(5), drain_timeout="1s")
    sidecar.subscribe(reads=False)
    fill(sidecar)
    assert seconds_until_exit(sidecar) < 1 + MARGIN_SECONDS
    assert sidecar.process.returncode == 5


def test_a_socket_that_is_never_read_delays_the_exit_by_the_drain_timeout_at_most(start):
    sidecar = start(exits(5), drain_timeout="1s")
    with RawSubscriber(sidecar.port, receive_buffer_bytes=65536):
        wait_until("the subscription", lambda: sidecar.status().subscribers)
        fill(sidecar)
        assert seconds_until_exit(sidecar) < 1 + MARGIN_SECONDS
    assert sidecar.process.returncode == 5


def test_a_subscriber_that_never_closes_delays_the_exit_by_the_drain_timeout_at_most(start):
    sidecar = start(exits(5), drain_timeout="1s")
    with RawSubscriber(sidecar.port) as subscriber:
        subscriber.read_headers()
        sidecar.emit("python.call.start")
        sidecar.end_worker()
        assert names(subscriber.read_to_trailers()) == ["python.call.start"]
        assert seconds_until_exit(sidecar) < 1 + MARGIN_SECONDS
    assert sidecar.process.returncode == 5


def test_a_subscriber_that_never_reads_does_not_cost_another_its_events(start):
    sidecar = start(exits(5), drain_timeout="1s")
    sidecar.subscribe(reads=False)
    other = sidecar.subscribe()
    fill(sidecar)
    wait_until("the other to have everything", lambda: sidecar.account(other).delivered == 1000)
    sidecar.end_worker()
    assert len(other.rest()) == 1000
    assert sidecar.wait() == 5


def test_the_counters_balance_and_can_be_read_while_draining(start):
    sidecar = start(exits(5), drain_timeout="200s")
    subscriber = sidecar.subscribe(reads=False)
    fill(sidecar)
    sidecar.end_worker()
    wait_until("the worker's end", sidecar.worker_has_ended)
    sidecar.wait_for_events(1000)  # the last may still have been in the pipe
    account = sidecar.account(subscriber)
    assert account.offered == 1000 and account.queued > 0
    subscriber.leave()
    assert sidecar.wait() == 5


def test_sigterm_reaches_the_worker_and_the_exit_code_is_the_workers(start):
    sidecar = start(TERMINABLE)
    subscriber = sidecar.subscribe()
    assert name(subscriber.next()) == "ready"
    sidecar.process.send_signal(signal.SIGTERM)
    assert sidecar.wait() == 7
    assert subscriber.rest() == []


@pytest.mark.parametrize("deadly", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_the_sidecar_dies_by_the_signal_that_killed_the_worker(start, deadly):
    sidecar = start()  # cat, which leaves signals alone
    subscriber = sidecar.subscribe()
    sidecar.emit("ready")
    assert name(subscriber.next()) == "ready"
    sidecar.process.send_signal(deadly)
    assert sidecar.wait() == -deadly
    assert subscriber.rest() == []


def test_sigkill_of_the_worker_is_reported_as_sigkill(start):
    sidecar = start(gated(python("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")))
    subscriber = sidecar.subscribe()
    sidecar.go()
    assert subscriber.rest() == []
    assert sidecar.wait() == -signal.SIGKILL


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_while_draining_exits_with_the_workers_status(start, ending):
    sidecar = start(exits(5), drain_timeout="200s")
    sidecar.subscribe(reads=False)
    fill(sidecar)
    sidecar.end_worker()
    wait_until("the worker's end", sidecar.worker_has_ended)
    sidecar.process.send_signal(ending)
    assert sidecar.process.wait(MARGIN_SECONDS) == 5


def test_the_workers_stdout_is_not_touched(start):
    sidecar = start(gated(fixture("hello.sh")))
    sidecar.go()
    assert sidecar.wait() == 0
    assert (sidecar.folder / "stdout").read_text() == "Hello, world.\nGoodbye.\n"


def test_a_health_watch_ends_as_unavailable(start):
    sidecar = start()
    with health_watch(sidecar) as watch:
        sidecar.end_worker()
        assert sidecar.wait() == 0
        with pytest.raises(grpc.RpcError):
            next(watch)
        assert watch.code() == grpc.StatusCode.UNAVAILABLE
