"""Signals after the worker's end: they end the delivery of events and cost no byte of ordinary output."""

import os
import select
import signal
import socket
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

from harness import GRACE, SIDECAR, SOON, row, sidecar_only, stat, wait_until
from running import Case, inline

LINES = b"".join(b"line %07d of the worker's last words\n" % number for number in range(2200))
# Writes all lines, however long that takes, and exits with 9.
WRITER = """
text = b"".join(b"line %07d of the worker's last words\\n" % number for number in range(2200))
while text:
    text = text[os.write(2, text[:5000]):]
os._exit(9)
"""
# Prints an event, and 1,000 more on SIGTERM, before it ends as its argument says: `exit` or `death`. With `burst` these
# come on SIGUSR1, and SIGTERM just ends it.
EVENTS = """
def event(name):
    return b'TELEMETRY:{"event": "%s", "metadata": {"text": "%s"}}\\n' % (name, b"x" * 1000)

def end(*_):
    os.write(2, event(b"last") * 1000)
    if ARGUMENTS == ["burst"]:
        return report(printed=True)
    if ARGUMENTS == ["exit"]:
        os._exit(9)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)

signal.signal(signal.SIGUSR1 if ARGUMENTS == ["burst"] else signal.SIGTERM, end)
os.write(2, event(b"first"))
report(ready=os.getpid())
while True:
    signal.pause()
"""
# A signal that comes within this time after the worker's exit, in seconds, is taken for the unit's.
WITHIN = 0.1


def signal_in_turn(processes, number):
    """Signals the first process, waits for its end, and signals the others. Returns the time from that end on, or
    more: from when it was last seen alive."""
    first, *others = processes
    os.kill(first, number)
    began = time.monotonic()

    def has_ended():
        nonlocal began
        looked = time.monotonic()
        if stat(first) is None:
            return True
        began = looked
        return False

    wait_until("the worker's end", has_ended)
    for pid in others:
        os.kill(pid, number)
    return time.monotonic() - began


@sidecar_only
class Drain(Case):
    def ended_worker(self, command, writer, **options):
        """A sidecar whose worker has ended, and whose own stderr is full."""
        run = self.start(command, stderr=writer, **options)

        def ended():
            # The witness goes a second after the worker.
            return not select.select([], [writer], [], 0)[1] and run.family() == [run.pid]

        wait_until("a full stderr, and the end of worker and witness", ended)
        return run

    def ends_at_once(self, run, number):
        began = time.monotonic()
        run.kill(number)
        self.assertEqual(run.wait(), 9)
        self.assertLess(time.monotonic() - began, SOON)

    @row("a signal after the worker's end: the exit is at once, and no byte of stderr is lost")
    def test_unread_pipe(self):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            with self.subTest(signal=number):
                reader, writer = os.pipe()
                run = self.ended_worker(inline(WRITER), writer)
                os.close(writer)
                self.ends_at_once(run, number)
                with open(reader, "rb") as stream:
                    self.assertTrue(stream.read() == LINES)

    @row("a signal after the worker's end: the exit is at once, and no byte of stderr is lost")
    def test_unread_socket(self):
        ours, theirs = socket.socketpair()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 30000)
        run = self.ended_worker(inline(WRITER), theirs)
        theirs.close()
        self.ends_at_once(run, signal.SIGTERM)
        with ours, ours.makefile("rb") as stream:
            self.assertTrue(stream.read() == LINES)

    @row("a signal after the worker's end: the exit is at once, and no byte of stderr is lost")
    @unittest.skipUnless(os.geteuid() == 0, "needs a pipe of another user")
    def test_unread_pipe_of_another_user(self):
        """The sidecar may not open it again, so it waits for the reader, and loses nothing either."""
        reader, writer = os.pipe()
        os.fchown(writer, 0, 0)
        os.fchmod(writer, 0o600)

        def become():
            os.setgroups([])
            os.setgid(54322)
            os.setuid(54322)

        try:
            subprocess.run([SIDECAR, "--version"], preexec_fn=become, check=True, capture_output=True, cwd="/")
        except (OSError, subprocess.SubprocessError):
            self.skipTest("another user may not execute the binary")
        loop = "while [ $i -lt 2200 ]; do echo some text of a line that is written $i; i=$((i+1)); done"
        text = f"i=0; {loop} >&2; exit 9"
        run = self.ended_worker(["/bin/sh", "-c", text], writer, setup=become, cwd="/")
        os.close(writer)
        run.kill(signal.SIGTERM)
        with open(reader, "rb") as stream:
            lines = stream.read().splitlines()
        self.assertEqual(lines, [b"some text of a line that is written %d" % number for number in range(2200)])
        self.assertEqual(run.wait(), 9)

    def subscribed(self, end):
        """A sidecar with a subscriber that has got an event and is stopped; the worker and the witness."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        ready = Path(folder.name, "ready")
        prefix = [SIDECAR, "--drain-timeout", "600s", "--ready-file", str(ready), "--"]
        run = self.start(inline(EVENTS, end), prefix=prefix)
        worker = run.fact("ready")
        address = f"127.0.0.1:{ready.read_text().split()[0]}"
        tail = subprocess.Popen([SIDECAR, "tail", address], stdout=subprocess.PIPE)
        self.addCleanup(tail.stdout.close)
        self.addCleanup(tail.wait)
        self.addCleanup(tail.kill)
        self.assertIn(b"first", tail.stdout.readline())
        os.kill(tail.pid, signal.SIGSTOP)
        (witness,) = [pid for pid in run.family() if pid not in (run.pid, worker)]
        return run, worker, witness, tail

    def count_rest(self, tail):
        """How many events the subscriber still gets, which takes some of them only now."""
        time.sleep(GRACE)
        os.kill(tail.pid, signal.SIGCONT)
        return len(tail.stdout.read().splitlines())

    @row("a signal to each process in turn is no second one: the last events arrive")
    def test_unit_signal_after_the_worker(self):
        for end, status in (("exit", 9), ("death", -signal.SIGTERM)):
            for order in ("sidecar first", "witness first"):
                with self.subTest(end=end, order=order):
                    self.each_in_turn(end, status, order)

    def each_in_turn(self, end, status, order):
        misses = 0
        for _ in range(20):
            run, worker, witness, tail = self.subscribed(end)
            rest = [run.pid, witness] if order == "sidecar first" else [witness, run.pid]
            took = signal_in_turn([worker, *rest], signal.SIGTERM)
            count = self.count_rest(tail)
            self.assertEqual(run.wait(), status)
            if took < WITHIN / 2 and count == 1000:
                return
            # The sidecar itself may see a signal too late, which cannot be measured from here.
            misses += took < WITHIN / 2
            self.assertLess(misses, 3, f"{count} of 1000 events")
        self.skipTest("this machine is too busy to send signals in time")

    @row("a signal to each process in turn is no second one: the last events arrive")
    def test_group(self):
        for attempt in range(10):
            for end, status in (("exit", 9), ("death", -signal.SIGTERM)):
                with self.subTest(attempt=attempt, end=end):
                    run, worker, _, tail = self.subscribed(end)
                    os.killpg(run.pid, signal.SIGTERM)
                    wait_until("the worker's end", lambda: stat(worker) is None)
                    self.assertEqual(self.count_rest(tail), 1000)
                    self.assertEqual(run.wait(), status)

    @row("a signal to each process in turn is no second one: the last events arrive")
    def test_burst(self):
        """The same signal to the group twice at once, as when a terminal is closed, is one."""
        for gap in (0, 0.0005, 0.002, 0.005):
            with self.subTest(gap=gap):
                self.burst(gap)

    def burst(self, gap):
        misses = 0
        for _ in range(20):
            run, worker, _, tail = self.subscribed("burst")
            os.kill(worker, signal.SIGUSR1)
            run.fact("printed")
            began = time.monotonic()
            os.killpg(run.pid, signal.SIGTERM)
            time.sleep(gap)
            os.killpg(run.pid, signal.SIGTERM)
            took = time.monotonic() - began
            count = self.count_rest(tail)
            self.assertEqual(run.wait(), -signal.SIGTERM)
            if took < WITHIN / 2 and count == 1000:
                return
            # The sidecar itself may see a signal too late.
            misses += took < WITHIN / 2
            self.assertLess(misses, 3, f"{count} of 1000 events")
        self.skipTest("this machine is too busy to send signals in time")

    @row("a signal to each process in turn is no second one: the last events arrive")
    def test_second_signal(self):
        """One more is the operator's: it ends the delivery to a subscriber that does not read."""
        for to in (os.kill, os.killpg):
            with self.subTest(to=to.__name__):
                run, worker, _, tail = self.subscribed("death")
                os.killpg(run.pid, signal.SIGTERM)
                wait_until("the worker's end", lambda: stat(worker) is None)
                began = time.monotonic()
                while run.process.poll() is None:
                    to(run.pid, signal.SIGTERM)
                    time.sleep(0.01)
                self.assertLess(time.monotonic() - began, SOON)
                self.assertEqual(run.wait(), -signal.SIGTERM)
                os.kill(tail.pid, signal.SIGKILL)


if __name__ == "__main__":
    unittest.main()
