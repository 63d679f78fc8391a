"""What goes over the wire, seen without a gRPC library in between."""

import time

from raw_http2 import RawSubscriber
from sidecar import exits, steady
from subscriber import counts, filtering, names
from waiting import wait_until


def test_response_headers_are_those_of_grpc_without_compression(start):
    sidecar = start()
    accepted = [("grpc-accept-encoding", "identity,deflate,gzip"), ("accept-encoding", "gzip")]
    with RawSubscriber(sidecar.port, headers=accepted) as subscriber:
        headers = subscriber.read_headers()
        assert headers[":status"] == "200"
        assert headers["content-type"] == "application/grpc"
        assert "grpc-encoding" not in headers and "content-encoding" not in headers
        for number in range(100):
            sidecar.emit("tool.result_size", number, metadata={"padding": "x" * 1000})
        sidecar.end_worker()
        assert counts(subscriber.read_to_trailers()) == list(range(100))
        assert not any(compressed for compressed, _ in subscriber.messages())


def test_the_end_is_trailers_then_goaway_then_a_closed_connection(start):
    sidecar = start(exits(4))
    with RawSubscriber(sidecar.port) as subscriber:
        subscriber.read_headers()
        sidecar.emit("python.call.start")
        sidecar.end_worker()
        assert names(subscriber.read_to_trailers()) == ["python.call.start"]
        assert subscriber.trailers["grpc-status"] == "0"
        subscriber.read_to_end()
        assert subscriber.saw_goaway
    assert sidecar.wait() == 4


def test_a_deadline_does_not_end_the_stream(start):
    sidecar = start(steady(31, rate=10))
    with RawSubscriber(sidecar.port, headers=[("grpc-timeout", "1S")]) as subscriber:
        opened = time.time_ns()
        subscriber.read_headers()
        sidecar.go()
        events = subscriber.read_to_trailers()
    assert counts(events) == list(range(31))
    assert events[-1].timestamp_ns - opened >= 3_000_000_000
    assert subscriber.trailers["grpc-status"] == "0"


def test_an_expired_deadline_does_not_end_the_stream(start):
    sidecar = start()
    with RawSubscriber(sidecar.port, headers=[("grpc-timeout", "1n")]) as subscriber:
        subscriber.read_headers()
        sidecar.emit("python.call.start")
        sidecar.end_worker()
        assert names(subscriber.read_to_trailers()) == ["python.call.start"]
    assert subscriber.trailers["grpc-status"] == "0"


def test_a_reader_that_resumes_after_the_worker_exits_receives_all_queued_events(start):
    # Some 5 MB: more than the sockets between the two hold.
    sidecar = start(steady(1000, size=5000), drain_timeout="30s")
    with RawSubscriber(sidecar.port, receive_buffer_bytes=65536) as subscriber:
        subscriber.read_headers()
        wait_until("the subscription", lambda: len(sidecar.status().subscribers) == 1)
        sidecar.go()
        wait_until("the worker's end", sidecar.worker_has_ended)
        sidecar.wait_for_events(1000)  # the last may still have been in the pipe
        [account] = sidecar.status().subscribers
        assert account.offered == 1000 and account.queued > 0
        assert counts(subscriber.read_to_trailers()) == list(range(1000))
        subscriber.read_to_end()
    assert subscriber.trailers["grpc-status"] == "0"
    assert sidecar.wait() == 0


def test_a_reader_with_small_windows_receives_all_queued_events(start):
    sidecar = start(steady(200, size=5000), drain_timeout="30s")
    with RawSubscriber(sidecar.port, window_bytes=1000) as subscriber:
        subscriber.read_headers()
        sidecar.go()
        wait_until("the worker's end", sidecar.worker_has_ended)
        assert counts(subscriber.read_to_trailers()) == list(range(200))
        subscriber.read_to_end()
    assert sidecar.wait() == 0


def test_data_from_a_late_reader_does_not_reset_its_connection(start):
    # More than this end's socket holds, but not more than both: the sidecar is done before anything is read, and
    # a system that resets the connection loses the rest.
    sidecar = start(steady(100, size=4000), drain_timeout="30s")
    with RawSubscriber(sidecar.port, receive_buffer_bytes=4096) as subscriber:
        subscriber.read_headers()
        sidecar.go()
        wait_until("everything to be sent", lambda: not sidecar.is_listening())
        subscriber.ping(1000)
        assert counts(subscriber.read_to_trailers()) == list(range(100))
        subscriber.read_to_end()
    assert subscriber.trailers["grpc-status"] == "0"
    assert sidecar.wait() == 0


def test_data_sent_until_the_end_does_not_reset_the_connection(start):
    # With whatever says that the sidecar may close come more bytes than it reads at a time.
    sidecar = start(exits(4), drain_timeout="30s")
    with RawSubscriber(sidecar.port) as subscriber:
        subscriber.read_headers()
        sidecar.emit("python.call.start")
        sidecar.end_worker()
        subscriber.pings_per_read = 10_000
        assert names(subscriber.read_to_trailers()) == ["python.call.start"]
        subscriber.read_to_end()
    assert sidecar.wait() == 4


def controls_applied(sidecar):
    """The number for each subscriber. A subscription begins with its first control."""
    return [subscriber.controls_applied for subscriber in sidecar.status().subscribers]


def test_a_control_may_be_split_over_frames(start):
    sidecar = start()
    with RawSubscriber(sidecar.port) as subscriber:
        subscriber.read_headers()
        subscriber.send_in_pieces(filtering(deny=["b"]))
        wait_until("the control", lambda: controls_applied(sidecar) == [1])
        sidecar.emit_and_wait("a", "b", "c")
        sidecar.end_worker()
        assert names(subscriber.read_to_trailers()) == ["a", "c"]


def test_two_controls_may_share_a_frame(start):
    sidecar = start()
    with RawSubscriber(sidecar.port) as subscriber:
        subscriber.read_headers()
        subscriber.send(filtering(deny=["a"]), filtering(deny=["b"]))
        wait_until("the controls", lambda: controls_applied(sidecar) == [2])
        sidecar.emit_and_wait("a", "b", "c")
        sidecar.end_worker()
        assert names(subscriber.read_to_trailers()) == ["a", "c"]


def test_a_broken_connection_unsubscribes(start):
    sidecar = start()
    with RawSubscriber(sidecar.port) as subscriber:
        subscriber.read_headers()
        wait_until("the subscription", lambda: len(sidecar.status().subscribers) == 1)
    wait_until("it to have left", lambda: sidecar.status().departed_count == 1)
    assert not sidecar.status().subscribers


def test_an_unknown_method_of_the_same_service_is_unimplemented(start):
    sidecar = start()
    with RawSubscriber(sidecar.port, path="/snakepit.bridge.BridgeService/Ping") as call:
        call.read_to_trailers()
    assert call.trailers[":status"] == "200"
    assert call.trailers["grpc-status"] == "12"
