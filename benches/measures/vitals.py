"""The CPU time of the thread that samples 20 processes of a worker with `--vitals`."""

import subprocess
import sys
import time
from pathlib import Path

from .processes import PROGRAMS, Failed, Process, medians_in_turn
from .rows import Row

# Forks 19 children with memory of their own, and waits.
TREE = """
import multiprocessing, sys, time
def idle():
    data = b"1" * (20 << 20)
    time.sleep(1000)
context = multiprocessing.get_context("fork")
children = [context.Process(target=idle, daemon=True) for _ in range(19)]
for child in children:
    child.start()
sys.stdin.read()
"""
PROCESSES = 20


def measure(options):
    seconds = options.scaled(20)
    found = medians_in_turn(options.runs, {"1s": lambda: share(seconds)})
    what = f"--vitals 1s, {PROCESSES} processes: CPU of its thread"
    row = Row(what, "percent", found["1s"]["percent"], target=0.2)
    return [row], []


def share(seconds):
    """The share of a core, in percent."""
    words = [PROGRAMS["sidecar"], "-q", "--vitals", "1s", "--", sys.executable, "-c", TREE]
    sidecar = Process(words, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    # Until the tree is complete and was sampled once.
    time.sleep(3)
    thread = thread_of(sidecar.pid, "vitals")
    start, before = time.monotonic(), cpu_seconds(thread)
    time.sleep(seconds)
    used, passed = cpu_seconds(thread) - before, time.monotonic() - start
    sidecar.popen.stdin.close()
    sidecar.finish()
    return {"percent": 100 * used / passed}


def thread_of(pid, name):
    for task in Path(f"/proc/{pid}/task").iterdir():
        if (task / "comm").read_text() == f"{name}\n":
            return task
    raise Failed(f"the sidecar has no thread {name}")


def cpu_seconds(task):
    """To the nanosecond."""
    return int((task / "schedstat").read_text().split()[0]) / 1e9
