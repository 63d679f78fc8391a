"""All that the worker writes and reads arrives, in order and at once."""

import hashlib
import os
import select
import shutil
import struct
import subprocess
import tempfile
import threading
import time
import unittest
from pathlib import Path

from harness import GRACE, LONG, SIDECAR, SOON, TIMEOUT, row, sidecar_only, wait_until
from rpc import get_status
from running import Case, inline, worker

MEGABYTE = 1 << 20


class Tail(Case):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)

    def stderr_arrives(self, size, ending, reader=lambda run: run.process.stderr.read()):
        """The random bytes that the worker writes to stderr arrive unchanged."""
        path = f"{self.folder.name}/{size}"
        if not os.path.exists(path):
            Path(path).write_bytes(os.urandom(size))
        run = self.start(["sh", "-c", f'cat "$0" >&2; {ending}', path])
        data = reader(run)
        run.wait()
        with open(path, "rb") as file:
            self.assertEqual(hashlib.sha256(data).hexdigest(), hashlib.sha256(file.read()).hexdigest())

    @row("the tail is never lost")
    def test_tail(self):
        for attempt in range(30):
            with self.subTest(attempt=attempt):
                self.stderr_arrives(MEGABYTE + attempt % 3, "exit 5")

    @row("the tail is never lost")
    def test_long_tail(self):
        for attempt in range(200 if LONG else 2):
            with self.subTest(attempt=attempt):
                self.stderr_arrives(50 * MEGABYTE, "exit")

    @row("the tail is never lost")
    def test_killed_at_the_end(self):
        self.stderr_arrives(3 * MEGABYTE, "kill -KILL $$")

    @row("the tail is never lost")
    def test_slow_reader(self):
        """The reader reads nothing until all buffers are full, then a little at a time."""

        def slowly(run):
            pipe = run.process.stderr.fileno()
            wait_until("its being stuck", lambda: run.is_stuck(pipe))
            data = b""
            while part := os.read(pipe, 10_000):
                data += part
                # This makes the reader slow. The result does not depend on how slow.
                time.sleep(0.001)
            return data

        self.stderr_arrives(MEGABYTE, "exit 5", slowly)

    @row("what Node writes before process.exit() is not lost")
    @unittest.skipUnless(shutil.which("node"), "needs node")
    def test_node(self):
        """Node writes to a pipe asynchronously, and process.exit() does not wait for what the pipe has not taken."""
        lines = [b"line %d %s" % (number, b"-" * 80) for number in range(5000)]
        code = "for (let n = 0; n < 5000; n++) process.stderr.write(`line ${n} ${'-'.repeat(80)}\\n`); process.exit(3);"
        script = Path(f"{self.folder.name}/script")
        script.write_text(f"#!/usr/bin/env node\n{code}\n")
        script.chmod(0o755)
        for command in (["node", "-e", code], [str(script)]):
            with self.subTest(command=command[0]):
                # A file takes all of it, so nothing depends on how fast it is read.
                with tempfile.TemporaryFile() as stderr:
                    self.assertEqual(self.run_to_end(command, stderr=stderr)[0], 3)
                    stderr.seek(0)
                    self.assertEqual(stderr.read().splitlines(), lines)

    @row("stdout and stderr on one pipe: each whole and in its order")
    def test_order(self):
        """Behind a wrapper that reads stderr, lines of stdout and stderr may swap. It prints how often."""
        code = "for n in range(2000): os.write(1, b'o%d\\n' % n); os.write(2, b'e%d\\n' % n)"
        status, stdout, _ = self.run_to_end(inline(code), stderr=subprocess.STDOUT)
        self.assertEqual(status, 0)
        lines = stdout.split()
        for name in (b"o", b"e"):
            self.assertEqual([line for line in lines if line.startswith(name)], [name + b"%d" % n for n in range(2000)])
        late = sum(lines.index(b"e%d" % n) > lines.index(b"o%d" % (n + 1)) for n in range(1999))
        print(f"{late} of 2000 lines of stderr came after stdout's next")


class Prompt(Case):
    def next_bytes(self, run, count):
        data = b""
        while len(data) < count and select.select([run.process.stderr], [], [], SOON)[0]:
            data += os.read(run.process.stderr.fileno(), count - len(data)) or self.fail(f"it ended after {data}")
        return data

    @row("partial output at once")
    def test_partial_output(self):
        run = self.start(inline("os.write(2, b'50%\\r'); wait_for('go'); os.write(2, b'password: '); wait_for('end')"))
        self.assertEqual(self.next_bytes(run, 4), b"50%\r")
        run.release("go")
        self.assertEqual(self.next_bytes(run, 10), b"password: ")
        run.release("end")
        self.assertEqual(run.finish(), (0, b"", b""))

    @row("what may become telemetry is held until the next byte or the end")
    @sidecar_only
    def test_held(self):
        code = "os.write(2, b'TELEM'); report(held=1); wait_for('go'); os.write(2, ARGUMENTS[0].encode()); os._exit(4)"
        for rest in ("x", "", 'ETRY:{"event": "a"}\nb', "ETRY:nothing"):
            with self.subTest(rest=rest):
                run = self.start(inline(code, rest))
                run.fact("held")
                self.assertEqual(select.select([run.process.stderr], [], [], GRACE)[0], [])
                run.release("go")
                expected = b"b" if "event" in rest else b"TELEM" + rest.encode()
                self.assertEqual(run.finish(), (4, b"", expected))


class Streams(Case):
    @row("stdin at EOF, framed protocols")
    def test_no_input(self):
        for stdin in (subprocess.DEVNULL, subprocess.PIPE):
            with self.subTest(stdin=stdin):
                self.assertEqual(self.run_to_end(["wc", "-c"], stdin=stdin)[:2], (0, b"0\n"))

    @row("stdin at EOF, framed protocols")
    def test_frames(self):
        run = self.start(worker("frames"), stdin=subprocess.PIPE)
        frames = [os.urandom(length) for length in (0, 1, 65535, 65536, *[MEGABYTE] * 8)]

        def write():
            for frame in frames:
                run.process.stdin.write(struct.pack(">I", len(frame)) + frame)
                run.process.stdin.flush()

        writer = threading.Thread(target=write)
        writer.start()
        replies = []
        while len(replies) < len(frames):
            (length,) = struct.unpack(">I", run.process.stdout.read(4))
            replies.append(run.process.stdout.read(length))
        writer.join()
        self.assertTrue(replies == frames, [len(reply) for reply in replies])
        run.process.stdin.close()
        self.assertEqual(run.wait(), 3)
        self.assertEqual(run.process.stderr.read(), b"".join(b"frame of %d\n" % len(frame) for frame in frames))


class Downstream(Case):
    @row("downstream closed: exit code unchanged")
    def test_closed(self):
        """`W worker 2>&1 >/dev/null | head -1`, with a worker that ignores the closed pipe."""
        code = """
signal.signal(signal.SIGPIPE, signal.SIG_IGN)
for n in range(20000):
    try:
        os.write(2, b"line %d\\n" % n)
    except BrokenPipeError:
        pass
os._exit(9)
"""
        run = self.start(inline(code), stdout=subprocess.DEVNULL)
        self.assertEqual(run.process.stderr.readline(), b"line 0\n")
        run.process.stderr.close()
        self.assertEqual(run.wait(), 9)

    @row("downstream closed: exit code unchanged")
    @sidecar_only
    def test_closed_pipe_does_not_reach_the_worker(self):
        """The worker writes to the sidecar's pipe, so it does not get SIGPIPE."""
        run = self.start(["sh", "-c", "seq 1000000 >&2; exit 9"], stdout=subprocess.DEVNULL)
        run.process.stderr.readline()
        run.process.stderr.close()
        self.assertEqual(run.wait(), 9)

    def write_unread(self, prefix=None):
        """A worker that writes 8 MB and reports its progress, while its output is not read."""
        code = """
chunk = bytes(range(256)) * 256
for n in range(128):
    written = 0
    while written < len(chunk):
        written += os.write(2, chunk[written:])
    report(written=n)
os._exit(6)
"""
        run = self.start(inline(code), prefix=prefix)
        pipe = run.process.stderr.fileno()
        # A worker that never has to wait reaches the end.
        wait_until("its being stuck", lambda: run.is_stuck(pipe) or len(run.facts("written")) == 128)
        self.assertLess(len(run.facts("written")), 128, "it was not made to wait")
        return run

    def read_all(self, run):
        self.assertTrue(run.process.stderr.read() == bytes(range(256)) * 256 * 128)
        self.assertEqual(run.wait(), 6)

    @row("downstream not read: the worker waits, and loses nothing")
    def test_not_read(self):
        self.read_all(self.write_unread())

    @row("downstream not read: gRPC goes on")
    @sidecar_only
    def test_status_is_served_while_output_is_not_read(self):
        with tempfile.TemporaryDirectory() as folder:
            ready = f"{folder}/ready"
            run = self.write_unread([SIDECAR, "-q", "--ready-file", ready, "--"])
            wait_until("the status", lambda: get_status(int(Path(ready).read_text()), TIMEOUT))
            self.read_all(run)


if __name__ == "__main__":
    unittest.main()
