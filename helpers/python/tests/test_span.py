"""Spans, in this process: their events are captured."""

import asyncio
import contextvars
import functools
import threading

import pytest

import telemetry_sidecar as telemetry
from telemetry_sidecar import capture, correlation, emit, span, timed


@pytest.fixture
def events():
    before = telemetry.dropped()
    with capture() as events:
        yield events
    assert telemetry.dropped() == before


def names(events):
    return [event.name for event in events]


def test_a_span_has_a_start_and_a_stop(events):
    with span("tool.execution", tool="predict") as run:
        run.measure(rows=200)
        run.note(cached=False)
    start, stop = events
    assert names(events) == ["tool.execution.start", "tool.execution.stop"]
    assert start.metadata == {"span_id": run.span_id, "tool": "predict"}
    assert stop.metadata == {"span_id": run.span_id, "tool": "predict", "cached": False}
    assert start.measurements == {"system_time": pytest.approx(start.timestamp_ns, abs=10**9)}
    assert stop.measurements == {"duration": stop.measurements["duration"], "rows": 200}
    assert 0 < stop.measurements["duration"] < 10**9
    assert start.correlation_id == stop.correlation_id == run.correlation_id
    assert (len(run.span_id), len(run.correlation_id)) == (16, 32)


def test_what_happens_within_a_span_belongs_to_it(events):
    with span("outer") as outer:
        with span("inner") as inner:
            emit("event")
        emit("other", correlation_id="of another trace")
    emit("after")
    by_name = {event.name: event for event in events}
    assert by_name["inner.start"].metadata == {"span_id": inner.span_id, "parent_span_id": outer.span_id}
    assert by_name["event"].metadata == {"span_id": inner.span_id}
    assert by_name["event"].correlation_id == inner.correlation_id == outer.correlation_id
    assert (by_name["other"].metadata, by_name["other"].correlation_id) == ({}, "of another trace")
    assert (by_name["after"].metadata, by_name["after"].correlation_id) == ({}, "")


@pytest.mark.parametrize("error", [ValueError("a bad\ud800 value"), KeyboardInterrupt(), SystemExit(0)])
def test_an_exception_ends_the_span_and_goes_on(events, error):
    with pytest.raises(type(error)) as raised:
        with span("work", tool="x"):
            raise error
    assert raised.value is error
    assert names(events) == ["work.start", "work.exception"]
    metadata = events[1].metadata
    assert (metadata["error_type"], metadata["error_message"]) == (type(error).__name__, str(error))
    assert metadata["traceback"].startswith("Traceback (most recent call last):")
    assert "duration" in events[1].measurements


def test_timed_prints_the_end_alone(events):
    with timed("a"):
        pass
    with pytest.raises(OSError), timed("b"):
        raise OSError
    assert names(events) == ["a.stop", "b.exception"]


def test_correlation_ids(events):
    with correlation("request-7"):
        assert telemetry.correlation_id() == "request-7"
        with span("a") as a:
            with correlation("request-8"), span("b") as b:
                pass
            with correlation("request-7"), span("c"):
                pass
        with span("d", correlation_id="request-9"):
            emit("e")
    starts = {event.name: event for event in events if not event.name.endswith("stop")}
    assert [starts[name].correlation_id for name in ("a.start", "b.start", "c.start", "d.start", "e")] == [
        "request-7",
        "request-8",
        "request-7",
        "request-9",
        "request-9",
    ]
    assert "parent_span_id" not in starts["b.start"].metadata and b.span_id != a.span_id
    assert starts["c.start"].metadata["parent_span_id"] == a.span_id
    assert "correlation_id" not in starts["d.start"].metadata
    assert telemetry.correlation_id() == ""


def test_decorators_keep_what_a_function_is(events):
    @span("f", kind="function")
    def function(a, b=2):
        """Adds."""
        emit("inside")
        return a + b

    @span
    def bare():
        return 1

    class Class:
        @span("method")
        def method(self):
            return self

        @span("static")
        @staticmethod
        def static(value):
            return value

        @span("class")
        @classmethod
        def make(cls):
            return cls

    assert (function(1), function.__name__, function.__doc__) == (3, "function", "Adds.")
    assert names(events) == ["f.start", "inside", "f.stop"]
    assert events[1].metadata["span_id"] == events[0].metadata["span_id"]
    thing = Class()
    assert (bare(), thing.method(), Class.static(3), thing.make()) == (1, thing, 3, Class)
    expected = [f"{__name__}.test_decorators_keep_what_a_function_is.bare", "method", "static", "class"]
    assert names(events)[3::2] == [f"{name}.start" for name in expected]
    assert span("x")(Class) is Class
    assert span("x")(5) == 5
    assert span("x")(functools.partial(function, 5))() == 7


def test_a_generator_is_within_its_span_and_its_caller_is_not(events):
    @span("numbers")
    def numbers():
        with span("inner"):
            received = yield 1
        try:
            yield received
        except KeyError:
            yield "handled"
        return "result"

    def outer():
        return (yield from numbers())

    items = outer()
    assert next(items) == 1
    emit("between")
    assert items.send("sent") == "sent"
    assert items.throw(KeyError()) == "handled"
    with pytest.raises(StopIteration) as stop:
        next(items)
    assert stop.value.value == "result"
    assert names(events) == ["numbers.start", "inner.start", "between", "inner.stop", "numbers.stop"]
    assert events[2].metadata == {}
    assert events[1].metadata["parent_span_id"] == events[0].metadata["span_id"]


def test_a_generator_that_is_not_exhausted_has_not_failed(events):
    closed = []

    @span("numbers")
    def numbers():
        try:
            yield 1
            yield 2
        finally:
            closed.append(True)

    for _ in numbers():
        break
    assert (names(events), closed) == (["numbers.start", "numbers.stop"], [True])
    with pytest.raises(ValueError):
        numbers_that_fail = span("bad")(lambda: (int("x") for _ in range(1)))
        list(numbers_that_fail())


def test_coroutines_and_tasks(events):
    @span("task")
    async def task(number):
        await asyncio.sleep(0)
        emit(f"in.{number}")
        return number

    @span("items")
    async def items():
        try:
            yield 1
            await asyncio.sleep(0)
            yield 2
        finally:
            emit("cleaned")

    async def main():
        assert asyncio.iscoroutinefunction(task)
        with span("main") as run:
            assert await asyncio.gather(*[task(number) for number in range(3)]) == [0, 1, 2]
            assert [item async for item in items()] == [1, 2]
            unfinished = items()
            assert await unfinished.__anext__() == 1
            await unfinished.aclose()
            cancelled = asyncio.ensure_future(span("sleep")(asyncio.sleep)(60))
            await asyncio.sleep(0)
            cancelled.cancel()
            with pytest.raises(asyncio.CancelledError):
                await cancelled
        return run

    run = asyncio.run(main())
    starts = {event.metadata["span_id"]: event for event in events if event.name.endswith(".start")}
    for event in starts.values():
        assert event.metadata.get("parent_span_id") == (None if event.name == "main.start" else run.span_id)
    for number in range(3):
        (inside,) = [event for event in events if event.name == f"in.{number}"]
        assert starts[inside.metadata["span_id"]].name == "task.start"
    assert names(events).count("items.stop") == names(events).count("cleaned") == 2
    assert names(events)[-2:] == ["sleep.exception", "main.stop"]
    assert len({event.correlation_id for event in events}) == 1


def test_one_span_can_be_open_several_times_at_once(events):
    shared = span("shared")
    barrier = threading.Barrier(4)

    def work(number):
        with shared as run, shared as again:
            barrier.wait()
            run.measure(number=number)
            again.measure(number=-number)
            barrier.wait()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stops = [event for event in events if event.name == "shared.stop"]
    assert sorted(stop.measurements["number"] for stop in stops) == [-4, -3, -2, -1, 1, 2, 3, 4]
    parents = {stop.metadata["span_id"]: stop.metadata.get("parent_span_id") for stop in stops}
    by_number = {stop.measurements["number"]: stop.metadata["span_id"] for stop in stops}
    assert all(parents[by_number[-number]] == by_number[number] for number in range(1, 5))


def test_spans_that_end_in_another_order(events):
    first, second = span("first"), span("second")
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    second.__exit__(None, None, None)
    emit("after")
    first.__exit__(None, None, None)
    assert names(events) == ["first.start", "second.start", "first.stop", "second.stop", "after"]
    assert events[-1].metadata == {}


def test_a_span_that_ends_in_another_context(events):
    shared = span("shared")
    contexts = contextvars.copy_context(), contextvars.copy_context()
    contexts[0].run(shared.__enter__)
    shared.__exit__(None, None, None)
    assert names(events) == ["shared.start", "shared.stop"]
    # Of two open ones nothing says which has ended.
    for context in contexts:
        context.run(shared.__enter__)
    shared.__exit__(None, None, None)
    for context in contexts:
        context.run(shared.__exit__, None, None, None)
    assert names(events)[2:] == ["shared.start"] * 2 + ["shared.stop"] * 2


def test_without_a_sidecar_nothing_is_made():
    telemetry.enable(False)
    try:
        assert not telemetry.enabled()
        with span("x") as run:
            run.measure(a=1)
            run.note(b=2)
        assert (run.span_id, run.correlation_id, telemetry.correlation_id()) == ("", "", "")
        assert span("x")(lambda: 5)() == 5
        assert list(span("x")(lambda: (yield 1))()) == [1]
    finally:
        telemetry.enable(None)


def test_it_may_be_switched_while_a_span_is_open(events):
    telemetry.enable(False)
    with span("a"):
        telemetry.enable(True)
    with span("b"):
        telemetry.enable(False)
    telemetry.enable(True)
    assert names(events) == ["b.start"]
