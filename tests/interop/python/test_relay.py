"""Calls of grpcio through the sidecar to a worker's own server: what either side sends, the other gets."""

import os
from pathlib import Path

import grpc
import pytest

from upstream import DETAILS, UNLIMITED, Conversation, Upstream, path, unary
from waiting import TIMEOUT, wait_until

MEGABYTE = 1_000_000
# What a message of 100 MB on its way may add to the sidecar's memory.
MEMORY_BYTES = 32 * MEGABYTE


def test_all_kinds_of_calls(relay):
    channel = relay()[0].channel()
    assert unary(channel, "Echo")(b"", timeout=TIMEOUT) == b""
    assert unary(channel, "Echo")(b"\0\xff", timeout=TIMEOUT) == b"\0\xff"
    counted = channel.unary_stream(path("Count"))(b"1000", timeout=TIMEOUT)
    assert list(counted) == [str(number).encode() for number in range(1000)]
    assert list(channel.unary_stream(path("Count"))(b"0", timeout=TIMEOUT)) == []
    numbers = [str(number).encode() for number in range(1000)]
    assert channel.stream_unary(path("Join"))(iter(numbers), timeout=TIMEOUT) == b",".join(numbers)
    assert channel.stream_unary(path("Join"))(iter([]), timeout=TIMEOUT) == b""


def test_either_side_of_a_call_may_wait_for_the_other(relay):
    conversation = Conversation(relay()[0].channel())
    for number in range(200):
        assert conversation.ask(b"%d" % number) == b"re: %d" % number
    conversation.end()


def test_thousands_of_calls(relay):
    sidecar, _ = relay()
    channels = [sidecar.channel() for _ in range(4)]
    for _ in range(5):
        # grpcio's server rejects calls at random while a thousand or more wait.
        requests = [b"%d" % number for number in range(500)]
        echoes = [unary(channels[len(request)], "Echo") for request in requests]
        calls = [echo.future(request, timeout=TIMEOUT) for echo, request in zip(echoes, requests)]
        assert [call.result() for call in calls] == requests


def test_hundreds_of_open_streams_on_one_connection(relay):
    sidecar, _ = relay(Upstream(threads=300))
    channel = sidecar.channel()
    conversations = [Conversation(channel) for _ in range(300)]
    for question in (b"1", b"2"):
        assert {conversation.ask(question) for conversation in conversations} == {b"re: " + question}
    for conversation in conversations:
        conversation.end()


def test_metadata_of_both_directions(relay):
    sidecar, upstream = relay()
    sent = [("x-text", "one, two"), ("x-again", "1"), ("x-again", "2"), ("x-bytes-bin", bytes(range(256)))]
    response, call = unary(sidecar.channel(), "Echo").with_call(b"hello", metadata=sent, timeout=TIMEOUT)
    assert response == b"hello"
    for received in (upstream.metadata["Echo"], call.initial_metadata(), call.trailing_metadata()):
        assert sorted(pair for pair in received if pair[0].startswith("x-")) == sorted(sent)
    agents = [value for name, value in upstream.metadata["Echo"] if name == "user-agent"]
    assert len(agents) == 1 and agents[0].startswith("grpc-python/")


def test_large_metadata(relay):
    options = [("grpc.max_metadata_size", MEGABYTE), ("grpc.absolute_max_metadata_size", MEGABYTE)]
    channel = relay(Upstream(options=options))[0].channel(options=options)
    sent = ("x-large", "a" * 200_000)
    _, call = unary(channel, "Echo").with_call(b"", metadata=[sent], timeout=TIMEOUT)
    assert sent in [tuple(pair) for pair in call.initial_metadata()]
    assert sent in [tuple(pair) for pair in call.trailing_metadata()]


@pytest.mark.parametrize("text", ["", "100 % of a naïve\nmessage 🦀"])
def test_status_message_and_details(relay, text):
    with pytest.raises(grpc.RpcError) as failure:
        unary(relay()[0].channel(), "Fail")(text.encode(), timeout=TIMEOUT)
    assert failure.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert failure.value.details() == text
    trailers = dict(failure.value.trailing_metadata())
    assert trailers["grpc-status-details-bin"] == DETAILS
    assert trailers["x-why"] == "asked"


def test_an_error_in_the_middle_of_a_stream(relay):
    messages = relay()[0].channel().unary_stream(path("Break"))(b"", timeout=TIMEOUT)
    assert next(messages) == b"first"
    with pytest.raises(grpc.RpcError):
        next(messages)
    assert (messages.code(), messages.details()) == (grpc.StatusCode.DATA_LOSS, "in the middle")


def test_an_unknown_method_is_the_workers_to_refuse(relay):
    with pytest.raises(grpc.RpcError) as failure:
        unary(relay()[0].channel(), "Unknown")(b"", timeout=TIMEOUT)
    assert failure.value.code() == grpc.StatusCode.UNIMPLEMENTED
    assert failure.value.details() == "Method not found!"  # in grpcio's words


def test_a_worker_may_answer_without_reading_the_request(relay):
    channel = relay()[0].channel(options=UNLIMITED)
    requests = (bytes(MEGABYTE) for _ in range(1000))
    with pytest.raises(grpc.RpcError) as failure:
        channel.stream_unary(path("Unknown"))(requests, timeout=TIMEOUT)
    assert failure.value.code() == grpc.StatusCode.UNIMPLEMENTED
    assert next(requests, None), "all of it was sent"
    assert unary(channel, "Echo")(b"a", timeout=TIMEOUT) == b"a"


def test_the_deadline_reaches_the_worker(relay):
    sidecar, upstream = relay()
    channel = sidecar.channel()
    remaining = float(unary(channel, "TimeRemaining")(b"", timeout=1000))
    assert 1000 - TIMEOUT < remaining < 1020  # grpcio sends it with three digits, rounded up
    with pytest.raises(grpc.RpcError) as failure:
        unary(channel, "Wait")(b"", timeout=0.3)
    assert failure.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert upstream.ended.get(timeout=TIMEOUT) == "Wait"


def test_a_client_that_cancels_cancels_the_workers_side(relay):
    sidecar, upstream = relay()
    waiting = unary(sidecar.channel(), "Wait").future(b"")
    wait_until("the call", lambda: "Wait" in upstream.calls)
    waiting.cancel()
    assert upstream.ended.get(timeout=TIMEOUT) == "Wait"

    conversation = Conversation(sidecar.channel())
    assert conversation.ask(b"a") == b"re: a"
    conversation.call.cancel()
    assert upstream.ended.get(timeout=TIMEOUT) == "Chat"


def test_a_client_that_disappears_cancels_the_workers_side(relay):
    sidecar, upstream = relay()
    channel = sidecar.channel()
    calls = [unary(channel, "Wait").future(b"") for _ in range(5)]
    wait_until("the calls", lambda: upstream.calls == ["Wait"] * len(calls))
    channel.close()
    assert [upstream.ended.get(timeout=TIMEOUT) for _ in calls] == ["Wait"] * len(calls)


def test_a_worker_that_cancels_ends_the_clients_call(relay):
    sidecar, upstream = relay()
    waiting = unary(sidecar.channel(), "Wait").future(b"")
    wait_until("the call", lambda: "Wait" in upstream.calls)
    upstream.stop()
    # The same as without the sidecar.
    assert waiting.exception(TIMEOUT).code() in (grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE)


def peak_memory(sidecar):
    """The most memory that the sidecar ever used."""
    status = Path(f"/proc/{sidecar.process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def test_messages_of_100_megabytes_pass_without_being_held(relay):
    sidecar, _ = relay()
    channel = sidecar.channel(options=UNLIMITED)
    before = peak_memory(sidecar)
    data = os.urandom(MEGABYTE) * 100
    assert unary(channel, "Echo")(data, timeout=TIMEOUT) == data
    assert peak_memory(sidecar) - before < MEMORY_BYTES


def test_a_client_that_does_not_read_makes_the_worker_wait(relay):
    sidecar, upstream = relay()
    before = peak_memory(sidecar)
    flood = sidecar.channel().unary_stream(path("Flood"))(b"")
    assert len(next(flood)) == 65536
    # Other calls pass meanwhile, on the same connection to the worker.
    channel = sidecar.channel()
    produced = -1
    while produced != upstream.produced:
        produced = upstream.produced
        for _ in range(200):
            assert unary(channel, "Echo")(b"a", timeout=TIMEOUT) == b"a"
    assert upstream.produced * 65536 < 64 * MEGABYTE
    assert peak_memory(sidecar) - before < MEMORY_BYTES
    # It goes on where it was.
    for _ in range(2 * produced):
        next(flood)
    flood.cancel()
    assert upstream.ended.get(timeout=TIMEOUT) == "Flood"
