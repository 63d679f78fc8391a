"""Many sidecars at once, and one sidecar with many subscribers: completeness, memory and CPU.

Memory is Pss, which divides shared pages among processes; MB are 10^6 bytes. CPU is that of the wrappers,
without workers and subscribers, in per cent of one core.
"""

import time

from .memory import FLEET, PAGES, helpers
from .processes import EMIT, Failed, Wrapped, memory_mb, running_seconds, wrappers
from .rows import compared


def measure(options):
    seconds = 3 if options.scale < 1 else 15
    many = {wrapper: fleet(wrapper, FLEET, 1, 100, seconds) for wrapper in wrappers()}
    crowd = {wrapper: fleet(wrapper, 1, 100, 1000, seconds) for wrapper in wrappers()}
    goal = {"target_ratio": 1.0, "goal": True, "bound": PAGES}
    rows = of_fleet(f"{FLEET} at once, 100 events/s each", many, goal)
    return rows + of_fleet("one with 100 subscribers, 1,000 events/s", crowd, {}), []


def of_fleet(title, found, memory):
    delivered = {"target": 100, "more_is_better": True}
    return [
        compared(f"{title}: share delivered", "percent", "delivered", found, **delivered),
        compared(f"{title}: CPU of all", "percent", "cpu", found),
        compared(f"{title}: Pss of all, helpers included", "MB", "pss", found, **memory),
    ]


def fleet(wrapper, number, subscribers, rate, seconds):
    """Runs `number` wrappers, each with subscribers and a worker that prints `rate` events a second."""
    # Enough events that all workers still run at the last measurement.
    count = rate * (seconds + 9)
    words = [EMIT, "--wait", "--rate", str(rate), "--count", str(count)]
    members = [Wrapped(wrapper, words, subscribers=subscribers) for _ in range(number)]
    pids = [member.process.pid for member in members]
    for member in members:
        member.begin()
    time.sleep(seconds / 4)
    before, start = sum(map(running_seconds, pids)), time.monotonic()
    time.sleep(seconds / 4)
    cpu = 100 * (sum(map(running_seconds, pids)) - before) / (time.monotonic() - start)
    # Measuring each one takes long when all are busy, so only some are measured.
    measured = pids[::20]
    measured += [helper for pid in measured for helper in helpers(pid)]
    found = [memory_mb(pid, "Pss", "smaps_rollup") for pid in measured]
    if None in found:
        raise Failed(f"{wrapper}: the machine is so busy that workers ended before they were measured")
    pss = sum(found) * number / len(pids[::20])
    delivered = sum(member.finish().delivered for member in members)
    return {"delivered": 100 * delivered / (number * subscribers * count), "cpu": cpu, "pss": pss}
