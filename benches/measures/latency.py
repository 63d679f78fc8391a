"""The latency from the worker's write to the client, and the CPU time, at a steady rate.

The reference is the minimum for a wrapper: `cat` between two pipes, read by the same client without gRPC. CPU
is that of the wrapper with its helper, or of `cat`, in per cent of one core, without start and end.
"""

import json
import subprocess
import time

from .memory import helpers
from .processes import DRAIN, EMIT, Process, Wrapped, medians_in_turn, running_seconds, sidecars, supports
from .rows import compared

CAT = ("cat", "`cat` between pipes")
AT_ONCE, AT_ONCE_RATE = "--flush-interval 0s", 1000
WAKEUPS = (
    "Most of it is the kernel's: waking the process, and sending through TCP instead of a pipe. After each "
    "pause all code is cold."
)
BUSY = "The cores were busy: then a wakeup takes as long as the scheduler lets others run."
FIGURES = (("p50_us", "latency p50", "us"), ("p99_us", "latency p99", "us"), ("cpu", "CPU", "percent"))
# By rate and figure.
GOALS = {
    (1000, "p99_us"): {"target": 8000, "goal": True, "bound": BUSY},
    (1000, "cpu"): {"target_ratio": 2.0, "goal": True, "bound": WAKEUPS},
    (10_000, "cpu"): {"target_ratio": 2.0, "goal": True, "bound": WAKEUPS},
}
GOALS_AT_ONCE = {
    "p50_us": {"target_ratio": 2.0, "goal": True, "bound": WAKEUPS},
    "cpu": {"target_ratio": 3.5, "goal": True, "bound": WAKEUPS},
}


def measure(options):
    rows = []
    seconds = options.seconds(8)
    for rate in (100, 1000, 10_000):
        found = medians_in_turn(options.runs, cases(rate, seconds if rate > 100 else seconds / 2))
        for key, title, unit in FIGURES:
            how = GOALS.get((rate, key), {})
            rows.append(compared(f"{rate:,} events/s: {title}", unit, key, found, *CAT, **how))
        at_once = {"sidecar": "at once", "before": "before", "cat": "cat", "naive": "naive"}
        at_once = {name: found[case] for name, case in at_once.items() if case in found}
        if "sidecar" not in at_once:
            if rate == AT_ONCE_RATE:
                options.notes.append(f"`{AT_ONCE}`: this sidecar does not have it")
            continue
        for key, title, unit in FIGURES:
            how = GOALS_AT_ONCE.get(key, {})
            what = f"{rate:,} events/s, `{AT_ONCE}`: {title}"
            rows.append(compared(what, unit, key, at_once, *CAT, **how))
    return rows, []


def cases(rate, seconds):
    found = {"cat": lambda: through_cat(rate, seconds)}
    for name in (*sidecars(), "naive"):
        found[name] = lambda name=name: through_wrapper(name, rate, seconds)
    if rate == AT_ONCE_RATE and supports("sidecar", AT_ONCE.split()[0]):
        found["at once"] = lambda: through_wrapper("sidecar", rate, seconds, AT_ONCE.split())
    return found


def worker_words(rate, seconds):
    return [EMIT, "--wait", "--rate", str(rate), "--count", str(int(rate * seconds))]


def through_wrapper(wrapper, rate, seconds, options=()):
    words = worker_words(rate, seconds)
    wrapped = Wrapped(wrapper, words, subscriber_options=["--latency"], options=options)
    wrapped.begin()
    pid = wrapped.process.pid
    cpu = cpu_while_running([pid, *helpers(pid)], seconds)
    report = wrapped.finish().subscribers[0]
    return {"p50_us": report["p50_us"], "p99_us": report["p99_us"], "cpu": cpu}


def through_cat(rate, seconds):
    worker = Process(worker_words(rate, seconds), stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    cat = Process(["cat"], stdin=worker.popen.stderr)
    client = Process([DRAIN, "--stdin"], stdin=cat.popen.stdout)
    worker.popen.stderr.close()
    cat.popen.stdout.close()
    cat.popen.stdout = None
    worker.popen.stdin.close()
    cpu = cpu_while_running([cat.pid], seconds)
    worker.finish()
    cat.finish()
    report = json.loads(client.finish()[0])
    return {"p50_us": report["p50_us"], "p99_us": report["p99_us"], "cpu": cpu}


def cpu_while_running(pids, seconds):
    """Measures per cent of a core in the middle of the run."""
    margin = seconds / 10
    time.sleep(margin)
    before, start = sum(map(running_seconds, pids)), time.monotonic()
    time.sleep(seconds - 2 * margin)
    return 100 * (sum(map(running_seconds, pids)) - before) / (time.monotonic() - start)
