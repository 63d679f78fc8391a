"""The worker does not outlive the wrapper, and no process of the wrapper outlives the worker."""

import os
import signal
import subprocess
import sys
import time
import unittest

from counting import Counter
from harness import LONG, SIDECAR, SOON, row, sidecar_only, stat
from running import Case, inline, worker

# A Snakepit worker creates a session of its own only if this variable asks for it.
SNAKEPIT = """
if os.environ.get("SNAKEPIT_PROCESS_GROUP") == "1":
    try:
        os.setsid()
    except PermissionError:
        pass
child = subprocess.Popen(["sleep", "1000"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
report(ready=os.getpid(), group=os.getpgid(0), variable=os.environ.get("SNAKEPIT_PROCESS_GROUP"))
wait_for("go")
"""
CHILDREN = """
for command in (["sleep", "1000"], ["sh", "-c", "sleep 1000; true"]):
    subprocess.Popen(command)
report(ready=1)
wait_for("go")
"""


@row("SIGKILL of the wrapper: the worker goes too")
class Killed(Case):
    def killed(self, run):
        run.fact("ready")
        run.kill(signal.SIGKILL)
        self.assertEqual(run.wait(), -signal.SIGKILL)
        # Neither the worker nor the wrapper's helper processes.
        run.nothing_left(SOON)

    def test_at_once(self):
        for attempt in range(10):
            with self.subTest(attempt=attempt):
                self.killed(self.start(worker("idle")))

    def test_after_a_while(self):
        """The thread that starts the worker has to exist as long as the process."""
        run = self.start(worker("idle"))
        pid = run.fact("ready")
        ends = time.monotonic() + (60 if LONG else 3)
        while time.monotonic() < ends:
            self.assertIsNotNone(stat(pid))
            time.sleep(0.1)
        self.killed(run)

    def test_under_load(self):
        burners = [subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"]) for _ in range(6)]
        try:
            for attempt in range(5):
                with self.subTest(attempt=attempt):
                    self.killed(self.start(worker("idle")))
        finally:
            for burner in burners:
                burner.kill()
                burner.wait()

    def test_during_startup(self):
        for attempt in range(30):
            with self.subTest(attempt=attempt):
                run = self.start(["sleep", "1000"])
                time.sleep(attempt / 1000)
                run.kill(signal.SIGKILL)
                self.assertEqual(run.wait(), -signal.SIGKILL)
                run.nothing_left(SOON)

    def test_busy_worker(self):
        """A worker that writes to stderr all the time, while its output is not read."""
        run = self.start(inline("report(ready=1)\nwhile True: os.write(2, b'some output\\n' * 1000)"))
        self.killed(run)


# Starts the command as a child, in a thread that ends, and waits for it.
STARTER = """
import subprocess, sys, threading
children = []
thread = threading.Thread(target=lambda: children.append(subprocess.Popen(sys.argv[1:])))
thread.start()
thread.join()
sys.exit(children[0].wait())
"""


@row("--stop-with-parent: the worker gets the signal when the wrapper's parent has ended")
@sidecar_only
class StopWithParent(Case):
    def started(self, *options):
        """The run, whose first process is the sidecar's parent."""
        return self.start(None, Counter, prefix=[sys.executable, "-S", "-c", STARTER, SIDECAR, *options, "-q", "--"])

    def test_parent_killed(self):
        for name, number in (("TERM", signal.SIGTERM), ("SIGUSR1", signal.SIGUSR1), ("34", signal.SIGRTMIN)):
            with self.subTest(signal=name):
                run = self.started("--stop-with-parent", name)
                count, _ = run.count_after(number, lambda run=run: run.kill(signal.SIGKILL))
                self.assertEqual((count, run.seen()), (1, [number]))
                run.release("go")
                run.wait()
                run.nothing_left(SOON)

    def test_parent_lives(self):
        """The thread that started the sidecar has ended, its process has not."""
        run = self.started("--stop-with-parent", "TERM")
        self.assertEqual(run.count_after(signal.SIGUSR1, lambda: os.kill(run.worker, signal.SIGUSR1))[0], 1)
        self.assertEqual((run.end(), run.seen()), (7, [signal.SIGUSR1]))

    def test_without_the_option(self):
        run = self.started()
        run.kill(signal.SIGKILL)
        self.assertEqual(run.count_after(signal.SIGUSR1, lambda: os.kill(run.worker, signal.SIGUSR1))[0], 1)
        self.assertEqual(run.seen(), [signal.SIGUSR1])
        run.release("go")
        run.wait()
        run.nothing_left(SOON)

    def test_no_signal(self):
        status, _, stderr = self.run_to_end(["true"], prefix=[SIDECAR, "--stop-with-parent", "NOPE", "--"])
        self.assertEqual(status, 125)
        self.assertRegex(stderr, rb"\A[^\n]*--stop-with-parent[^\n]+\n\Z")


class Groups(Case):
    @row("SIGKILL of the group: nothing survives")
    def test_session(self):
        """The wrapper leads a session; the worker has children."""
        for attempt in range(5):
            with self.subTest(attempt=attempt):
                run = self.start(inline(CHILDREN))
                run.fact("ready")
                os.killpg(run.pid, signal.SIGKILL)
                self.assertEqual(run.wait(), -signal.SIGKILL)
                run.nothing_left(SOON)

    @row("SIGKILL of the group: nothing survives")
    def test_terminated(self):
        run = self.start(inline(CHILDREN))
        run.fact("ready")
        os.killpg(run.pid, signal.SIGTERM)
        self.assertEqual(run.wait(), -signal.SIGTERM)
        run.nothing_left(SOON)

    @row("nothing of the wrapper's own outlives it")
    def test_nothing_left_after_the_end(self):
        for script in ("exit 3", "echo text >&2; exit 0", "kill -9 $$"):
            with self.subTest(script=script):
                run = self.start(["sh", "-c", script])
                run.finish()
                run.nothing_left(SOON)

    @row("nothing of the wrapper's own outlives it")
    def test_nothing_left_after_a_failure(self):
        run = self.start(["env", "/nope"])
        self.assertEqual(run.finish()[0], 127)
        run.nothing_left(SOON)


@row("SNAKEPIT_PROCESS_GROUP=1: the wrapper leads the group, the worker stays in it")
class Snakepit(Case):
    def killed_with_its_group(self, run):
        self.assertEqual(stat(run.pid)[2], run.pid, "the wrapper leads a group")
        self.assertEqual(stat(run.fact("ready"))[2], run.pid, "the worker is in it")
        os.killpg(run.pid, signal.SIGKILL)
        self.assertEqual(run.wait(), -signal.SIGKILL)
        run.nothing_left(SOON)

    def test_makes_itself_leader(self):
        for group in (None, "group"):
            with self.subTest(started_as=group):
                run = self.start(inline(SNAKEPIT), group=group, env={"SNAKEPIT_PROCESS_GROUP": "1"})
                run.fact("ready")
                self.killed_with_its_group(run)

    def test_session_leader(self):
        """A session leader leads its group already."""
        run = self.start(inline(SNAKEPIT), env={"SNAKEPIT_PROCESS_GROUP": "1"})
        run.fact("ready")
        self.killed_with_its_group(run)

    @sidecar_only
    def test_workers_variable_says_that_it_is_done(self):
        run = self.start(inline(SNAKEPIT), group=None, env={"SNAKEPIT_PROCESS_GROUP": "1"})
        self.assertEqual(run.fact("variable"), "0")
        self.assertEqual(run.fact("group"), run.pid)
        self.killed_with_its_group(run)

    def test_otherwise_untouched(self):
        """Other values and an unset variable change nothing."""
        for value in (None, "0", "", "yes"):
            with self.subTest(value=value):
                env = {} if value is None else {"SNAKEPIT_PROCESS_GROUP": value}
                run = self.start(inline(SNAKEPIT), group=None, env=env)
                self.assertEqual(run.fact("ready") and run.facts("variable"), [value])
                self.assertEqual(stat(run.pid)[2], os.getpgrp())
                self.assertEqual(run.facts("group"), [os.getpgrp()])
                run.release("go")
                self.assertEqual(run.wait(), 0)


if __name__ == "__main__":
    unittest.main()
