"""What a Snakepit pool starts: without its ready file the command itself, with it a worker that it stops."""

import itertools
import os
import signal
import subprocess
import tempfile
import unittest
from pathlib import Path

from harness import SIDECAR, row, sidecar_only, wait_until
from running import Case, inline, worker

IN_PLACE = [SIDECAR, "--snakepit=alone", "--"]
# A program that changes no signals.
STATUS = ["sed", "-n", "/^Sig[BIC]/p; /^...Pnd/p; /^Threads/p; /^Pid/p", "/proc/self/status"]


@sidecar_only
@row("--snakepit without a ready file: the command is executed in place")
class InPlace(Case):
    def same(self, command, key, **options):
        """Starts a worker without the sidecar and with it, and returns what each has reported."""
        reports = []
        for prefix in ([], IN_PLACE):
            run = self.start(command, prefix=prefix, **options)
            self.assertEqual(run.wait(), 0)
            reports.append((run.fact(key), run))
        return reports

    def test_facts(self):
        """Everything that test_environment compares."""
        for group in ("group", None):
            with self.subTest(started_as=group):
                (direct, first), (replaced, second) = self.same(worker("probe"), "facts", group=group)
                for facts, run in ((direct, first), (replaced, second)):
                    own = {str(run.folder): "<folder>", run.mark.decode(): "<mark>"}
                    for text, common in own.items():
                        facts["environment"] = [entry.replace(text, common) for entry in facts["environment"]]
                    facts.update({name: facts[name] == run.pid for name in ("session", "group")})
                self.assertEqual(direct, replaced)

    def test_variables(self):
        """The sidecar's own are removed, and those of the pool stay as they are."""
        env = {
            "SNAKEPIT_READY_FILE": "",
            "SNAKEPIT_PROCESS_GROUP": "1",
            "TELEMETRY_SIDECAR_LISTEN": "unix:/nonexistent/socket",
            "LISTEN_PID": "1",
        }
        code = "report(got=[os.environ.get(name) for name in ARGUMENTS], pid=os.getpid(), group=os.getpgrp())"
        run = self.start(inline(code, *env), prefix=IN_PLACE, env=env, group=None)
        self.assertEqual(run.wait(), 0)
        self.assertEqual(run.fact("got"), ["", "1", None, "1"])
        self.assertEqual((run.fact("pid"), run.fact("group")), (run.pid, os.getpgrp()))

    def test_signals(self):
        def change():
            for number in (signal.SIGHUP, signal.SIGPIPE, signal.SIGCHLD, signal.SIGSEGV):
                signal.signal(number, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR1])
            os.kill(os.getpid(), signal.SIGUSR1)

        for setup in (None, change):
            with self.subTest(changed=setup is not None):
                shown = []
                for prefix in ([], IN_PLACE):
                    run = self.start(STATUS, prefix=prefix, setup=setup)
                    code, stdout, stderr = run.finish()
                    self.assertEqual((code, stderr), (0, b""))
                    self.assertIn(f"Pid:\t{run.pid}\n", stdout.decode())
                    shown.append(stdout.decode().replace(f"\t{run.pid}\n", "\t<pid>\n"))
                self.assertEqual(*shown)

    def test_descriptors(self):
        """Others are passed on, the sidecar adds none, and closed standard ones stay closed."""
        for count in range(4):
            for closed in itertools.combinations((0, 1, 2), count):
                with self.subTest(closed=closed):
                    reader, writer = os.pipe()
                    null = subprocess.DEVNULL
                    options = {"stdout": null, "stderr": null, "pass_fds": [writer]}

                    def close(closed=closed):
                        for number in closed:
                            os.close(number)

                    (direct, _), (replaced, _) = self.same(
                        worker("descriptors"), "descriptors", setup=close, **options
                    )
                    self.assertEqual(direct, replaced)
                    os.close(reader)
                    os.close(writer)


@sidecar_only
@row("--snakepit=alone: a pool stops the worker with all that it has started")
class Stopping(Case):
    def pooled(self, command, **options):
        """A worker as a pool starts it, once the pool has its port."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        ready = Path(folder.name) / "ready"
        env = {"SNAKEPIT_READY_FILE": str(ready), "SNAKEPIT_PROCESS_GROUP": "1"}
        run = self.start(command, prefix=IN_PLACE, env=env, group=None, **options)
        wait_until("the port", ready.exists)
        self.assertGreater(int(ready.read_text()), 0)
        self.assertEqual(os.getpgid(run.pid), run.pid)
        return run

    def test_group(self):
        """SIGTERM to the group reaches the worker once, and its exit code is passed on."""
        code = """
signal.signal(signal.SIGTERM, lambda *_: (report(handled=1), os._exit(3)))
report(ready=os.getpid())
wait_for("never")
"""
        run = self.pooled(inline(code))
        run.fact("ready")
        os.killpg(run.pid, signal.SIGTERM)
        self.assertEqual(run.wait(), 3)
        self.assertEqual(run.facts("handled"), [1])
        run.nothing_left()

    def test_kill(self):
        """SIGKILL to the group after a SIGTERM that was ignored."""
        code = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork():
    report(ready=os.getpid())
wait_for("never")
"""
        run = self.pooled(inline(code))
        run.fact("ready")
        os.killpg(run.pid, signal.SIGTERM)
        os.killpg(run.pid, signal.SIGKILL)
        self.assertEqual(run.wait(), -signal.SIGKILL)
        run.nothing_left()

    def test_kill_of_the_sidecar_alone(self):
        run = self.pooled(inline("report(ready=os.getpid()); wait_for('never')"))
        run.fact("ready")
        run.kill(signal.SIGKILL)
        self.assertEqual(run.wait(), -signal.SIGKILL)
        run.nothing_left()


if __name__ == "__main__":
    unittest.main()
