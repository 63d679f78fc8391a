"""Many sidecars at once, and one sidecar with many subscribers: completeness, memory and CPU.

Memory is Pss, which divides shared pages among processes; MB are 10^6 bytes. CPU is that of the wrappers,
without workers and subscribers, in per cent of one core.
"""

import time

from .memory import helpers
from .processes import EMIT, Wrapped, memory_mb, running_seconds
from .rows import Row

WRAPPERS = ("sidecar", "naive")


def measure(options):
    number, seconds = options.scaled(200), 3 if options.quick else 15
    many = {wrapper: fleet(wrapper, number, 1, 100, seconds) for wrapper in WRAPPERS}
    crowd = {wrapper: fleet(wrapper, 1, 100, 1000, seconds) for wrapper in WRAPPERS}
    many_rows = rows(f"{number} at once, 100 events/s each", many)
    return many_rows + rows("one with 100 subscribers, 1,000 events/s", crowd), []


def rows(title, found):
    def row(what, unit, key, **how):
        return Row(f"{title}: {what}", unit, *(found[wrapper][key] for wrapper in WRAPPERS), **how)

    return [
        row("share delivered", "percent", "delivered", target=100, more_is_better=True),
        row("CPU of all", "percent", "cpu"),
        row("memory of all", "MB", "pss"),
    ]


def fleet(wrapper, number, subscribers, rate, seconds):
    """Runs `number` wrappers, each with subscribers and a worker that prints `rate` events a second."""
    # Enough events that all workers still run at the last measurement.
    count = rate * seconds * 2
    words = [EMIT, "--wait", "--rate", str(rate), "--count", str(count)]
    members = [Wrapped(wrapper, words, subscribers=subscribers) for _ in range(number)]
    pids = [member.process.pid for member in members]
    # Measuring each one takes long when all are busy, so only every tenth is measured.
    measured = pids[::10]
    measured += [helper for pid in measured for helper in helpers(pid)]
    for member in members:
        member.begin()
    time.sleep(seconds / 4)
    before, start = sum(map(running_seconds, pids)), time.monotonic()
    time.sleep(seconds / 4)
    cpu = 100 * (sum(map(running_seconds, pids)) - before) / (time.monotonic() - start)
    pss = sum(memory_mb(pid, "Pss", "smaps_rollup") for pid in measured) * number / len(pids[::10])
    delivered = sum(member.finish().delivered for member in members)
    return {"delivered": 100 * delivered / (number * subscribers * count), "cpu": cpu, "pss": pss}
