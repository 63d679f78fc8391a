"""Runs the Python in its first argument, which may report to the test and wait for it."""

import errno
import os
import signal
import subprocess
import sys
import time

from common import report, wait_for

__all__ = ["errno", "os", "report", "signal", "subprocess", "time", "wait_for"]

signal.signal(signal.SIGINT, signal.SIG_DFL)
CODE, ARGUMENTS = sys.argv[1], sys.argv[2:]
exec(compile(CODE, "worker", "exec"))
