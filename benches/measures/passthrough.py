"""Ordinary stderr through the sidecar, and through `cat` in a shell pipe.

Wall time runs from the worker's first write to the end of the last process. "CPU of the relay" is that of the
sidecar or of `cat` alone; "CPU of all" adds the worker and, if stderr is a pipe, its reader, which is
the same additional `cat` for all. The owner of an enlarged pipe has set it to 1 MiB; the sidecar
does not resize the pipe that it inherits.
"""

import fcntl
import json
import os
import subprocess
import time

from .processes import EMIT, Process, medians_in_turn, quiet, wrappers
from .rows import compared

LINE_BYTES = 100
PIPE_BYTES = {"an enlarged pipe": 1024 * 1024, "a 64 KiB pipe": 65536}
COPIES = (
    "`cat` costs little more than the kernel's copy of each byte out of the worker's pipe. The sidecar needs "
    "the same copy, and then searches the bytes for telemetry lines."
)
GOAL = {"goal": True, "bound": COPIES}
# Ratios to `cat`, by the sink.
WALL = {"/dev/null": 0.65, "an enlarged pipe": 0.65, "a 64 KiB pipe": 1.05}
RELAY = {"/dev/null": 0.8, "an enlarged pipe": 0.8, "a 64 KiB pipe": 1.05}


def measure(options):
    rows = []
    # Less would measure starts.
    lines = int(2**30 * min(1, options.scale * 4)) // LINE_BYTES
    size = "1 GiB" if options.scale >= 0.25 else f"{lines * LINE_BYTES / 2**20:.0f} MiB"
    for sink, wall in WALL.items():
        how = {"wall": {"target_ratio": wall}, "relay": {"target_ratio": RELAY[sink]}}
        if sink != "an enlarged pipe":
            how["relay"] |= GOAL
        rows += compare(options, f"{size} in 64 KiB writes to {sink}", sink, lines, 65536, how)
    lines = int(4_000_000 * min(1, options.scale * 4))
    what = f"{lines / 1e6:g} million 100-byte writes to /dev/null"
    return rows + compare(options, what, "/dev/null", lines, 0, {"relay": {"target_ratio": 0.35}}), []


def compare(options, what, sink, lines, block, how):
    measures = {"cat": lambda: relay(None, sink, lines, block)}
    for name in wrappers():
        measures[name] = lambda name=name: relay(quiet(name), sink, lines, block)
    found = medians_in_turn(options.runs, measures)
    titles = {"wall": "wall time", "relay": "CPU of the relay", "all": "CPU of all"}
    return [
        compared(f"{what}: {title}", "s", key, found, "cat", "`cat`", **how.get(key, {}))
        for key, title in titles.items()
    ]


def relay(wrapper, sink, lines, block):
    """Measures the seconds with this wrapper; without one `cat` reads the worker's stderr."""
    reader, stderr = open_sink(sink)
    worker_words = [EMIT, "--share", "0", "--count", str(lines), "--block", str(block)]
    if wrapper is None:
        worker = Process(worker_words, stderr=subprocess.PIPE)
        cat = Process(["cat"], stdin=worker.popen.stderr, stdout=stderr)
        worker.popen.stderr.close()
    else:
        worker = Process([*wrapper, *worker_words], stderr=stderr)
    os.close(stderr)
    output, tree = worker.finish()
    relay_cpu = cat.finish()[1] if wrapper is None else None
    reader_cpu = reader.finish()[1] if reader else 0
    end_ns = time.monotonic_ns()
    report = json.loads(output)
    if relay_cpu is None:
        relay_cpu = tree - report["cpu_ns"] / 1e9
        everything = tree + reader_cpu
    else:
        everything = tree + relay_cpu + reader_cpu
    return {"wall": (end_ns - report["start_ns"]) / 1e9, "relay": relay_cpu, "all": everything}


def open_sink(sink):
    """Returns the reader of ordinary output, if any, and the descriptor to write to."""
    if sink == "/dev/null":
        return None, os.open(sink, os.O_WRONLY)
    read_end, write_end = os.pipe()
    fcntl.fcntl(read_end, fcntl.F_SETPIPE_SZ, PIPE_BYTES[sink])
    reader = Process(["cat"], stdin=read_end, stdout=subprocess.DEVNULL)
    os.close(read_end)
    return reader, write_end
