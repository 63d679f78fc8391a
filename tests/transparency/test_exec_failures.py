"""Exit codes 127 (not found), 126 (not executable) and 125 (the wrapper's failure), each with one line."""

import os
import resource
import tempfile
import unittest
from pathlib import Path

from harness import SIDECAR, W, row, sidecar_only
from running import Case

# A user that has no other processes.
USER = 54321


@row("exec failure: 127, 126; one line says why")
@unittest.skipIf(W == [], "without a wrapper no process returns a status")
class ExecFailures(Case):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def script(self, path, text, mode):
        path = self.folder / path
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return str(path)

    def fails(self, code, *command, **options):
        with self.subTest(command=command[0].replace(str(self.folder), "")):
            status, stdout, stderr = self.run_to_end(command, **options)
            self.assertEqual((status, stdout), (code, b""), stderr)
            self.assertRegex(stderr, rb"\A[^\n]+\n\Z")

    def test_not_found(self):
        self.fails(127, "/nope")
        self.fails(127, "no-such-command")
        self.fails(127, "./nope/nope", "--help")
        self.fails(127, self.script("interpreter", "#!/nope\n", 0o755))

    def test_not_executable(self):
        self.fails(126, "/tmp")
        self.fails(126, self.script("plain", "#!/bin/sh\n", 0o644))
        self.fails(126, "/etc/passwd/x")

    def test_found_later_in_path(self):
        """A file that is not executable does not hide one of the same name later in PATH."""
        self.script("first/command", "#!/bin/sh\nexit 3\n", 0o644)
        self.script("second/command", "#!/bin/sh\nexit 4\n", 0o755)
        path = f"{self.folder}/first:{self.folder}/second:{os.environ['PATH']}"
        self.assertEqual(self.run_to_end(["command"], env={"PATH": path})[0], 4)

    def test_only_one_in_path_and_not_executable(self):
        self.script("first/command-of-nobody", "#!/bin/sh\nexit 3\n", 0o644)
        self.fails(126, "command-of-nobody", env={"PATH": f"{self.folder}/first:{os.environ['PATH']}"})


@row("the wrapper's own failure: 125")
@sidecar_only
class OwnFailures(Case):
    def test_own_failure(self):
        for words in (["--no-such-option", "--", "true"], ["--"], ["--listen", "nonsense", "--", "true"]):
            with self.subTest(words=words):
                status, stdout, stderr = self.run_to_end(words, prefix=[SIDECAR])
                self.assertEqual((status, stdout), (125, b""), stderr)
                self.assertRegex(stderr, rb"\A[^\n]+\n\Z")

    def test_failure_after_the_witness_was_started(self):
        run = self.start(["--record", "/nope/recording", "--", "true"], prefix=[SIDECAR])
        status, _, stderr = run.finish()
        self.assertEqual(status, 125)
        self.assertRegex(stderr, rb"\A[^\n]+\n\Z")
        self.assertEqual(run.family(), [])

    @unittest.skipUnless(os.geteuid() == 0, "needs a user without other processes")
    def test_process_limit(self):
        """With a rising limit: 125 until the worker can be started, and no process is left."""
        statuses, messages = [], []
        for limit in range(1, 20):

            def restrict():
                resource.setrlimit(resource.RLIMIT_NPROC, (limit, limit))
                os.setgroups([])
                os.setgid(USER)
                os.setuid(USER)

            try:
                run = self.start(["/bin/true"], prefix=[SIDECAR, "-q", "--"], setup=restrict, cwd="/")
            except PermissionError:
                self.skipTest("another user may not execute the binary")
            status, _, stderr = run.finish()
            run.nothing_left()
            statuses.append(status)
            messages.append(stderr)
            if status == 0:
                break
            self.assertRegex(stderr, rb"\A[^\n]+\n\Z")
        self.assertEqual(statuses[-1], 0, messages)
        self.assertEqual(set(statuses[:-1]), {125}, messages)
        self.assertIn(b"'/bin/true': cannot start a process", messages[-2])


if __name__ == "__main__":
    unittest.main()
