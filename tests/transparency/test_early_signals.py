"""A signal to the group in the first milliseconds, while the wrapper starts the worker, arrives once.

The signals are real-time ones, which queue, and are blocked from the start, so a worker that gets one twice has two in
its queue. After them a last signal is sent to the wrapper alone. Once the worker has that, all signals that came before
it have been decided about, so nothing has to be waited for.
"""

import os
import signal
import time
import unittest

from harness import LONG, row, wait_until
from running import Case, Run, worker

NUMBERS = range(signal.SIGRTMIN, signal.SIGRTMAX)
LAST = signal.SIGRTMAX
ROUNDS = 40 if LONG else 8


class Queue(Run):
    """A worker with all real-time signals blocked from the start."""

    def __init__(self, command, **options):
        def block():
            signal.pthread_sigmask(signal.SIG_BLOCK, [*NUMBERS, LAST])

        super().__init__(command, setup=block, **options)
        self.began = time.perf_counter()

    def signal_group_at(self, seconds, number):
        """Signals the group so long after the start."""
        while time.perf_counter() < self.began + seconds:
            pass
        os.killpg(self.pid, number)

    def seen(self):
        """All real-time signals that the worker got before the last one, sorted."""
        self.fact("ready")
        self.kill(LAST)
        wait_until("the last signal", lambda: LAST in self.facts("signal"))
        return sorted(number for number in self.facts("signal") if number != LAST)


@row("a signal to the group in the first milliseconds arrives once")
class EarlySignals(Case):
    def begin(self):
        return self.start(worker("queue"), Queue)

    def test_one_signal_at_each_time(self):
        delays = [step * 0.00025 for step in range(13)]
        for attempt in range(ROUNDS):
            runs = []
            for delay in delays:
                run = self.begin()
                run.signal_group_at(delay, signal.SIGRTMIN)
                runs.append((delay, run))
            for delay, run in runs:
                with self.subTest(attempt=attempt, delay=delay):
                    self.assertEqual(run.seen(), [signal.SIGRTMIN])
                run.close()

    def test_many_signals_in_turn(self):
        """Each number once, so every part of the start is covered."""
        for interval in (0.00003, 0.0001, 0.0002, 0.0004):
            for attempt in range(ROUNDS):
                with self.subTest(interval=interval, attempt=attempt):
                    run = self.begin()
                    for index, number in enumerate(NUMBERS):
                        run.signal_group_at(index * interval, number)
                    self.assertEqual(run.seen(), list(NUMBERS))
                    run.close()

    def test_deadly_signal(self):
        """It ends the wrapper before it has started the worker, or the worker. Nothing is left."""
        for attempt in range(ROUNDS):
            for step in range(13):
                with self.subTest(attempt=attempt, step=step):
                    run = self.start(["sleep", "1000"])
                    time.sleep(step * 0.00025)
                    os.killpg(run.pid, signal.SIGTERM)
                    self.assertEqual(run.wait(), -signal.SIGTERM)
                    run.nothing_left()


if __name__ == "__main__":
    unittest.main()
