"""The parent sees the worker's exit status."""

import os
import resource
import signal
import tempfile
import time
import unittest
from pathlib import Path

from harness import row, state, wait_until
from running import Case

# The signals that end a process without a handler: all but CHLD, CONT, URG, WINCH and the stop signals.
DEADLY = [*range(1, 17), *range(24, 28), 29, 30, 31, 34, 50, 64]


@row("exit code; death by the same signal")
class ExitStatus(Case):
    def test_codes(self):
        for code in (0, 1, 2, 42, 124, 125, 126, 127, 128, 130, 137, 255):
            with self.subTest(code=code):
                self.assertEqual(self.run_to_end(["sh", "-c", f"exit {code}"])[0], code)

    def test_death_by_signal(self):
        for number in DEADLY:
            with self.subTest(signal=number):
                self.assertEqual(self.run_to_end(["sh", "-c", f"kill -{number} $$"])[0], -number)

    def test_death_by_signal_sent_to_the_wrapper(self):
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGRTMIN + 1):
            with self.subTest(signal=number):
                run = self.start(["sleep", "1000"])
                wait_until("the worker", lambda: any(is_sleep(pid) for pid in run.family()))
                run.kill(number)
                self.assertEqual(run.wait(), -number)

    def test_a_signal_during_startup(self):
        """It ends the wrapper or the worker. Nothing hangs, and no process is left."""
        for attempt in range(30):
            with self.subTest(attempt=attempt):
                run = self.start(["sleep", "1000"])
                time.sleep(attempt / 1000)
                run.kill(signal.SIGTERM)
                self.assertEqual(run.wait(), -signal.SIGTERM)
                run.nothing_left()

    def test_a_broken_pipe_downstream_of_stdout(self):
        read, write = os.pipe()
        run = self.start(["seq", "10000000"], stdout=write)
        os.close(write)
        os.read(read, 100)
        os.close(read)
        self.assertEqual(run.wait(), -signal.SIGPIPE)


def is_sleep(pid):
    try:
        return Path(f"/proc/{pid}/comm").read_text() == "sleep\n" and state(pid) == "S"
    except OSError:
        return False


@row("one core dump, the worker's")
class CoreDump(Case):
    def setUp(self):
        if set(Path("/proc/sys/kernel/core_pattern").read_text()) & set("|/"):
            self.skipTest("core dumps do not go to the working directory here")
        if resource.getrlimit(resource.RLIMIT_CORE)[1] != resource.RLIM_INFINITY and os.geteuid() != 0:
            self.skipTest("core dumps are not permitted here")

    def count(self, script, **options):
        """How many dumps there are in the wrapper's working directory after the worker's death."""

        def allow():
            resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

        with tempfile.TemporaryDirectory() as folder:
            run = self.start(["sh", "-c", f"{script}; kill -SEGV $$"], setup=allow, cwd=folder, **options)
            run.wait()
            return len(list(Path(folder).glob("core*")))

    def test_one_core_dump(self):
        self.assertEqual((self.count(":", prefix=[]), self.count(":")), (1, 1))

    def test_no_core_dump(self):
        """If the worker dumps no core, or elsewhere, the wrapper dumps none."""
        self.assertEqual((self.count("ulimit -c 0"), self.count('cd "$TRANSPARENCY_FOLDER"')), (0, 0))


if __name__ == "__main__":
    unittest.main()
