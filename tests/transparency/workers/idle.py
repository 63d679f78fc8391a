"""Says that it is ready, waits until it is told to go, and exits with 7; signals do what they do by default."""

import os
import signal
import sys

from common import report, wait_for

signal.signal(signal.SIGINT, signal.SIG_DFL)
report(ready=os.getpid())
wait_for("go")
sys.exit(7)
