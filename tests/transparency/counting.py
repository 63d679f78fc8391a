"""Counting the signals that a worker gets."""

import os
import time

from harness import GRACE, wait_until
from running import Run, worker


class Counter(Run):
    """A worker that reports every signal, ready to be sent some."""

    def __init__(self, command=None, **options):
        super().__init__(command or worker("counter"), **options)
        try:
            self.worker = self.fact("ready")
        except AssertionError:
            self.close()
            raise

    def seen(self, number=None):
        """All it saw so far, or all of this signal."""
        return [n for n in self.facts("signal") if number in (None, n)]

    def wait_seen(self, number, times=1, limit=None):
        wait_until(f"signal {number} seen {times} times", lambda: len(self.seen(number)) >= times, limit)

    def count_after(self, number, send, limit=None):
        """Does something that sends this signal; (how often it was seen, seconds the sending took)."""
        before = len(self.seen(number))
        began = time.monotonic()
        send()
        took = time.monotonic() - began
        self.wait_seen(number, before + 1, limit)
        time.sleep(GRACE)
        return len(self.seen(number)) - before, took

    def codes(self, number):
        """The si_code of each."""
        return [code for n, code in zip(self.facts("signal"), self.facts("code")) if n == number]

    def group(self, number):
        """Sends a signal to its whole process group."""
        os.killpg(self.pid, number)

    def end(self):
        """Lets it go; its exit status."""
        self.tell("go")
        return self.wait()
