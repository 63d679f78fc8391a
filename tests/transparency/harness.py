"""What the transparency tests share: the wrapper under test, limits, the rows' names, and looking at processes.

The wrapper is the binary that the environment's SIDECAR names, run with `-q --`; or the command line in
SIDECAR_WRAPPER: `tini --` is another wrapper, `env` is none at all, because it executes the command in its own place.
Without a wrapper every row must pass: that is what shows that a row tests transparency and not an implementation.
`cargo test` runs everything. By hand, in this folder:

    SIDECAR=../../target/debug/telemetry-sidecar python3 -m unittest -v test_group_signals
    SIDECAR_WRAPPER=env python3 -m unittest -v test_group_signals.GroupSignals.test_group

TRANSPARENCY_LONG=1 repeats more and waits longer.

Nothing here sleeps to be right. Tests wait for events, with limits that only a failure reaches; "exactly once" is shown
by waiting until it was seen once, then GRACE for a late second, then counting.
"""

import faulthandler
import fcntl
import os
import shlex
import signal
import struct
import sys
import termios
import time
import unittest
from pathlib import Path

# How long anything may take before a test gives up; and after that, when the run has failed already.
PATIENCE = float(os.environ.get("TRANSPARENCY_PATIENCE", 30))
IMPATIENCE = 1.5
# How long a second delivery of a signal may lag behind the first and still be noticed.
GRACE = 0.15
# What "soon" and "at once" mean: far more than needed on an idle machine, far less than a worker's life.
SOON = 4.0
# The full measure of what repeats or waits for long.
LONG = os.environ.get("TRANSPARENCY_LONG", "0") not in ("", "0")

SIDECAR = os.environ.get("SIDECAR")
WRAPPER = os.environ.get("SIDECAR_WRAPPER")
if WRAPPER is None and SIDECAR is None:
    sys.exit("set SIDECAR to the binary's path, or SIDECAR_WRAPPER to another wrapper's command line")
SIDECAR = SIDECAR and os.path.abspath(SIDECAR)
W = [SIDECAR, "-q", "--"] if WRAPPER is None else shlex.split(WRAPPER)
IS_SIDECAR = WRAPPER is None
IS_DIRECT = W in ([], ["env"])

sidecar_only = unittest.skipUnless(IS_SIDECAR, "concerns what the sidecar alone does")
needs_wrapper = unittest.skipIf(IS_DIRECT, "there is no wrapper")

# Every signal that can be caught; 32 and 33 are the C library's own.
CATCHABLE = [n for n in range(1, signal.SIGRTMAX + 1) if n not in (signal.SIGKILL, signal.SIGSTOP, 32, 33)]

if not LONG:
    faulthandler.dump_traceback_later(300, exit=True)


# The rows of the comparison, in order.
ROWS = []


def row(title):
    """Names the row of the comparison that a test or a class of tests belongs to."""
    if title not in ROWS:
        ROWS.append(title)

    def name(test):
        test.row = title
        return test

    return name


given_up = False


def give_up(why):
    global given_up
    given_up = True
    raise AssertionError(why)


def limited(limit):
    """A limit in seconds, PATIENCE if there is none."""
    limit = PATIENCE if limit is None else limit
    return min(limit, IMPATIENCE) if given_up else limit


def wait_until(what, condition, limit=None):
    """Waits for a condition and returns its value."""
    deadline = time.monotonic() + limited(limit)
    while not (value := condition()):
        if time.monotonic() >= deadline:
            give_up(f"gave up waiting: {what}")
        time.sleep(0.003)
    return value


def stat(pid):
    """(state, parent, group, session) of a process; None if it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else (fields[0], *map(int, fields[1:4]))


def state(pid):
    """The letter that the system has for it: T is stopped; "-" is gone or a zombie."""
    return (stat(pid) or "-")[0]


def goes_on(pid):
    """It lives and is not stopped."""
    return state(pid) in "RSD"


def is_asleep(pid):
    """Every thread of it waits for something."""
    try:
        threads = [Path(f"/proc/{pid}/task/{name}/stat").read_text() for name in os.listdir(f"/proc/{pid}/task")]
    except OSError:
        return False
    return all(thread.rpartition(")")[2].split()[0] == "S" for thread in threads)


def is_full(pipe):
    """There is no room for more than what may be left free of the first page and the last one."""
    (unread,) = struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))
    return unread > fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ) - 2 * os.sysconf("SC_PAGE_SIZE")
