"""Processes that outlive the worker delay nothing, and their later output is not lost."""

import contextlib
import os
import select
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest

from harness import GRACE, SIDECAR, SOON, goes_on, row, sidecar_only, wait_until
from running import Case, inline

# A worker that exits with 5 and leaves a process that writes to stderr later.
LEAVES = """
if os.fork():
    report(left=1)
    os._exit(5)
report(grandchild=os.getpid())
for descriptor in map(int, ARGUMENTS):
    os.close(descriptor)
wait_for("go")
os.write(2, b"late\\n")
wait_for("more")
os.write(2, b"later\\n" * 100000)
"""


class Grandchildren(Case):
    def left(self, *closed, **options):
        """The run, after its worker's end, and the grandchild."""
        run = self.start(inline(LEAVES, *closed), **options)
        grandchild = run.fact("grandchild")
        run.fact("left")
        began = time.monotonic()
        # The grandchild waits to be released, so this shows that nothing waits for it.
        self.assertEqual(run.wait(), 5)
        self.assertLess(time.monotonic() - began, SOON)
        self.assertTrue(goes_on(grandchild))
        return run, grandchild

    @row("status at once though a grandchild holds stderr; its later lines are not lost")
    def test_late_lines(self):
        run, _ = self.left()
        stderr = run.process.stderr
        self.assertEqual(select.select([stderr], [], [], GRACE)[0], [], "it is neither ended nor written to")
        run.release("go")
        self.assertEqual(stderr.readline(), b"late\n")
        run.release("more")
        self.assertTrue(stderr.read() == b"later\n" * 100000)

    @row("status at once though a grandchild holds stderr; its later lines are not lost")
    def test_to_a_file(self):
        with tempfile.TemporaryFile() as file:
            run, _ = self.left(stderr=file)
            run.release("go")
            wait_until("it in the file", lambda: os.pread(file.fileno(), 100, 0) == b"late\n")

    @row("status at once though a grandchild holds stderr; its later lines are not lost")
    def test_to_a_full_disk(self):
        """What it writes is lost, and it sees no error, as with a wrapper that still runs."""
        with open("/dev/full", "wb") as full:
            code = """
if os.fork():
    report(left=1)
    os._exit(5)
wait_for("go")
for _ in range(100):
    try:
        os.write(2, b"late\\n")
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
    time.sleep(0.001)
report(alive=1)
"""
            run = self.start(inline("import errno" + code), stderr=full)
            run.fact("left")
            self.assertEqual(run.wait(), 5)
            run.release("go")
            run.fact("alive")
            run.nothing_left()

    @row("status at once though a grandchild holds stderr; its later lines are not lost")
    def test_exit_does_not_wait_for_a_grandchild(self):
        """The parent's `wait` does not take as long as the grandchild."""
        began = time.monotonic()
        run = self.start(["sh", "-c", "(sleep 5; echo late >&2) & exit 5"])
        self.assertEqual(run.wait(), 5)
        self.assertLess(time.monotonic() - began, SOON)

    @row("what is left of the wrapper holds nothing but stderr")
    def test_other_descriptors(self):
        """stdout and other descriptors are closed with the last process of the worker's that has them."""
        reader, writer = os.pipe()
        run, grandchild = self.left(0, 1, writer, stdin=subprocess.PIPE, pass_fds=[writer])
        os.close(writer)
        self.assertEqual(run.process.stdout.read(), b"")
        self.assertEqual(os.read(reader, 1), b"")
        with self.assertRaises(BrokenPipeError):
            os.write(run.process.stdin.fileno(), b"x")
        self.assertTrue(goes_on(grandchild))
        os.close(reader)

    @row("what is left of the wrapper holds nothing but stderr")
    def test_it_ends(self):
        """It ends with the grandchild, or when stderr has no reader."""
        for reader_goes in (True, False):
            with self.subTest(reader_goes=reader_goes):
                run, grandchild = self.left()
                if reader_goes:
                    run.process.stderr.close()
                    for word in ("go", "more"):
                        run.release(word)
                else:
                    os.kill(grandchild, signal.SIGKILL)
                run.nothing_left()

    @row("what is left of the wrapper holds nothing but stderr")
    @sidecar_only
    def test_port(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        run, grandchild = self.left(prefix=[SIDECAR, "--listen", f"127.0.0.1:{port}", "--"])
        with socket.socket() as again:
            again.bind(("127.0.0.1", port))
        self.assertTrue(goes_on(grandchild))
        run.release("go")
        self.assertEqual(run.process.stderr.readline(), b"late\n")

    @row("a parent's wait for all its children is not held")
    def test_wait_for_all(self):
        """No process that is left is a child of the wrapper's parent."""
        run, grandchild = self.left()
        with self.assertRaises(ChildProcessError):
            os.waitpid(run.pid, os.WNOHANG)
        for pid in run.family():
            with self.assertRaises(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        self.assertTrue(goes_on(grandchild))

    @row("a grandchild that never stops writing does not hold the exit")
    def test_chatty(self):
        code = """
if os.fork():
    report(left=1)
    os._exit(6)
while True:
    os.write(2, b"chatter\\n" * 1000)
"""
        for attempt in range(3):
            with self.subTest(attempt=attempt):
                run = self.start(inline(code))
                reader = threading.Thread(target=drain, args=(run.process.stderr,))
                reader.start()
                run.fact("left")
                began = time.monotonic()
                self.assertEqual(run.wait(), 6)
                self.assertLess(time.monotonic() - began, SOON)
                wait_until("the end of all its processes", run.kill_all)
                reader.join()

    @row("status at once though a grandchild holds stderr; its later lines are not lost")
    def test_worker_and_grandchild(self):
        """The worker's last bytes come before what the grandchild writes after its end."""
        code = """
pid = os.fork()
if pid:
    os.write(2, b"tail\\n" * 200000)
    os.write(2, b"last\\n")
    report(left=1)
    os._exit(5)
wait_for("go")
os.write(2, b"late\\n")
"""
        run = self.start(inline(code))
        expected = b"tail\n" * 200000 + b"last\n"
        self.assertTrue(run.process.stderr.read(len(expected)) == expected)
        self.assertEqual(run.wait(), 5)
        run.release("go")
        self.assertEqual(run.process.stderr.read(), b"late\n")


def drain(stream):
    with contextlib.suppress(OSError, ValueError):
        while os.read(stream.fileno(), 1 << 16):
            pass


if __name__ == "__main__":
    unittest.main()
