"""A signal to the wrapper alone reaches the worker once."""

import ctypes
import os
import resource
import signal
import subprocess
import time
import unittest
from pathlib import Path

from counting import Counter
from harness import CATCHABLE, GRACE, SOON, goes_on, needs_wrapper, row, sidecar_only, wait_until
from running import Case, inline

SI_USER, SI_QUEUE = 0, -1
libc = ctypes.CDLL(None, use_errno=True)


class SingleSignals(Case):
    @row("every catchable signal to the wrapper reaches the worker, once")
    def test_every_signal(self):
        sent, counter = [], None
        for number in CATCHABLE:
            if number == signal.SIGCHLD:
                continue
            counter = counter or self.start(None, Counter)
            with self.subTest(signal=number):
                try:
                    counter.kill(number)
                    counter.wait_seen(number)
                    self.assertTrue(goes_on(counter.pid), "the wrapper has stopped")
                    sent.append(number)
                except (AssertionError, ProcessLookupError):
                    # The next signals need a wrapper that runs.
                    counter, sent = None, []
                    raise
        counter = counter or self.start(None, Counter)
        time.sleep(GRACE)
        self.assertEqual(counter.seen(), sent)
        self.assertEqual(counter.end(), 7)

    @row("every catchable signal to the wrapper reaches the worker, once")
    def test_child(self):
        """SIGCHLD that a process sends is passed on like any other signal."""
        counter = self.start(None, Counter)
        self.assertEqual(counter.count_after(signal.SIGCHLD, lambda: counter.kill(signal.SIGCHLD))[0], 1)

    @row("every catchable signal to the wrapper reaches the worker, once")
    def test_one_after_another(self):
        """The same signal, sent again soon after, is passed on again."""
        counter = self.start(None, Counter)
        for count in range(1, 21):
            began = time.monotonic()
            counter.kill(signal.SIGTERM)
            counter.wait_seen(signal.SIGTERM, count)
            self.assertLess(time.monotonic() - began, SOON)
        time.sleep(GRACE)
        self.assertEqual(counter.seen(), [signal.SIGTERM] * 20)

    @row("real-time signals queue, with their values")
    def test_queue(self):
        counter = self.start(None, Counter)
        for _ in range(10):
            counter.kill(signal.SIGRTMIN + 2)
        counter.wait_seen(signal.SIGRTMIN + 2, 10)
        time.sleep(GRACE)
        self.assertEqual(counter.seen(), [signal.SIGRTMIN + 2] * 10)

    @row("real-time signals queue, with their values")
    def test_value(self):
        counter = self.start(None, Counter)
        for number, value in ((signal.SIGRTMIN + 3, 4711), (signal.SIGUSR1, -1)):
            with self.subTest(signal=number):
                libc.sigqueue(counter.pid, int(number), ctypes.c_void_p(value & 0xFFFFFFFF))
                counter.wait_seen(number)
                self.assertEqual((counter.facts("code")[-1], counter.facts("value")[-1]), (SI_QUEUE, value))
                self.assertEqual(counter.facts("pid")[-1], os.getpid())

    @row("a timer set before the start")
    def test_alarm(self):
        """An alarm survives exec: `perl -e 'alarm 10; exec @ARGV'`. The kernel signals the process alone."""

        def alarm():
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
            signal.setitimer(signal.ITIMER_REAL, 0.4)

        counter = self.start(None, Counter, setup=alarm)
        counter.wait_seen(signal.SIGALRM)
        time.sleep(GRACE)
        self.assertEqual(counter.seen(), [signal.SIGALRM])

    @row("the wrapper's processor time is its own affair")
    @sidecar_only
    def test_limit_and_timers_of_processor_time(self):
        """The worker's children write so much that the sidecar uses more than the limit, and they do not. Timers survive
        exec and count what the sidecar uses."""

        def limit():
            for timer in (signal.ITIMER_PROF, signal.ITIMER_VIRTUAL):
                signal.setitimer(timer, 0.5, 0.01)
            _, hard = resource.getrlimit(resource.RLIMIT_CPU)
            resource.setrlimit(resource.RLIMIT_CPU, (1, 2 if may_raise_limits() else hard))

        script = 'while ! [ -e "$TRANSPARENCY_FOLDER/go" ]; do head -c 20000000 /dev/zero >&2; done; exit 7'
        run = self.start(["sh", "-c", script], setup=limit, stderr=subprocess.DEVNULL)

        def used():
            fields = Path(f"/proc/{run.pid}/stat").read_text().rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") > 2.5

        wait_until("more than the limit used", used, 60)
        run.release("go")
        self.assertEqual(run.wait(), 7)

    @row("an ignored or blocked signal")
    def test_ignored(self):
        """A signal that the parent ignores has no effect."""
        code = "report(ready=1); wait_for('go'); os._exit(5)"
        numbers = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGRTMIN)

        def ignore():
            for number in numbers:
                signal.signal(number, signal.SIG_IGN)

        run = self.start(inline(code), setup=ignore)
        run.fact("ready")
        for number in numbers:
            run.kill(number)
        time.sleep(GRACE)
        run.release("go")
        self.assertEqual(run.wait(), 5)

    @row("an ignored or blocked signal")
    def test_ignored_and_handled(self):
        """The worker may handle a signal that its parent ignores."""
        counter = self.start(None, Counter, setup=lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN))
        self.assertEqual(counter.count_after(signal.SIGTERM, lambda: counter.kill(signal.SIGTERM))[0], 1)

    @row("an ignored or blocked signal")
    def test_blocked(self):
        """A signal that the parent blocks is pending until the worker unblocks it."""
        code = """
report(ready=os.getpid())
wait_for('go')
report(pending=sorted(signal.sigpending()))
signal.signal(signal.SIGTERM, lambda *_: report(handled=1))
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
wait_for('end')
"""
        run = self.start(
            inline(code), setup=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR2])
        )
        pid = run.fact("ready")
        run.kill(signal.SIGTERM)
        wait_until("it pending in the worker", lambda: is_pending(pid, signal.SIGTERM))
        run.release("go")
        self.assertEqual(run.fact("pending"), [signal.SIGTERM])
        run.fact("handled")
        run.release("end")
        self.assertEqual(run.wait(), 0)
        self.assertEqual(run.facts("handled"), [1])

    @row("every catchable signal to the wrapper reaches the worker, once")
    @needs_wrapper
    def test_no_orphan(self):
        """After a signal that ends the worker no process is left."""
        for number in (1, 2, 3, 10, 12, 15, 34, 64):
            with self.subTest(signal=number):
                run = self.start(inline("report(ready=1); wait_for('never')"))
                run.fact("ready")
                run.kill(number)
                self.assertEqual(run.wait(), -number)
                run.nothing_left(SOON)


def may_raise_limits():
    """Whether this process has the capability (CAP_SYS_RESOURCE) to raise hard limits."""
    with open("/proc/self/status") as status:
        (mask,) = [int(line.split()[1], 16) for line in status if line.startswith("CapEff")]
    return mask >> 24 & 1


def is_pending(pid, number):
    """Whether the process as a whole has this signal pending."""
    with open(f"/proc/{pid}/status") as status:
        lines = dict(line.split(":\t", 1) for line in status if ":\t" in line)
    return int(lines["ShdPnd"], 16) >> (number - 1) & 1


if __name__ == "__main__":
    unittest.main()
