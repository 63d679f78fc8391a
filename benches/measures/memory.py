"""Resident memory, and how much of a user's pipe budget many sidecars leave.

MB are 10^6 bytes. Pss divides pages that several processes share, such as the program itself. The budget
applies to users without privileges; as root the last row has no meaning.
"""

import fcntl
import os
import time
from pathlib import Path

from .processes import EMIT, Wrapped, medians_in_turn, memory_mb, sidecars, wrappers
from .rows import compared

FOREVER = "1000000000"
FLEET = 200
PAGES = (
    "A sidecar is two processes: the second shows which signals are sent to the group. Pages that one of "
    "them has written to are not shared; the program itself is shared by all."
)


def measure(options):
    seconds = options.seconds(3)
    cases = {
        "idle": (3.5, lambda wrapper: idle(wrapper)),
        "streaming 1,000 events/s": (6, lambda wrapper: streaming(wrapper, seconds)),
        "flat out, the most": (6, lambda wrapper: flat_out(wrapper, options, [])),
        "flat out to a stalled client, the most": (
            None,
            lambda wrapper: flat_out(wrapper, options, ["--stall"]),
        ),
    }
    rows = []
    for title, (target, case) in cases.items():
        found = medians_in_turn(
            options.runs,
            {wrapper: (lambda wrapper=wrapper, case=case: {"mb": case(wrapper)}) for wrapper in wrappers()},
        )
        rows.append(compared(f"resident memory, {title}", "MB", "mb", found, target=target))
    return rows + fleets(), []


def idle(wrapper):
    wrapped = Wrapped(wrapper, [EMIT, "--wait"], subscribers=0)
    time.sleep(0.3)
    found = memory_mb(wrapped.process.pid)
    wrapped.kill()
    return found


def streaming(wrapper, seconds):
    wrapped = Wrapped(wrapper, [EMIT, "--wait", "--rate", "1000", "--count", FOREVER])
    wrapped.begin()
    time.sleep(seconds)
    found = memory_mb(wrapped.process.pid)
    wrapped.kill()
    return found


def flat_out(wrapper, options, subscriber_options):
    """Returns the peak memory, polled until the process ends."""
    count = str(options.scaled(2_000_000 if wrapper in sidecars() else 500_000))
    wrapped = Wrapped(wrapper, [EMIT, "--wait", "--count", count], subscriber_options=subscriber_options)
    wrapped.begin()
    most = 0
    while (now := memory_mb(wrapped.process.pid, "VmHWM")) is not None:
        most = max(most, now)
        time.sleep(0.005)
    wrapped.finish()
    return most


def fleets():
    """Runs many wrappers at once, each with a worker at a low rate."""
    found = {wrapper: fleet(wrapper, FLEET) for wrapper in wrappers()}
    what = f"{FLEET} at once"
    privileged = "root, so no limit applies" if os.geteuid() == 0 else "unprivileged"
    return [
        compared(f"{what}: mean resident memory", "MB", "rss", found),
        compared(
            f"{what}, idle: Pss of all, helpers included",
            "MB",
            "pss",
            found,
            target_ratio=1.0,
            goal=True,
            bound=PAGES,
        ),
        compared(
            f"{what}: size of a new pipe",
            "KiB",
            "pipe",
            found,
            target=64,
            more_is_better=True,
            remark=privileged,
        ),
    ]


def fleet(wrapper, number):
    words = [EMIT, "--wait", "--rate", "10", "--count", FOREVER]
    members = [Wrapped(wrapper, words, subscribers=0, options=["-q"]) for _ in range(number)]
    for member in members:
        member.begin()
    time.sleep(2)
    pids = [member.process.pid for member in members]
    all_pids = pids + [helper for pid in pids for helper in helpers(pid)]
    read_end, write_end = os.pipe()
    found = {
        "rss": sum(memory_mb(pid) for pid in pids) / number,
        "pss": sum(memory_mb(pid, "Pss", "smaps_rollup") for pid in all_pids),
        "pipe": fcntl.fcntl(read_end, fcntl.F_GETPIPE_SZ) / 1024,
    }
    os.close(read_end)
    os.close(write_end)
    for member in members:
        member.kill()
    return found


def helpers(pid):
    """Returns the children of a wrapper without the worker."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children if Path(f"/proc/{child}/comm").read_text() != "emit\n"]
