"""What a subscriber receives: headers at once, every event in order with its values, and an orderly end."""

import math
import time

import grpc

from sidecar import ECHO, exits, fixture, gated, steady
from subscriber import Subscriber, counts, filtering, measurements, name, names
from waiting import wait_until


def test_headers_come_before_any_event(start):
    sidecar = start()
    subscriber = sidecar.subscribe()  # returns with the headers
    assert sidecar.status().stream.events == 0
    sidecar.emit("python.call.start", 1)
    assert name(subscriber.next()) == "python.call.start"


def test_all_events_of_hello_arrive_in_order_with_their_values(start):
    before = time.time_ns()
    sidecar = start(gated(fixture("hello.sh")))
    subscriber = sidecar.subscribe()
    sidecar.go()
    events = subscriber.rest()

    assert sidecar.wait() == 0
    assert names(events) == [
        "tool.execution.start",
        "tool.execution.stop",
        "tool.execution.start",
        "tool.execution.stop",
        "tool.result_size",
    ]
    values = [measurements(event) for event in events]
    assert math.isnan(values.pop(3)["duration"])
    assert values == [{"count": 1}, {"duration": 1_500_000}, {"count": 2}, {"bytes": 14}]
    assert [dict(event.metadata) for event in events] == [
        {"tool": "greet"},
        {"tool": "greet"},
        {"tool": "divide"},
        {"tool": "divide"},
        {},
    ]
    assert [event.correlation_id for event in events] == ["hello-1", "hello-1", "hello-2", "hello-2", ""]
    # The worker states the first two times in whole seconds and leaves the others to the sidecar's clock.
    assert [event.timestamp_ns % 1_000_000_000 for event in events[:2]] == [0, 0]
    assert all(before <= event.timestamp_ns <= time.time_ns() for event in events[2:])
    assert sidecar.stderr().decode().splitlines() == [
        "hello: starting",
        "hello: greeted the world",
        "hello: warning: 0/0 is not a number",
        "hello: done",
    ]


def test_every_kind_of_value_keeps_its_type(start):
    sidecar = start()
    subscriber = sidecar.subscribe()
    sidecar.write(
        b'TELEMETRY:{"event": "a.b", "measurements": {"min": -9223372036854775808,'
        b' "max": 9223372036854775807, "beyond": 9223372036854775808, "true": true, "false": false,'
        b' "half": 0.5, "whole": 1.0, "infinity": Infinity, "less": -Infinity, "not_a_number": NaN, "text": "\\u00e9\\ud83d\\ude00",'
        b' "nothing": null, "list": [1, {"a": "b"}]}, "metadata": {"text": "x", "flag": true, "none": null,'
        b' "list": [1, 2]}, "timestamp_ns": 1698234567890123456, "correlation_id": "\\ud800"}\n'
    )
    event = subscriber.next()
    kinds = {key: value.WhichOneof("value") for key, value in event.measurements.items()}
    values = measurements(event)
    assert math.isnan(values.pop("not_a_number")) and kinds.pop("not_a_number") == "float_value"
    assert values == {
        "min": -(2**63),
        "max": 2**63 - 1,
        "beyond": 2.0**63,
        "true": 1,
        "false": 0,
        "half": 0.5,
        "whole": 1.0,
        "infinity": math.inf,
        "less": -math.inf,
        "text": "é😀",
        "nothing": None,
        "list": '[1, {"a": "b"}]',
    }
    assert {key for key, kind in kinds.items() if kind == "int_value"} == {"min", "max", "true", "false"}
    assert kinds["nothing"] is None and kinds["list"] == "string_value"
    assert dict(event.metadata) == {"text": "x", "flag": "true", "none": "null", "list": "[1, 2]"}
    assert event.timestamp_ns == 1698234567890123456
    assert event.correlation_id == "\ufffd"


def test_thousands_of_steady_events_arrive_in_order(start):
    sidecar = start(steady(5000, rate=2500))
    subscriber = sidecar.subscribe()
    sidecar.go()
    events = subscriber.rest()
    assert counts(events) == list(range(5000))
    assert [event.correlation_id for event in events] == [f"steady-{number}" for number in range(5000)]


def test_events_written_flat_out_arrive_in_order(start):
    sidecar = start(steady(20_000))
    subscriber = sidecar.subscribe()
    sidecar.go()
    assert counts(subscriber.rest()) == list(range(20_000))


def test_events_within_a_progress_bar_arrive(start):
    sidecar = start(gated(fixture("training.sh", 3)))
    subscriber = sidecar.subscribe()
    sidecar.go()
    assert names(subscriber.rest()) == ["tool.execution.start", "tool.execution.stop"] * 3


def test_spans_of_concurrent_threads_arrive_complete(start):
    sidecar = start(gated(fixture("spans.py", "--requests", 24)))
    subscriber = sidecar.subscribe()
    sidecar.go()
    events = subscriber.rest()
    assert len(events) == 24 * 8
    for number in range(24):
        trace = [event for event in events if event.correlation_id == f"request-{number}"]
        ending = "exception" if number % 4 == 3 else "stop"
        assert name(trace[0]) == "python.call.start"
        assert name(trace[-1]) == f"python.call.{ending}"


def test_an_event_of_the_maximum_message_size_arrives(start):
    sidecar = start()
    subscriber = sidecar.subscribe()
    text = "x" * (4 * 1024 * 1024 - 1000)
    sidecar.emit("tool.result_size", 1, text)
    assert subscriber.next().correlation_id == text


def test_two_subscribers_receive_the_same_events(start):
    sidecar = start(steady(500))
    subscribers = [sidecar.subscribe(), sidecar.subscribe()]
    sidecar.go()
    assert [counts(subscriber.rest()) for subscriber in subscribers] == [list(range(500))] * 2


def test_two_subscribers_may_share_a_connection(start):
    sidecar = start(steady(500))
    first = sidecar.subscribe()
    second = sidecar.subscribe(first.channel)
    sidecar.go()
    assert counts(first.rest()) == counts(second.rest()) == list(range(500))
    assert sidecar.wait() == 0


def test_a_subscriber_that_half_closes_at_once_receives_all_events(start):
    sidecar = start()
    subscriber = sidecar.subscribe(controls_end=True)
    for number in range(100):
        sidecar.emit("tool.execution.stop", number)
    assert counts(subscriber.take(100)) == list(range(100))
    sidecar.end_worker()
    assert subscriber.rest() == []


def test_a_subscriber_that_half_closes_later_keeps_its_controls(start):
    sidecar = start()
    subscriber = sidecar.subscribe()
    sidecar.control(subscriber, filtering(deny=["b"]))
    subscriber.close_controls()
    sidecar.emit_and_wait("a", "b", "c")
    assert names(subscriber.take(2)) == ["a", "c"]
    sidecar.end_worker()
    assert subscriber.rest() == []


def test_the_stream_ends_with_ok_and_trailers_and_the_exit_code_is_the_workers(start):
    sidecar = start(exits(3))
    subscriber = sidecar.subscribe()
    sidecar.emit("python.call.start")
    sidecar.end_worker()
    assert names(subscriber.rest()) == ["python.call.start"]
    assert subscriber.call.code() == grpc.StatusCode.OK
    assert subscriber.call.trailing_metadata() is not None
    assert sidecar.wait() == 3


def test_the_first_subscriber_receives_the_backlog(start):
    sidecar = start()
    for number in range(50):
        sidecar.emit("tool.execution.stop", number)
    wait_until("the events to wait", lambda: sidecar.status().backlog.waiting == 50)
    subscriber = sidecar.subscribe()
    sidecar.emit("tool.execution.stop", 50)
    assert counts(subscriber.take(51)) == list(range(51))
    backlog = sidecar.status().backlog
    assert (backlog.taken_in, backlog.handed_over, backlog.waiting) == (50, 50, 0)


def test_events_between_two_subscribers_wait_for_the_second(start):
    sidecar = start()
    first = sidecar.subscribe()
    sidecar.emit("tool.execution.stop", 0)
    assert counts([first.next()]) == [0]

    first.leave()
    wait_until("the first to have left", lambda: sidecar.status().departed_count == 1)
    for number in range(1, 10):
        sidecar.emit("tool.execution.stop", number)
    wait_until("the events to wait", lambda: sidecar.status().backlog.waiting == 9)

    second = sidecar.subscribe()
    assert counts(second.take(9)) == list(range(1, 10))
    assert sidecar.account(second).offered == 9


def test_a_subscriber_within_the_linger_time_receives_the_backlog(start):
    sidecar = start(fixture("hello.sh"), linger="60s")
    wait_until("the worker's end", sidecar.worker_has_ended)
    assert len(Subscriber(sidecar.channel()).rest()) == 5
    assert sidecar.wait() == 0


def test_the_backlog_keeps_the_newest_events_and_counts_the_others(start):
    for when_full in "drop-newest", "drop-oldest":
        sidecar = start(ECHO, queue_capacity="10", when_full=when_full)
        for number in range(25):
            sidecar.emit("tool.execution.stop", number)
        sidecar.wait_for_events(25)
        backlog = sidecar.status().backlog
        assert (backlog.taken_in, backlog.dropped, backlog.waiting) == (25, 15, 10)
        assert counts(sidecar.subscribe().take(10)) == list(range(15, 25))


def test_a_clients_deadline_ends_only_its_own_call(start):
    sidecar = start()
    subscriber = sidecar.subscribe(timeout=1)
    assert subscriber.call.code() == grpc.StatusCode.DEADLINE_EXCEEDED  # the client's own doing
    wait_until("it to have left", lambda: sidecar.status().departed_count == 1)
    sidecar.emit("python.call.start", 7)
    assert counts([sidecar.subscribe().next()]) == [7]
