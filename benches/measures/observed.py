"""The CPU time that the options about the worker itself add for each ordinary line, at 1,000 lines a second.

Each line is a write of its own.
"""

import subprocess
import sys
import time

from .exporters import grpc_environment, sink
from .processes import PROGRAMS, Process, medians_in_turn, running_seconds
from .rows import Row

RATE = 1000

# Logs as Python's logging does, until its stdin is closed.
WORKER = f"""
import logging, os, select, sys, time
logging.basicConfig(format="%(asctime)s %(levelname)s:%(name)s:%(message)s", level=logging.INFO)
start, number = time.monotonic(), 0
while not select.select([0], [], [], 0)[0]:
    logging.info("processed request %d of user %d in %.3f ms", number, number % 97, number % 13 / 7)
    number += 1
    time.sleep(max(0, start + number / {RATE} - time.monotonic()))
"""

# Each option, and what it is compared with.
OPTIONS = {
    "--lifecycle": "no options",
    "--vitals 1s": "no options",
    "--export-otlp": "no options",
    "--run-span": "--export-otlp",
    "--otlp-logs": "--export-otlp",
}


def measure(options):
    seconds = options.seconds(6)
    with sink() as (_, port):
        words = {"no options": []}
        words["--export-otlp"] = ["--export-otlp", "--otlp-endpoint", f"http://127.0.0.1:{port}"]
        for option, base in OPTIONS.items():
            words.setdefault(option, [*words[base], *option.split()])
        found = medians_in_turn(
            options.runs,
            {name: (lambda case=case: cpu_per_line(case, seconds)) for name, case in words.items()},
        )
    what = f"{{}}, {RATE:,} lines/s: CPU per line"
    return [
        Row(what.format(option), "ns", found[option]["ns"], None, found[base]["ns"], base)
        for option, base in OPTIONS.items()
    ], []


def cpu_per_line(words, seconds):
    command = [PROGRAMS["sidecar"], "-q", *words, "--", sys.executable, "-c", WORKER]
    how = {"stderr": subprocess.DEVNULL, "env": grpc_environment()}
    sidecar = Process(command, stdin=subprocess.PIPE, **how)
    # Until Python has started.
    time.sleep(1)
    before = running_seconds(sidecar.pid)
    time.sleep(seconds)
    used = running_seconds(sidecar.pid) - before
    sidecar.popen.stdin.close()
    sidecar.finish()
    return {"ns": used * 1e9 / (RATE * seconds)}
