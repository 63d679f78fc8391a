"""As PID 1 of a container the wrapper reaps orphans and exits with codes because signals do not end PID 1."""

import contextlib
import os
import signal
import subprocess
import unittest

from counting import Counter
from harness import W, needs_wrapper, row, stat, wait_until
from running import Case, Run, worker

NAMESPACES = (
    ["unshare", "-pf", "--mount-proc", "--kill-child"],
    ["unshare", "-Urpf", "--mount-proc", "--kill-child"],
)


def permitted(prefix):
    with contextlib.suppress(OSError):
        return subprocess.run([*prefix, "true"], stderr=subprocess.DEVNULL).returncode == 0


UNSHARE = next(filter(permitted, NAMESPACES), None)


@needs_wrapper
@unittest.skipUnless(UNSHARE, "unshare with a pid namespace is not permitted here")
class AsPid1(Case):
    def begin(self, command, kind=Run, leader=(), **options):
        return self.start(command, kind, prefix=[*UNSHARE, *leader, *W], **options)

    def first(self, run):
        """The namespace's first process: unshare's child."""

        def find():
            return [pid for pid in run.family() if (stat(pid) or (0, 0))[1] == run.pid]

        return wait_until("the first process", find)[0]

    @row("PID 1: exit code, 128+n")
    def test_codes(self):
        for code in (0, 1, 42, 127, 255):
            with self.subTest(code=code):
                self.assertEqual(self.begin(["sh", "-c", f"exit {code}"]).finish()[0], code)

    @row("PID 1: exit code, 128+n")
    def test_deaths(self):
        for number in (1, 2, 6, 9, 11, 13, 15, 34, 64):
            with self.subTest(signal=number):
                self.assertEqual(self.begin(["sh", "-c", f"kill -{number} $$"]).finish()[0], 128 + number)

    @row("PID 1: exit code, 128+n")
    def test_exec_failure(self):
        self.assertEqual(self.begin(["/nope"]).finish()[0], 127)

    @row("PID 1: zombies reaped, orphans adopted")
    def test_orphans(self):
        run = self.begin(worker("orphans"))
        run.fact("ready")
        wait_until("the orphans", lambda: len(run.facts("parent")) == 10)
        self.assertEqual(run.facts("parent"), [1] * 10)
        before = len(run.family())
        run.release("end")
        wait_until("the orphans' end", lambda: len(run.family()) <= before - 10)

        def none():
            before = len(run.facts("zombies"))
            run.release("again")
            wait_until("the count", lambda: len(run.facts("zombies")) > before)
            return run.facts("zombies")[-1] == 0

        wait_until("no zombies", none)
        run.release("go")
        run.release("again")
        self.assertEqual(run.wait(), 7)

    @row("PID 1: zombies reaped, orphans adopted")
    def test_status_of_an_orphan_is_not_the_workers(self):
        """An orphan ends before the worker does. Its status is not the worker's."""
        run = self.begin(["sh", "-c", "(sh -c 'sleep 0.2; exit 9' &); sleep 0.6; exit 3"])
        self.assertEqual(run.finish()[0], 3)

    @row("PID 1: zombies reaped, orphans adopted")
    def test_running_orphans_do_not_delay_the_exit(self):
        run = self.begin(["sh", "-c", "(sleep 1000 >/dev/null 2>&1 &); exit 4"])
        self.assertEqual(run.wait(), 4)
        run.nothing_left()

    @row("PID 1: others in the container write to its stdout")
    def test_stdout(self):
        """As cron jobs and `docker exec` do."""
        run = self.begin(worker("idle"), stdin=subprocess.PIPE)
        run.fact("ready")
        first = self.first(run)
        with open(f"/proc/{first}/fd/1", "wb") as stdout:
            stdout.write(b"text of another process\n")
        own = os.readlink(f"/proc/self/fd/{run.process.stdin.fileno()}")
        self.assertEqual(os.readlink(f"/proc/{first}/fd/0"), own)
        run.release("go")
        self.assertEqual(run.finish()[:2], (7, b"text of another process\n"))

    @row("PID 1: signals reach the worker, once")
    def test_signals(self):
        run = self.begin(None, Counter)
        first = self.first(run)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGRTMIN):
            with self.subTest(signal=number):
                count, _ = run.count_after(number, lambda: os.kill(first, number))
                self.assertEqual(count, 1)
        self.assertEqual(run.end(), 7)

    @row("PID 1: signals reach the worker, once")
    def test_stopped_by_term(self):
        """As `docker stop` does."""
        run = self.begin(worker("idle"))
        run.fact("ready")
        os.kill(self.first(run), signal.SIGTERM)
        self.assertEqual(run.finish()[0], 128 + signal.SIGTERM)

    @row("PID 1: signals reach the worker, once")
    def test_group(self):
        """PID 1 of a container leads a session as well."""
        run = self.begin(None, Counter, leader=["setsid"])
        first = self.first(run)
        for attempt in range(5):
            with self.subTest(attempt=attempt):
                count, _ = run.count_after(signal.SIGTERM, lambda: os.killpg(first, signal.SIGTERM))
                self.assertEqual(count, 1)


if __name__ == "__main__":
    unittest.main()
