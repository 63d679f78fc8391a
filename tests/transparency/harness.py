"""Shared by the transparency tests: the wrapper under test, time limits, row titles, states of processes.

The wrapper is the binary that the environment's SIDECAR names, run with `-q --`; or the command line in
SIDECAR_WRAPPER: `tini --` is another wrapper, `env` is none, because it executes the command in its own place. Without
a wrapper every row must pass. This shows that a row tests transparency and not an implementation.
`cargo test` runs everything. By hand, in this folder:

    SIDECAR=../../target/debug/telemetry-sidecar python3 -m unittest -v test_group_signals
    SIDECAR_WRAPPER=env python3 -m unittest -v test_group_signals.GroupSignals.test_group

TRANSPARENCY_LONG=1 repeats more and waits longer.

No test depends on a fixed sleep to pass. Tests wait for events, with limits that only a failure reaches. "Exactly once"
is checked by waiting for the first delivery, then GRACE for a late second one, then counting.
"""

import faulthandler
import fcntl
import os
import shlex
import signal
import struct
import subprocess
import sys
import termios
import time
import unittest
from pathlib import Path

# Time limit of each wait, and a shorter one for the waits after the first failure.
TIMEOUT = float(os.environ.get("TRANSPARENCY_TIMEOUT", 30))
TIMEOUT_AFTER_FAILURE = 1.5
# How long a test waits for a second delivery of a signal after the first.
GRACE = 0.15
# The limit for "soon" and "at once": far more than needed on an idle machine, far less than a worker's life.
SOON = 4.0
# Whether tests repeat more often and wait longer.
LONG = os.environ.get("TRANSPARENCY_LONG", "0") not in ("", "0")

SIDECAR = os.environ.get("SIDECAR")
WRAPPER = os.environ.get("SIDECAR_WRAPPER")
if WRAPPER is None and SIDECAR is None:
    sys.exit("set SIDECAR to the binary's path, or SIDECAR_WRAPPER to another wrapper's command line")
SIDECAR = SIDECAR and os.path.abspath(SIDECAR)
W = [SIDECAR, "-q", "--"] if WRAPPER is None else shlex.split(WRAPPER)
IS_SIDECAR = WRAPPER is None
IS_STATIC = IS_SIDECAR and b"musl" in subprocess.check_output([SIDECAR, "--version"])
# The variable that the sidecar sets for the worker, and no other wrapper does.
WRAPPED = "TELEMETRY_SIDECAR=1"
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
    """This limit in seconds, TIMEOUT if it is None."""
    limit = TIMEOUT if limit is None else limit
    return min(limit, TIMEOUT_AFTER_FAILURE) if given_up else limit


def wait_until(what, condition, limit=None):
    """Waits for a condition and returns its value."""
    deadline = time.monotonic() + limited(limit)
    while not (value := condition()):
        if time.monotonic() >= deadline:
            give_up(f"gave up waiting: {what}")
        time.sleep(0.003)
    return value


def stat(pid):
    """(state, parent, group, session) of a process; None if it has ended or is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else (fields[0], *map(int, fields[1:4]))


def state(pid):
    """The letter of its state: T is stopped; "-" stands for ended or a zombie."""
    return (stat(pid) or "-")[0]


def goes_on(pid):
    """Whether it exists and is not stopped."""
    return state(pid) in "RSD"


def is_asleep(pid):
    """Whether all of its threads sleep."""
    try:
        threads = [Path(f"/proc/{pid}/task/{name}/stat").read_text() for name in os.listdir(f"/proc/{pid}/task")]
    except OSError:
        return False
    return all(thread.rpartition(")")[2].split()[0] == "S" for thread in threads)


def is_full(pipe):
    """Whether it is full, apart from what may be left free of the first page and the last one."""
    (unread,) = struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))
    return unread > fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ) - 2 * os.sysconf("SC_PAGE_SIZE")
