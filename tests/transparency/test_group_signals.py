"""The worker gets a signal to the whole group once, and one to the wrapper alone as well."""

import os
import signal
import time
import unittest

from counting import Counter
from harness import GRACE, SOON, row
from running import Case, worker

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)


class GroupSignals(Case):
    def once(self, counter, number, send):
        self.assertEqual(counter.count_after(number, send)[0], 1)

    @row("a signal to the group arrives once")
    def test_group(self):
        counter = self.start(None, Counter)
        for number in (*SIGNALS, signal.SIGQUIT, signal.SIGWINCH, signal.SIGRTMIN, signal.SIGRTMAX):
            with self.subTest(signal=number):
                self.once(counter, number, lambda: counter.group(number))
        self.assertEqual(counter.end(), 7)

    @row("a signal to the group arrives once")
    def test_group_repeated(self):
        counter = self.start(None, Counter)
        for attempt in range(10):
            with self.subTest(attempt=attempt):
                self.once(counter, signal.SIGTERM, lambda: counter.group(signal.SIGTERM))

    @row("a signal to the group arrives once")
    def test_group_of_a_shell(self):
        """The wrapper leads a group and no session."""
        counter = self.start(None, Counter, group="group")
        for number in SIGNALS:
            with self.subTest(signal=number):
                self.once(counter, number, lambda: counter.group(number))

    @row("a signal to the wrapper alone, beside such, arrives once and soon")
    def test_alone(self):
        counter = self.start(None, Counter)
        for number in SIGNALS:
            for attempt in range(3):
                with self.subTest(signal=number, attempt=attempt):
                    began = time.monotonic()
                    counter.kill(number)
                    counter.wait_seen(number, attempt + 1)
                    self.assertLess(time.monotonic() - began, SOON)
        time.sleep(GRACE)
        self.assertEqual(counter.seen(), [number for number in SIGNALS for _ in range(3)])

    @row("a signal to the wrapper alone, beside such, arrives once and soon")
    def test_alone_after_group(self):
        """A signal to the group must not suppress a later one to the wrapper alone."""
        counter = self.start(None, Counter)
        for attempt in range(3):
            with self.subTest(attempt=attempt):
                self.once(counter, signal.SIGTERM, lambda: counter.group(signal.SIGTERM))
                self.once(counter, signal.SIGTERM, lambda: counter.kill(signal.SIGTERM))
        self.assertEqual(counter.end(), 7)

    @row("a signal to the wrapper alone, beside such, arrives once and soon")
    def test_worker_alone_then_wrapper_alone(self):
        counter = self.start(None, Counter)
        for pid in (counter.worker, counter.pid):
            self.once(counter, signal.SIGTERM, lambda: os.kill(pid, signal.SIGTERM))

    @row("a group's signal reaches a worker that left the group")
    def test_worker_in_a_group_of_its_own(self):
        """It gets only what the wrapper passes on."""
        counter = self.start(worker("counter", "--own-group"), Counter)
        for number in SIGNALS:
            with self.subTest(signal=number):
                self.once(counter, number, lambda: counter.group(number))
                self.once(counter, number, lambda: counter.kill(number))

    @row("exit code; death by the same signal")
    def test_deadly(self):
        """The parent sees death by the same signal, and no process of the group is left."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL):
            with self.subTest(signal=number):
                run = self.start(["sleep", "1000"])
                os.killpg(run.pid, number)
                self.assertEqual(run.wait(), -number)
                run.nothing_left(SOON)


if __name__ == "__main__":
    unittest.main()
