"""The CPU time that an exporter adds for each event: at a steady rate, and as fast as it can.

At a steady rate a worker prints 20,000 events a second, each in a write of its own; there are no subscribers.
As fast as it can: a recording is replayed, which loses nothing, since a replay waits for the exporters.

The servers do as little as possible: a socket that is never read, and a receiver that accepts every request.
"""

import contextlib
import os
import socket
import subprocess
import tempfile
from pathlib import Path

from .processes import EMIT, PROGRAMS, TARGET, Process, medians_in_turn, run_wrapped, sidecars
from .rows import Row, Table, compared

RATE = 20_000
SINK = str(TARGET / "examples" / "sink")
NONE = "no exporter"
ALL = "all exporters"


@contextlib.contextmanager
def sink(*words):
    """Runs a receiver of OTLP; yields it and its port."""
    receiver = Process([SINK, *words], stdin=subprocess.PIPE)
    try:
        yield receiver, int(receiver.line())
    finally:
        receiver.kill()


@contextlib.contextmanager
def recording(events):
    """Yields a file of that many telemetry lines."""
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory, "run.log")
        with log.open("wb") as output:
            Process([EMIT, "--count", str(events)], stderr=output).finish()
        yield log


@contextlib.contextmanager
def exporters():
    """Runs the servers; yields the options of each exporter."""
    with sink() as (_, port), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        each = {
            "--export-jsonl": ["--export-jsonl", "/dev/null"],
            "--export-prometheus": ["--export-prometheus", "127.0.0.1:0"],
            "--export-statsd": ["--export-statsd", f"udp://127.0.0.1:{server.getsockname()[1]}"],
            "--export-otlp": ["--export-otlp", "--otlp-endpoint", f"http://127.0.0.1:{port}"],
        }
        yield {NONE: [], **each, ALL: [word for words in each.values() for word in words]}


def measure(options):
    with exporters() as cases:
        count = options.scaled(RATE * 5)
        found = medians_in_turn(
            options.runs,
            {name: (lambda words=words: steady(words, count)) for name, words in cases.items()},
        )
        base = found[NONE]["ns"]
        what = f"{{}}, {RATE:,} events/s: CPU per event"
        rows = [
            Row(what.format(name), "ns", figures["ns"], None, base, NONE)
            for name, figures in found.items()
            if name != NONE
        ]
        more, table = flat_out(options, cases)
    return rows + more, [table]


def steady(words, count):
    worker = [EMIT, "--wait", "--rate", str(RATE), "--count", str(count)]
    outcome = run_wrapped("sidecar", worker, subscribers=0, options=words)
    return {"ns": outcome.wrapper_cpu_s * 1e9 / count}


def flat_out(options, cases):
    """Measures a replay with each exporter."""
    events = options.scaled(1_000_000)
    with recording(events) as log:
        measures = {
            (name, case): (lambda name=name, words=words: replayed(name, words, log, events))
            for case, words in cases.items()
            for name in sidecars()
        }
        found = medians_in_turn(options.runs, measures)
    own = {case: found["sidecar", case]["ns"] for case in cases}
    table = Table(
        "Exporters, flat out",
        ["exporter", *cases],
        [
            ["CPU per event", *(f"{ns / 1000:,.2f} µs" for ns in own.values())],
            ["more than without", *("" if case == NONE else more(own, case) for case in cases)],
        ],
        key="growth exporters",
    )
    rows = []
    for case in cases:
        figures = {name: found[name, case] for name in sidecars()}
        if case != NONE:
            figures = {name: {"ns": one["ns"] - found[name, NONE]["ns"]} for name, one in figures.items()}
            target = None if case in ("--export-otlp", ALL) else 1500
            what = f"{case}, flat out: CPU per event, more than without"
            rows.append(compared(what, "ns", "ns", figures, target=target))
    return rows, table


def more(own, case):
    return f"{(own[case] - own[NONE]) / 1000:,.2f} µs"


def replayed(name, words, log, events):
    command = [PROGRAMS[name], "replay", "-q", "--wait-for-subscribers", "0", *words, str(log)]
    output, cpu = Process(command, stderr=subprocess.DEVNULL, env=grpc_environment()).finish()
    return {"ns": cpu * 1e9 / events}


def grpc_environment():
    """Returns the environment without variables that change how the exporters send."""
    return {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
