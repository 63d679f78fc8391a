"""Signals of the terminal: each reaches the worker once, from the kernel."""

import fcntl
import os
import signal
import struct
import termios
import time
import unittest

from counting import Counter
from harness import GRACE, IS_SIDECAR, SIDECAR, goes_on, needs_wrapper, row
from running import Case, inline, worker

SI_KERNEL = 128
CTRL_C, CTRL_BACKSLASH, CTRL_Z = "\x03", "\x1c", "\x1a"


class Terminal(Case):
    def counter(self):
        return self.start(None, Counter, terminal=True)

    def key(self, counter, key, number):
        self.assertEqual(counter.count_after(number, lambda: counter.type(key))[0], 1)
        self.assertEqual(counter.codes(number)[-1], SI_KERNEL)

    @row("Ctrl-C and Ctrl-\\ arrive once")
    def test_keys(self):
        counter = self.counter()
        for attempt in range(5):
            for key, number in ((CTRL_C, signal.SIGINT), (CTRL_BACKSLASH, signal.SIGQUIT)):
                with self.subTest(attempt=attempt, signal=number):
                    self.key(counter, key, number)
        self.assertEqual(counter.end(), 7)

    @row("Ctrl-C and Ctrl-\\ arrive once")
    def test_key_and_kill(self):
        """A signal from another process arrives as well, with its own si_code."""
        counter = self.counter()
        self.key(counter, CTRL_C, signal.SIGINT)
        self.assertEqual(counter.count_after(signal.SIGINT, lambda: counter.kill(signal.SIGINT))[0], 1)
        self.assertNotEqual(counter.codes(signal.SIGINT)[-1], SI_KERNEL)
        self.key(counter, CTRL_C, signal.SIGINT)

    @row("Ctrl-C and Ctrl-\\ arrive once")
    @needs_wrapper
    def test_key_does_not_reach_a_worker_outside_the_foreground_group(self):
        """Without the wrapper it would not get it either."""
        counter = self.start(worker("counter", "--own-group"), Counter, terminal=True)
        counter.type(CTRL_C)
        time.sleep(GRACE)
        counter.kill(signal.SIGUSR1)
        counter.wait_seen(signal.SIGUSR1)
        self.assertEqual(counter.seen(), [signal.SIGUSR1])

    @row("exit code; death by the same signal")
    def test_deadly_keys(self):
        for key, number in ((CTRL_C, signal.SIGINT), (CTRL_BACKSLASH, signal.SIGQUIT)):
            with self.subTest(signal=number):
                run = self.start(worker("idle"), terminal=True)
                run.fact("ready")
                run.type(key)
                self.assertEqual(run.wait(), -number)

    @row("a change of the terminal's size arrives once")
    def test_size(self):
        """With a pseudo-terminal as its stderr it may arrive twice, see test_stderr_terminal."""
        prefix = [SIDECAR, "-q", "--stderr", "pipe", "--"] if IS_SIDECAR else None
        counter = self.start(None, Counter, terminal=True, prefix=prefix)
        for lines in (30, 40, 50):

            def change():
                fcntl.ioctl(counter.master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, 100, 0, 0))

            with self.subTest(lines=lines):
                self.assertEqual(counter.count_after(signal.SIGWINCH, change)[0], 1)

    @row("the terminal's hang-up arrives once")
    def test_hang_up(self):
        """The kernel sends it to the session's leader, not to the group, so only the wrapper gets it."""
        counter = self.counter()
        os.close(counter.master)
        counter.master = None
        for number in (signal.SIGHUP, signal.SIGCONT):
            with self.subTest(signal=number):
                counter.wait_seen(number)
        time.sleep(GRACE)
        self.assertEqual(sorted(counter.seen()), [signal.SIGHUP, signal.SIGCONT])

    @row("Ctrl-Z leaves running what handles it")
    def test_handled_stop(self):
        """A worker with a handler does not stop, so neither does the wrapper."""
        counter = self.counter()
        for attempt in range(3):
            with self.subTest(attempt=attempt):
                self.key(counter, CTRL_Z, signal.SIGTSTP)
                self.assertTrue(goes_on(counter.pid))
        self.assertEqual(counter.end(), 7)

    @row("the terminal is the worker's")
    def test_streams(self):
        """The worker reads and writes the terminal, and its settings are kept."""
        code = """
import termios
settings = termios.tcgetattr(0)
report(ready=[os.isatty(0), os.isatty(1), os.ttyname(0) == os.ttyname(1), os.tcgetpgrp(0) == os.getpgrp()])
line = os.read(0, 100)
os.write(1, b"<" + line.strip() + b">")
report(same=termios.tcgetattr(0) == settings)
wait_for("go")
"""
        run = self.start(inline(code), terminal=True)
        self.assertEqual(run.fact("ready"), [True, True, True, True])
        run.type("typed\n")
        run.expect("<typed>")
        self.assertTrue(run.fact("same"))
        run.release("go")
        self.assertEqual(run.wait(), 0)


if __name__ == "__main__":
    unittest.main()
