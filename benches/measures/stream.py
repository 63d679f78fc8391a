"""The whole path, flat out: a worker that only writes, clients that only count.

The sidecar gets queues that hold everything, and time to drain them, so that it drops nothing and pays for
every event. The naive design keeps its queue of 1024; its drops show in the share delivered.
"""

from .processes import EMIT, medians_in_turn, run_wrapped, sidecars
from .rows import compared

BYTES = str(2**31)
EVERYTHING = ["-q", "--queue-capacity", "10000000", "--queue-bytes", BYTES, "--total-queue-bytes", BYTES]
EVERYTHING += ["--drain-timeout", "100s"]
NAIVE_PART = 8
BOUND = (
    "An event is read, decoded, queued and written once; of that the kernel's copies of its bytes are a "
    "large part, and worker, sidecar and client share the cores' caches."
)
GOAL = {"goal": True, "bound": BOUND}


def measure(options):
    return [row for number in (1, 4, 16) for row in to_clients(options, number)], []


def to_clients(options, number):
    count = options.scaled(2_000_000 if number == 1 else 1_000_000)
    measures = {name: (lambda name=name: flat_out(name, count, number)) for name in sidecars()}
    measures["naive"] = lambda: flat_out("naive", count // NAIVE_PART, number)
    found = medians_in_turn(options.runs, measures)
    what = f"flat out to {'one client' if number == 1 else f'{number} clients'}"
    in_all = "" if number == 1 else " in all"
    rate, cpu = ({"target_ratio": 10, **GOAL}, {"target": 220, **GOAL}) if number == 1 else ({}, {})
    return [
        compared(f"{what}: events/s{in_all}", "per_s", "rate", found, more_is_better=True, **rate),
        compared(f"{what}: CPU per event read", "ns", "cpu_ns", found, **cpu),
        compared(f"{what}: share delivered", "percent", "share", found, more_is_better=True),
    ]


def flat_out(wrapper, count, subscribers=1, worker_options=(), subscriber_options=(), events=None):
    """Measures a worker that prints `count` lines; `events` of them (all by default) are events."""
    events = count if events is None else events
    worker = [EMIT, "--wait", "--count", str(count), *worker_options]
    how = {"subscribers": subscribers, "subscriber_options": subscriber_options, "options": EVERYTHING}
    outcome = run_wrapped(wrapper, worker, **how)
    # Without events nothing arrives, and the time ends with the worker.
    end_ns = max([outcome.worker["end_ns"], *(one["last_ns"] for one in outcome.subscribers)])
    seconds = (end_ns - outcome.worker["start_ns"]) / 1e9
    return {
        "rate": outcome.delivered / seconds,
        "lines": count / seconds,
        "cpu_ns": outcome.wrapper_cpu_s * 1e9 / count,
        "share": 100 * outcome.delivered / (events * subscribers) if events else 100,
    }
