"""What a call costs, in nanoseconds of processor time: with and without a sidecar.

PYTHONPATH=helpers/python python3 helpers/python/benches/costs.py
PYTHONPATH=helpers/python telemetry-sidecar -q -- python3 helpers/python/benches/costs.py
"""

import json
import sys
import time
import timeit

import telemetry_sidecar as telemetry

ROUNDS = 7
CALLS = 5_000 if telemetry.enabled() else 100_000


def nothing():
    pass


decorated = telemetry.span("operation", tool="x")(nothing)


def block():
    with telemetry.span("operation", tool="x"):
        pass


def block_timed():
    with telemetry.timed("operation", tool="x"):
        pass


def emit():
    telemetry.emit("operation.stop", {"duration": 12345, "rows": 7}, {"tool": "x"}, "c")


def gauge():
    telemetry.gauge("queue.depth", 5)


def by_hand():
    """The function that README.md shows for programs without this package."""
    event = {
        "event": "operation.stop",
        "measurements": {"duration": 12345, "rows": 7},
        "metadata": {"tool": "x"},
    }
    line = json.dumps({**event, "timestamp_ns": time.time_ns(), "correlation_id": "c"})
    sys.stderr.write(f"TELEMETRY:{line}\n")
    sys.stderr.flush()


calls = [nothing, decorated, block, block_timed, emit, gauge]
names = ["a function", "the same with @span", "with span(...)", "with timed(...)", "emit", "gauge"]
if telemetry.enabled():
    calls.append(by_hand)
    names.append("json.dumps, write, flush")
for name, call in zip(names, calls):
    seconds = min(timeit.repeat(call, number=CALLS, repeat=ROUNDS, timer=time.process_time))
    print(f"{name:26} {seconds / CALLS * 1e9:8.0f}")
