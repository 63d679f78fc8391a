"""A real Python worker, for each destination of its stderr: its speed flat out, and the cost of an emit at
1,000 a second. A client is subscribed to the sidecar and to the naive design.
"""

import json
import subprocess
import sys
from pathlib import Path

from .processes import Process, medians_in_turn, run_wrapped, wrappers
from .rows import compared

SCRIPT = Path(__file__).with_name("python_worker.py")
RATE = 1000
NULL = ("alone", "`2>/dev/null`")
BOUND = "Writing into a pipe whose reader sleeps wakes the reader, at the cost of the writer."


def measure(options):
    count, seconds = options.scaled(300_000), options.seconds(5)
    flat = [sys.executable, str(SCRIPT), str(count)]
    steady = [sys.executable, str(SCRIPT), str(int(RATE * seconds)), str(RATE)]
    found = medians_in_turn(options.runs, cases(flat))
    speed = compared(
        "a Python worker's speed, flat out, one client",
        "per_s",
        "rate",
        found,
        *NULL,
        target_ratio=0.88,
        more_is_better=True,
        remark=f"behind `cat`: {found['cat']['rate'] / found['alone']['rate']:.2f} ×",
    )
    found = medians_in_turn(options.runs, cases(steady))
    behind_cat = found["cat"]["p50_us"] / found["alone"]["p50_us"]
    what = f"a Python worker at {RATE:,} events/s: "
    return [
        speed,
        compared(
            f"{what}time of an emit, p50",
            "us1",
            "p50_us",
            found,
            *NULL,
            target_ratio=1.3,
            goal=True,
            bound=f"{BOUND} Behind `cat` an emit took {behind_cat:.2f} × in the same run.",
        ),
        compared(f"{what}time of an emit, mean", "us1", "mean_us", found, *NULL),
        compared(f"{what}CPU of the worker", "percent", "cpu", found, *NULL),
    ], []


def cases(words):
    """Returns the measures of a worker with each destination of its stderr."""

    def alone():
        return figures(json.loads(Process(words, stderr=subprocess.DEVNULL).finish()[0]))

    def behind_cat():
        worker = Process(words, stderr=subprocess.PIPE)
        cat = Process(["cat"], stdin=worker.popen.stderr, stdout=subprocess.DEVNULL)
        worker.popen.stderr.close()
        report = json.loads(worker.finish()[0])
        cat.finish()
        return figures(report)

    found = {"alone": alone, "cat": behind_cat}
    return found | {name: (lambda name=name: figures(run_wrapped(name, words).worker)) for name in wrappers()}


def figures(report):
    took_ns = report["end_ns"] - report["start_ns"]
    found = {"rate": report["events"] / took_ns * 1e9, "cpu": 100 * report["running_ns"] / took_ns}
    if "emit_p50_ns" in report:
        found |= {"p50_us": report["emit_p50_ns"] / 1000, "mean_us": report["emit_mean_ns"] / 1000}
    return found
