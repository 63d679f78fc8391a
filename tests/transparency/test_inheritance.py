"""Signal dispositions and the signal mask that the worker inherits are those that the wrapper inherited."""

import os
import re
import signal
import subprocess
import unittest

from harness import CATCHABLE, W, row
from running import Case, inline

# A program that changes no signals; grep installs handlers.
STATUS = ["sed", "-n", "/^Sig[BIC]/p; /^...Pnd/p", "/proc/self/status"]
SHOWN = 5


# glibc's own, 32 and 33: its posix_spawn leaves them ignored in whatever it starts, such as these tests.
RESERVED = 0b11 << 31


def ignored(status):
    """The mask of the signals that a process ignores."""
    return int(re.search(r"SigIgn:\s+(\w+)", status)[1], 16) & ~RESERVED


def ignoring(*numbers):
    return lambda: [signal.signal(number, signal.SIG_IGN) for number in numbers]


def blocking(*numbers):
    return lambda: signal.pthread_sigmask(signal.SIG_BLOCK, numbers)


class Inheritance(Case):
    def same(self, command=None, **options):
        """Compares the signal lines of a process's own status."""
        direct, wrapped = self.both(command or STATUS, **options)
        self.assertEqual(len(direct[1].splitlines()), SHOWN, direct)
        self.assertEqual(direct[0], 0)
        self.assertEqual(direct[1].decode(), wrapped[1].decode(), wrapped[2])
        self.assertEqual(direct[0], wrapped[0])
        return direct[1].decode()

    @row("inherited signal dispositions are restored exactly")
    def test_dispositions(self):
        cases = {
            "none": (),
            "nohup": (signal.SIGHUP,),
            "Erlang": (signal.SIGFPE, signal.SIGPIPE),
            "pipe": (signal.SIGPIPE,),
            "child": (signal.SIGCHLD,),
            "stopping": (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGCONT),
            "faults": (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGABRT),
            "real-time": tuple(range(signal.SIGRTMIN, signal.SIGRTMAX + 1)),
            "all": tuple(CATCHABLE),
        }
        for name, numbers in cases.items():
            with self.subTest(ignored=name):
                shown = self.same(setup=ignoring(*numbers))
                expected = sum(1 << (number - 1) for number in numbers)
                self.assertEqual(ignored(shown), expected)

    @row("inherited signal dispositions are restored exactly")
    def test_shells_trap(self):
        for numbers in ("HUP INT PIPE", "HUP", "PIPE", "CHLD", "TERM QUIT"):
            with self.subTest(trap=numbers):
                script = f'trap "" {numbers}; exec "$@"'
                direct = self.run_to_end(["sh", "-c", script, "sh", *STATUS], prefix=[])
                wrapped = self.run_to_end(["sh", "-c", script, "sh", *W, *STATUS], prefix=[])
                self.assertEqual(direct, wrapped)

    @row("inherited signal dispositions are restored exactly")
    def test_nohup(self):
        """nohup of coreutils starts the wrapper."""
        direct = self.run_to_end(["nohup", *STATUS], prefix=[])
        wrapped = self.run_to_end(["nohup", *W, *STATUS], prefix=[])
        self.assertEqual(direct[:2], wrapped[:2])
        self.assertEqual(ignored(wrapped[1].decode()), 1)

    @row("inherited signal mask is restored exactly")
    def test_mask(self):
        cases = {
            "terminate": (signal.SIGTERM,),
            "child": (signal.SIGCHLD,),
            "stop": (signal.SIGTSTP, signal.SIGCONT),
            "real-time": (40,),
            "all": tuple(CATCHABLE),
        }
        for name, numbers in cases.items():
            with self.subTest(blocked=name):
                shown = self.same(setup=blocking(*numbers))
                expected = sum(1 << (number - 1) for number in numbers)
                self.assertEqual(int(re.search(r"SigBlk:\s+(\w+)", shown)[1], 16), expected)

    @row("inherited signal mask is restored exactly")
    def test_mask_and_dispositions(self):
        def both():
            ignoring(signal.SIGTERM, signal.SIGUSR1)()
            blocking(signal.SIGTERM, signal.SIGUSR2, signal.SIGINT)()

        self.same(setup=both)

    @row("inherited signal mask is restored exactly")
    def test_pending(self):
        """A signal that is pending when the wrapper is executed is pending in the worker."""

        def pend():
            blocking(signal.SIGUSR1)()
            os.kill(os.getpid(), signal.SIGUSR1)

        code = """
while signal.SIGUSR1 not in signal.sigpending():
    time.sleep(0.003)
report(pending=sorted(signal.sigpending()))
signal.signal(signal.SIGUSR1, lambda *_: report(handled=1))
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
"""
        run = self.start(inline(code), setup=pend)
        self.assertEqual(run.fact("pending"), [signal.SIGUSR1])
        self.assertEqual(run.wait(), 0)
        self.assertEqual(run.facts("handled"), [1])

    @row("SIGCHLD ignored or blocked by the parent: still the worker's code")
    def test_child_ignored(self):
        for name, setup in (("ignored", ignoring(signal.SIGCHLD)), ("blocked", blocking(signal.SIGCHLD))):
            with self.subTest(child=name):
                self.assertEqual(self.run_to_end(["sh", "-c", "exit 7"], setup=setup)[0], 7)
                self.assertEqual(self.run_to_end(["sh", "-c", "kill -9 $$"], setup=setup)[0], -9)

    @row("SIGCHLD ignored or blocked by the parent: still the worker's code")
    def test_inherited_child(self):
        """A child from before the wrapper was executed is not mistaken for the worker."""
        script = 'sh -c "sleep 0.2; exit 9" & exec "$@"'
        command = ["sh", "-c", script, "sh", *W, "sh", "-c", "sleep 0.6; exit 7"]
        self.assertEqual(self.run_to_end(command, prefix=[])[0], 7)
        command = ["sh", "-c", 'sh -c "sleep 0.6; exit 9" & exec "$@"', "sh", *W, "sh", "-c", "sleep 0.1; exit 7"]
        run = self.start(command, prefix=[], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.assertEqual(run.wait(), 7)


if __name__ == "__main__":
    unittest.main()
