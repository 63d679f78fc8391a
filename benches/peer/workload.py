"""The code that both workers share: the event, the workloads, their start and the report.

This is a module: run worker_grpc.py or worker_stderr.py. A worker starts its workload when it reads a line
from stdin (so that a subscriber can connect first), prints a JSON report on stdout after the last event, and
exits when its stdin ends:

    emitted, seconds, cpu_percent          events, the time they took, and the process's CPU time in it
    emit_p50_us, emit_p99_us               the time of one emit in the calling thread (steady and busy)
    dropped                                the events that the worker dropped (worker_grpc.py)
"""

import argparse
import contextlib
import json
import sys
import time

NAME = "tool.execution.stop"
METADATA = {
    "tool": "predict",
    "library": "numpy",
    "model": "resnet-50",
    "session_id": "session-17",
    "operation": "inference",
}


def arguments(number):
    """Returns the arguments of one emit, which are the same for both workers."""
    measurements = {"duration": 1_500_000 + number, "bytes": 4096, "cpu_percent": 12.5}
    return NAME, measurements, METADATA, f"request-{number}"


def percentile(values, share):
    """Returns the smallest value that at least this share of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


def sleep_until(due):
    ahead = due - time.perf_counter_ns()
    if ahead > 0:
        time.sleep(ahead / 1e9)


def compute_until(due):
    """Keeps the interpreter busy, like a worker that computes in Python."""
    while time.perf_counter_ns() < due:
        pass


def paced(emit, options, wait_until):
    """Emits at a steady rate and measures the time of each emit."""
    started = time.perf_counter_ns()
    costs = []
    for number in range(round(options.rate * options.seconds)):
        # Relative to the start rather than to the previous event, so that delays do not accumulate.
        wait_until(started + int(number / options.rate * 1e9))
        event = arguments(number)
        before = time.perf_counter_ns()
        emit(*event)
        costs.append(time.perf_counter_ns() - before)
    return {
        "emitted": len(costs),
        "emit_p50_us": percentile(costs, 0.5) / 1000,
        "emit_p99_us": percentile(costs, 0.99) / 1000,
    }


def steady(emit, options):
    return paced(emit, options, sleep_until)


def busy(emit, options):
    return paced(emit, options, compute_until)


def flat_out(emit, options):
    """Emits without a pause for --seconds."""
    end = time.perf_counter_ns() + int(options.seconds * 1e9)
    number = 0
    while time.perf_counter_ns() < end:
        emit(*arguments(number))
        number += 1
    return {"emitted": number}


def burst(emit, options):
    """Emits --events events without a pause."""
    for number in range(options.events):
        emit(*arguments(number))
    return {"emitted": options.events}


WORKLOADS = {"steady": steady, "busy": busy, "flat-out": flat_out, "burst": burst}


def above_zero(kind):
    """Returns an argument type that accepts numbers of this kind above zero."""

    def number(text):
        with contextlib.suppress(ValueError):
            if 0 < kind(text) < float("inf"):
                return kind(text)
        raise argparse.ArgumentTypeError(f"{text!r} is no {kind.__name__} above zero")

    return number


def argument_parser(docstring):
    """Returns the parser for the common options; a worker may add its own."""
    parser = argparse.ArgumentParser(description=docstring.splitlines()[0])
    parser.add_argument("workload", choices=WORKLOADS, help="busy: as steady, and computes between events")
    parser.add_argument("--rate", type=above_zero(float), default=1000, help="events a second: steady, busy")
    parser.add_argument("--seconds", type=above_zero(float), default=10, help="how long: all but burst")
    parser.add_argument("--events", type=above_zero(int), default=10_000, help="how many: burst")
    return parser


def run(options, emit, finish=dict):
    """Runs the workload; `finish` waits until all events are sent and may add to the report."""
    sys.stdin.readline()
    wall, cpu = time.perf_counter(), time.process_time()
    report = WORKLOADS[options.workload](emit, options)
    seconds, cpu = time.perf_counter() - wall, time.process_time() - cpu
    report |= {"seconds": seconds, "cpu_percent": 100 * cpu / seconds, **finish()}
    print(json.dumps(report), flush=True)
    sys.stdin.read()
