"""The ways to run a worker, side by side: the bars of the picture.

The reference is the worker alone, with a pipe as its stderr. The others are the same worker behind `cat`,
under tini, under the sidecar, and under the naive design. All CPU and memory includes the worker; clients and
readers, which all have, are left out. The last three deliver decoded events over gRPC, the others lines.
"""

import json
import shutil
import subprocess
import time
from pathlib import Path

from .latency import AT_ONCE, worker_words
from .processes import DRAIN, EMIT, Process, Wrapped, in_turn, medians, memory_mb, quiet, running_seconds
from .processes import supports

RATE = 1000
LINE_BYTES = 100
# "sidecar, 0s" has --flush-interval 0s.
NAMES = ("worker alone", "| cat", "tini", "sidecar", "sidecar, 0s", "naive design")
WRAPPERS = {"sidecar": "sidecar", "sidecar, 0s": "sidecar", "naive design": "naive"}
PANELS = (
    # Key, title, unit, whether more is better.
    ("mb_per_s", "Ordinary output", "MB/s", True),
    ("p50_us", f"Latency at {RATE:,} events/s, median", "µs", False),
    ("cpu", f"CPU at {RATE:,} events/s, worker included", "% of a core", False),
    ("mb", f"Memory at {RATE:,} events/s, worker included", "MB", False),
)


def measure(options):
    """Returns the panels of the picture."""
    names = [name for name in NAMES if available(name)]
    seconds = options.seconds(8)
    lines = options.scaled(2**30 // LINE_BYTES)
    speeds = in_turn(options.runs, {name: lambda name=name: speed(name, lines) for name in names})
    steadies = in_turn(options.runs, {name: lambda name=name: steady(name, seconds) for name in names})
    found = {name: medians(speeds[name]) | medians(steadies[name]) for name in names}
    return [
        {
            "title": title,
            "unit": unit,
            "more_is_better": more_is_better,
            "bars": {name: found[name][key] for name in names},
        }
        for key, title, unit, more_is_better in PANELS
    ]


def available(name):
    if name == "tini":
        return shutil.which("tini")
    return name != "sidecar, 0s" or supports("sidecar", AT_ONCE.split()[0])


def options_of(name):
    return AT_ONCE.split() if name == "sidecar, 0s" else []


def prefix(name):
    """Returns the words that start a worker in this way."""
    if name in WRAPPERS:
        *words, end = quiet(WRAPPERS[name])
        return [*words, *options_of(name), end]
    return ["tini", "-s", "--"] if name == "tini" else []


def speed(name, lines):
    """Measures how fast ordinary lines get to a reader at the end of a pipe."""
    words = [*prefix(name), EMIT, "--share", "0", "--count", str(lines)]
    worker, ends = piped(words, name, ["cat"], stdout=subprocess.PIPE)
    report = json.loads(worker.finish()[0])
    for process in ends:
        process.finish()
    return {"mb_per_s": lines * LINE_BYTES / 1e6 / ((time.monotonic_ns() - report["start_ns"]) / 1e9)}


def piped(words, name, reader, **how):
    """Starts a worker whose stderr goes to a reader, through `cat` if it is named so."""
    worker = Process(words, stderr=subprocess.PIPE, **how)
    source, between = worker.popen.stderr, []
    if name == "| cat":
        between = [Process(["cat"], stdin=source)]
        source.close()
        source = between[0].popen.stdout
    end = Process(reader, stdin=source, stdout=subprocess.DEVNULL if reader == ["cat"] else subprocess.PIPE)
    source.close()
    for cat in between:
        cat.popen.stdout = None
    return worker, [*between, end]


def steady(name, seconds):
    """Measures latency, CPU and memory of a worker that prints events at a steady rate."""
    words = worker_words(RATE, seconds)
    if name in WRAPPERS:
        how = {"subscriber_options": ["--latency"], "options": options_of(name)}
        wrapped = Wrapped(WRAPPERS[name], words, **how)
        wrapped.begin()
        found = in_the_middle([wrapped.process.pid], seconds)
        return found | {"p50_us": wrapped.finish().subscribers[0]["p50_us"]}
    worker, ends = piped([*prefix(name), *words], name, [DRAIN, "--stdin"], stdin=subprocess.PIPE)
    worker.popen.stdin.close()
    found = in_the_middle([worker.pid, *(process.pid for process in ends[:-1])], seconds)
    worker.finish()
    outputs = [process.finish()[0] for process in ends]
    return found | {"p50_us": json.loads(outputs[-1])["p50_us"]}


def in_the_middle(pids, seconds):
    """Measures the CPU and the memory of processes and their descendants, without start and end."""
    margin = seconds / 10
    time.sleep(margin)
    pids = [found for pid in pids for found in tree(pid)]
    before, start = sum(map(running_seconds, pids)), time.monotonic()
    time.sleep(seconds - 2 * margin)
    cpu = 100 * (sum(map(running_seconds, pids)) - before) / (time.monotonic() - start)
    return {"cpu": cpu, "mb": sum(memory_mb(pid, "Pss", "smaps_rollup") for pid in pids)}


def tree(pid):
    """Returns a process and its descendants."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(found for child in children for found in tree(int(child)))]
