"""The worker gets a signal once that is sent to each process of a unit in turn, as systemd does."""

import contextlib
import os
import random
import signal
import time
import unittest

from counting import Counter
from harness import row
from running import Case

# The longest time in seconds that systemd takes from the first process of a unit to the last.
WITHIN = 0.020
REPEATS = 10
ORDERS = {
    "wrapper first": lambda wrapper, worker, others: [wrapper, worker, *others],
    "wrapper first, worker last": lambda wrapper, worker, others: [wrapper, *others, worker],
    "worker first": lambda wrapper, worker, others: [worker, wrapper, *others],
    "worker first, wrapper last": lambda wrapper, worker, others: [worker, *others, wrapper],
    "wrapper last": lambda wrapper, worker, others: [*others, worker, wrapper],
    "others first": lambda wrapper, worker, others: [*others, wrapper, worker],
    "as listed": lambda wrapper, worker, others: sorted({wrapper, worker, *others}),
}
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)


@row("a signal to each process in turn arrives once")
class UnitSignals(Case):
    def each_in_turn(self, counter, number, order, gap):
        """Signals every process of the unit, and again if this process was too slow."""
        for _ in range(20):
            members = counter.family()
            others = [pid for pid in members if pid not in (counter.pid, counter.worker)]
            # Without a wrapper both are the same process.
            pids = list(dict.fromkeys(order(counter.pid, counter.worker, others)))

            def send():
                for index, pid in enumerate(pids):
                    time.sleep(gap if index else 0)
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, number)

            count, took = counter.count_after(number, send)
            if took < WITHIN:
                return self.assertEqual(count, 1)
        self.skipTest("this machine is too busy to send signals in time")

    def test_each_in_turn(self):
        counter = self.start(None, Counter)
        for name, order in ORDERS.items():
            for gap in (0, 0.005):
                with self.subTest(order=name, gap=gap):
                    self.each_in_turn(counter, signal.SIGTERM, order, gap)

    def test_each_in_turn_repeated(self):
        counter = self.start(None, Counter)
        for attempt in range(REPEATS):
            name = random.choice(list(ORDERS))
            with self.subTest(attempt=attempt, order=name):
                self.each_in_turn(counter, signal.SIGTERM, ORDERS[name], random.uniform(0, 0.006))

    def test_each_in_turn_other_signals(self):
        counter = self.start(None, Counter)
        for number in SIGNALS[1:]:
            for name in ("wrapper first", "worker first"):
                with self.subTest(signal=number, order=name):
                    self.each_in_turn(counter, number, ORDERS[name], 0)


if __name__ == "__main__":
    unittest.main()
