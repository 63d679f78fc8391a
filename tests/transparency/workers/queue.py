"""Reports each real-time signal that it gets until it is released. They are blocked at its start."""

import signal
import sys

from common import is_released, report

NUMBERS = range(signal.SIGRTMIN, signal.SIGRTMAX + 1)
report(ready=sorted(set(NUMBERS) & signal.pthread_sigmask(signal.SIG_BLOCK, NUMBERS)))
while not is_released("go"):
    while info := signal.sigtimedwait(NUMBERS, 0.02):
        report(signal=info.si_signo)
sys.exit(7)
