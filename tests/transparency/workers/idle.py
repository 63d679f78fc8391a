"""Reports that it is ready, waits to be released, and exits with 7. Signals have their default effect."""

import os
import signal
import sys

from common import report, wait_for

signal.signal(signal.SIGINT, signal.SIG_DFL)
report(ready=os.getpid())
wait_for("go")
sys.exit(7)
