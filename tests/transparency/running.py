"""Commands run behind the wrapper, and how they are watched."""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
import unittest
import uuid
from pathlib import Path

from harness import CATCHABLE, W, give_up, is_asleep, is_full, limited, stat, wait_until

HERE = Path(__file__).resolve().parent
MARK = "TRANSPARENCY_MARK"


def fresh():
    """Signals as a login shell's child has them, whatever this process was started with."""
    for number in CATCHABLE:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def inline(code, *arguments):
    """A worker of a few lines of Python, with `report`, `wait_for` and what workers/inline.py imports."""
    return [sys.executable, "-S", str(HERE / "workers/inline.py"), code, *map(str, arguments)]


def worker(name, *arguments):
    """A worker of the workers folder."""
    return [sys.executable, "-S", str(HERE / f"workers/{name}.py"), *map(str, arguments)]


def command(pid):
    """A process's id and command line, for error messages."""
    with contextlib.suppress(OSError):
        return pid, Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")[:-1]
    return pid, "ended"


class Run:
    """A command running behind the wrapper (or behind `prefix`) with a folder of its own to report to.

    group: "session" makes it a session leader, "group" a group leader in the test's session, None neither.
    terminal: its streams are a terminal, which is its controlling terminal; `master` is the other side.
    setup: called between fork and exec.
    """

    def __init__(self, command, *, prefix=None, group="session", setup=None, terminal=False, env=None, **options):
        self.folder = Path(tempfile.mkdtemp(prefix="transparency-"))
        self.mark = f"{MARK}={uuid.uuid4().hex}".encode()
        self.output = b""
        self.master = slave = None
        variables = {**os.environ, "TRANSPARENCY_FOLDER": str(self.folder), **(env or {})}
        variables[MARK] = self.mark.decode().partition("=")[2]
        if terminal:
            self.master, slave = os.openpty()
            options.update(stdin=slave, stdout=slave, stderr=slave)

        def prepare():
            if group == "session" or terminal:
                os.setsid()
            elif group == "group":
                os.setpgid(0, 0)
            if terminal:
                fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            fresh()
            if setup:
                setup()

        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        words = [*(W if prefix is None else prefix), *command]
        self.process = subprocess.Popen(words, env=variables, preexec_fn=prepare, restore_signals=False, **options)
        self.pid = self.process.pid
        if slave is not None:
            os.close(slave)

    def facts(self, key):
        """What was reported under this key so far."""
        try:
            lines = (self.folder / "report").read_bytes().splitlines(keepends=True)
        except FileNotFoundError:
            return []
        return [fact[key] for fact in map(json.loads, (line for line in lines if line.endswith(b"\n"))) if key in fact]

    def fact(self, key, limit=None):
        """The first report under this key, waiting for it."""
        return wait_until(f"the worker's report of '{key}'", lambda: self.facts(key), limit)[0]

    def release(self, name):
        """Lets the worker continue that waits for this name."""
        (self.folder / name).touch()

    def family(self):
        """All processes of this run that have not ended: by environment, descent, group and session."""
        found, parents = set(), {}
        for entry in os.listdir("/proc"):
            if not entry.isdigit() or not (facts := stat(entry)):
                continue
            pid = int(entry)
            _, parents[pid], group, session = facts
            # Once it has been waited for, its number may belong to another process.
            itself = pid == self.pid and self.process.returncode is None
            if itself or self.has_mark(pid) or (pid != self.pid and self.pid in (group, session)):
                found.add(pid)
        while more := {pid for pid, parent in parents.items() if parent in found} - found:
            found |= more
        return sorted(found - {os.getpid()})

    def nothing_left(self, limit=None):
        """Waits until all of its processes have ended."""
        try:
            wait_until("the end of all its processes", lambda: not self.family(), limit)
        except AssertionError as error:
            raise AssertionError(f"{error}; there are {[command(pid) for pid in self.family()]}") from None

    def has_mark(self, pid):
        try:
            return self.mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            return False

    def kill(self, number):
        """Sends a signal to the wrapper alone."""
        os.kill(self.pid, number)

    def is_stuck(self, pipe):
        """Whether its output fills this pipe and all of its processes sleep."""
        return is_full(pipe) and all(map(is_asleep, self.family()))

    def next_status(self, limit=None):
        """The next change of state that waitpid reports, as (what, code or signal)."""

        def poll():
            pid, status = os.waitpid(self.pid, os.WNOHANG | os.WUNTRACED | os.WCONTINUED)
            return pid and (status,)

        (status,) = wait_until("a change of state", poll, limit)
        if os.WIFSTOPPED(status):
            return "stopped", os.WSTOPSIG(status)
        if os.WIFCONTINUED(status):
            return "continued", signal.SIGCONT
        self.process.returncode = os.waitstatus_to_exitcode(status)
        return ("killed", os.WTERMSIG(status)) if os.WIFSIGNALED(status) else ("exited", os.WEXITSTATUS(status))

    def wait(self, limit=None):
        """The exit status, as `subprocess` reports it."""
        try:
            return self.process.wait(limited(limit))
        except subprocess.TimeoutExpired:
            return give_up("the process does not end")

    def finish(self):
        """The exit status, stdout and stderr, once all of them have ended."""
        try:
            stdout, stderr = self.process.communicate(timeout=limited(None))
        except subprocess.TimeoutExpired:
            return give_up("the process or its output does not end")
        return self.process.returncode, stdout, stderr

    def type(self, text):
        os.write(self.master, text.encode())

    def expect(self, text, limit=None):
        """Waits until the terminal has shown this text, and returns what came with it."""
        os.set_blocking(self.master, False)

        def shown():
            with contextlib.suppress(BlockingIOError, OSError):
                self.output += os.read(self.master, 65536)
            return text.encode() in self.output

        try:
            wait_until(f"{text!r} on the terminal", shown, limit)
        except AssertionError as error:
            raise AssertionError(f"{error}; there is {self.output!r}") from None
        seen, _, self.output = self.output.partition(text.encode())
        return (seen + text.encode()).decode(errors="replace")

    def close(self):
        """Ends all of it."""
        wait_until("the end of all its processes", self.kill_all)
        if self.process.returncode is None:
            self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            with contextlib.suppress(OSError):
                if stream:
                    stream.close()
        if self.master is not None:
            os.close(self.master)
        shutil.rmtree(self.folder, ignore_errors=True)

    def kill_all(self):
        family = self.family()
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not family


class Case(unittest.TestCase):
    maxDiff = None

    def start(self, command, kind=Run, **options):
        run = kind(command, **options)
        self.addCleanup(run.close)
        return run

    def run_to_end(self, command, **options):
        return self.start(command, **options).finish()

    def both(self, command, **options):
        """What a command prints and returns without a wrapper, and behind it."""
        return self.run_to_end(command, prefix=[], **options), self.run_to_end(command, **options)
