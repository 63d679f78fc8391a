"""Signals while the sidecar's start waits for something have their usual effect."""

import os
import signal
import tempfile
import time
import unittest
from pathlib import Path

from harness import SIDECAR, SOON, row, sidecar_only, state, wait_until
from running import Case, inline, worker


def has_open(pid, path):
    """Whether a process has this file open."""
    try:
        names = [f"/proc/{pid}/fd/{name}" for name in os.listdir(f"/proc/{pid}/fd")]
        return any(os.path.exists(name) and os.path.samefile(name, path) for name in names)
    except OSError:
        return False


@sidecar_only
class Starting(Case):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.fifo = self.folder / "fifo"
        os.mkfifo(self.fifo)

    def waiting_for_a_token(self, command, **options):
        """It waits for 5 seconds. Returns the other end of the FIFO as well."""
        prefix = [SIDECAR, "-q", "--auth-token-file", str(self.fifo), "--"]
        run = self.start(command, prefix=prefix, **options)
        wait_until("it to open the FIFO", lambda: has_open(run.pid, self.fifo))
        return run, open(self.fifo, "wb", buffering=0)

    @row("while the start waits, signals have their usual effect")
    def test_token(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGRTMIN):
            with self.subTest(signal=number):
                run, token = self.waiting_for_a_token(["sh", "-c", "echo started; sleep 1000"])
                with token:
                    began = time.monotonic()
                    run.kill(number)
                    self.assertEqual(run.wait(), -number)
                    self.assertLess(time.monotonic() - began, SOON)
                    run.nothing_left(SOON)
                    self.assertEqual(run.process.stdout.read(), b"")

    @row("while the start waits, signals have their usual effect")
    def test_socket_is_removed(self):
        """A recording to a FIFO waits for its reader for 2 seconds, when the socket is bound."""
        path = self.folder / "socket"
        run = self.start(["true"], prefix=[SIDECAR, "--listen", f"unix:{path}", "--record", str(self.fifo), "--"])
        wait_until("the socket", path.exists)
        run.kill(signal.SIGTERM)
        self.assertEqual(run.wait(), -signal.SIGTERM)
        self.assertFalse(path.exists())

    @row("while the start waits, signals have their usual effect")
    def test_ignored(self):
        def ignore():
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)

        run, token = self.waiting_for_a_token(["sh", "-c", "exit 7"], setup=ignore)
        with token:
            for number in (signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGWINCH, signal.SIGCONT):
                run.kill(number)
            token.write(b"token\n")
        self.assertEqual(run.wait(), 7)

    @row("while the start waits, signals have their usual effect")
    def test_blocked(self):
        """A signal that the parent blocks is pending in the worker."""
        blocked = [signal.SIGTERM, signal.SIGRTMIN + 1]
        run, token = self.waiting_for_a_token(
            inline("report(ready=os.getpid()); wait_for('go'); report(pending=sorted(signal.sigpending()))"),
            setup=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, blocked),
        )
        with token:
            for number in blocked:
                run.kill(number)
            token.write(b"token\n")
        worker = run.fact("ready")

        def pending():
            lines = Path(f"/proc/{worker}/status").read_text().splitlines()
            (mask,) = [int(line.split()[1], 16) for line in lines if line.startswith("ShdPnd")]
            return all(mask >> (number - 1) & 1 for number in blocked)

        wait_until("both of them pending", pending)
        run.release("go")
        self.assertEqual(run.fact("pending"), sorted(blocked))

    @row("while the start waits, signals have their usual effect")
    def test_stopped(self):
        run, token = self.waiting_for_a_token(worker("idle"), group="group")
        with token:
            run.kill(signal.SIGTSTP)
            self.assertEqual(run.next_status(), ("stopped", signal.SIGTSTP))
            self.assertEqual(state(run.pid), "T")
            run.kill(signal.SIGCONT)
            self.assertEqual(run.next_status(), ("continued", signal.SIGCONT))
            token.write(b"token\n")
        run.fact("ready")
        run.release("go")
        self.assertEqual(run.wait(), 7)


if __name__ == "__main__":
    unittest.main()
