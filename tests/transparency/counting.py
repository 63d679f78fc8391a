"""Counts the signals that a worker gets."""

import os
import time

from harness import GRACE, wait_until
from running import Run, worker


class Counter(Run):
    """A worker that reports every signal, once it is ready."""

    def __init__(self, command=None, **options):
        super().__init__(command or worker("counter"), **options)
        try:
            self.worker = self.fact("ready")
        except AssertionError:
            self.close()
            raise

    def seen(self, number=None):
        """All signals that it has reported, or all of this number."""
        return [n for n in self.facts("signal") if number in (None, n)]

    def wait_seen(self, number, times=1, limit=None):
        wait_until(f"signal {number} seen {times} times", lambda: len(self.seen(number)) >= times, limit)

    def count_after(self, number, send, limit=None):
        """Calls `send`, which sends this signal. Returns the number of deliveries and the time it took."""
        before = len(self.seen(number))
        began = time.monotonic()
        send()
        took = time.monotonic() - began
        self.wait_seen(number, before + 1, limit)
        time.sleep(GRACE)
        return len(self.seen(number)) - before, took

    def codes(self, number):
        """The si_code of each signal of this number."""
        return [code for n, code in zip(self.facts("signal"), self.facts("code")) if n == number]

    def group(self, number):
        """Sends a signal to its whole process group."""
        os.killpg(self.pid, number)

    def end(self):
        """Lets the worker exit, and returns the exit status."""
        self.release("go")
        return self.wait()
