"""A pool in which only `python_executable` differs: calls, Heartbeats and telemetry, and the worker's end."""

import signal
import time
from pathlib import Path

import pytest

from subscriber import filtering, measurements, names
from waiting import wait_until

# A pool gives StreamTelemetry a deadline of 5 s and goes on reading.
HELD_SECONDS = 8
UNAVAILABLE = 14


def numbers(events, via):
    """The numbers of the events that the worker emitted in this way."""
    return [measurements(event)["count"] for event in events if event.metadata["via"] == via]


def test_calls_and_telemetry_of_two_workers_outlast_the_deadline(pool):
    process, thread = workers = pool("--profile=process"), pool("--profile=thread")
    for worker in workers:
        worker.start()
        worker.open_telemetry()
    until, number = time.monotonic() + HELD_SECONDS, 0
    while time.monotonic() < until:
        process.tool("emit", number=number)
        for worker in workers:
            worker.tool("print", number=number)
            assert worker.tool("echo", data=b"\0\xff" * 100) == b"\0\xff" * 100
            assert [chunk.chunk_id for chunk in worker.stream(20)] == [str(at) for at in range(20)]
        number += 1
        expected = list(range(number))
        for worker, via in ((process, "grpc"), (process, "stderr"), (thread, "stderr")):
            wait_until(f"what came by {via}", lambda: numbers(worker.events, via) == expected)
        time.sleep(0.2)

    # The pool's deadline must not reach the worker, whose server would honour it.
    assert process.state()["telemetry"]["streams"] == [{"deadline": None, "open": 1}]
    # The one ends its telemetry stream and exits at SIGTERM, the other is killed by it.
    for worker, status in ((process, 0), (thread, -signal.SIGTERM)):
        assert None not in worker.heartbeats
        assert worker.telemetry_end is None
        assert worker.stop() == status
        assert worker.telemetry_end == "OK"
        assert worker.output == b""


def test_a_pools_controls_apply_to_both_kinds_of_events(pool):
    worker = pool().start()
    worker.open_telemetry()
    worker.control(filtering(deny=["python.*"]))
    worker.control(filtering())
    for number in range(3):
        worker.tool("emit", number=number)
        worker.tool("print", number=number)
    for via in ("grpc", "stderr"):
        wait_until("all events", lambda: numbers(worker.events, via) == [0, 1, 2])
    assert set(names(worker.events)) == {"python.call.stop"}
    # They stay with the sidecar: the worker's own stream has only been switched on.
    assert worker.state()["telemetry"]["controls"] == 1
    assert worker.stop() == 0


def test_the_workers_own_stream_is_opened_again_when_it_ends(pool):
    worker = pool().start()
    worker.open_telemetry()
    for number in range(3):
        wait_until("another stream", lambda: len(worker.state()["telemetry"]["streams"]) == number + 1)
        worker.tool("emit", number=number)
        wait_until("the event", lambda: numbers(worker.events, "grpc") == list(range(number + 1)))
        worker.tool("end_stream")
    assert {stream["open"] for stream in worker.state()["telemetry"]["streams"]} == {1}
    assert worker.stop() == 0
    assert worker.telemetry_end == "OK"


def test_the_worker_sees_what_the_pool_gave_it(pool):
    worker = pool("--profile=thread").start()
    seen = worker.state()
    given = worker.given_environment
    assert seen["arguments"] == ["--profile=thread", *worker.appended]
    assert seen["group"] == worker.process.pid != seen["pid"]
    private = Path(seen["environment"].pop("SNAKEPIT_READY_FILE"))
    assert private != worker.ready_file and not private.exists()
    # The sidecar leads the group instead.
    assert seen["environment"] == given | {"SNAKEPIT_PROCESS_GROUP": "0"}
    # Neither the pool's file nor the sidecar's is there any more.
    assert [path.name for path in worker.folder.iterdir()] == [Path(worker.executable).name]
    assert worker.stop() == -signal.SIGTERM


def test_a_child_of_the_worker_may_use_the_same_interpreter(pool):
    worker = pool("--profile=thread").start()
    assert worker.tool("python", script="print(6 * 7)") == b"42\n"
    assert worker.tool("echo", data=b"a") == b"a"
    assert worker.stop() == -signal.SIGTERM


def test_output_passes_unchanged(pool):
    worker = pool("--profile=thread").start()
    written = [(1, b"out\r\n\0\xff"), (2, b"\xfe\0 50%\r"), (2, b"TELEMETRY:{}\n")]
    written += [(1, b"no newline"), (2, b"TELEM")]
    for descriptor, data in written:
        before = len(worker.output)
        worker.tool("write", descriptor=descriptor, data=data)
        if data != b"TELEM":  # held until the end, because it may become telemetry
            wait_until("the output", lambda: len(worker.output) == before + len(data))
    assert worker.stop() == -signal.SIGTERM
    assert worker.output == b"".join(data for _, data in written)


@pytest.mark.parametrize("profile", ["process", "thread"])
def test_a_killed_worker_is_reported_as_killed(pool, profile):
    worker = pool(f"--profile={profile}").start()
    worker.open_telemetry()
    failed = worker.failure_of("ExecuteTool", tool_name="signal", binary_parameters={"number": b"9"})
    assert failed.status == UNAVAILABLE and "worker at 127.0.0.1:" in failed.text
    assert worker.wait() == -signal.SIGKILL
    assert worker.telemetry_end == "OK"


@pytest.mark.parametrize("start", ["silent", "garbage"])
def test_a_worker_without_a_port_goes_on_and_is_reported_once(pool, start):
    options = ["--snakepit", "-v", "--upstream-timeout=1s"]
    worker = pool("--profile=thread", f"--start={start}", sidecar=options)
    worker.spawn()
    wait_until("the report", lambda: b"SNAKEPIT_READY_FILE" in worker.output)
    assert worker.process.poll() is None and not worker.ready_file.exists()
    assert worker.stop() == -signal.SIGTERM
    assert worker.output.count(b"SNAKEPIT_READY_FILE") == 1
    assert not worker.ready_file.exists()


def test_a_worker_that_exits_during_start(pool):
    worker = pool("--start=exit")
    worker.spawn()
    assert worker.wait() == 3
    assert worker.output == b"cannot start\n"
    assert not worker.ready_file.exists()
