"""Reports each real-time signal that it gets, one by one, until it is told to go. They are blocked from its start on."""

import signal
import sys

from common import report, told

NUMBERS = range(signal.SIGRTMIN, signal.SIGRTMAX + 1)
report(ready=sorted(set(NUMBERS) & signal.pthread_sigmask(signal.SIG_BLOCK, NUMBERS)))
while not told("go"):
    while info := signal.sigtimedwait(NUMBERS, 0.02):
        report(signal=info.si_signo)
sys.exit(7)
