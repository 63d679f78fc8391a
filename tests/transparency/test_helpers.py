"""The wrapper's helper processes may be killed, stopped, or run in a sandbox that refuses system calls."""

import contextlib
import ctypes
import errno
import os
import re
import resource
import signal
import socket
import struct
import subprocess
import tempfile
import unittest
import uuid
from pathlib import Path

from counting import Counter
from harness import SIDECAR, row, sidecar_only, stat, wait_until
from running import Case, command, inline, worker
from test_as_pid1 import UNSHARE
from test_grandchildren import LEAVES

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
CLOSE_RANGE = 436
# The files of the C library.
LIBC = ("libc.so", "libm.so", "ld-linux")
CLONE = {"x86_64": 56, "aarch64": 220}
CLONE_VM = 0x100

# Runs as PID 1 of a namespace: it kills the witness, gives its process id to another process, lets the
# worker end, and prints whether the other process still runs.
REUSED_ID = """
import os, signal, subprocess, sys, time
from pathlib import Path

def comm(pid):
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return None

def until(condition):
    while not (value := condition()):
        time.sleep(0.003)
    return value

sidecar = subprocess.Popen([sys.argv[1], "-q", "--", "cat"], stdin=subprocess.PIPE)
witness = until(lambda: [int(p) for p in os.listdir("/proc") if p.isdigit() and comm(p) == "sidecar-witness"])[0]
os.kill(witness, signal.SIGKILL)
until(lambda: comm(witness) is None)
Path("/proc/sys/kernel/ns_last_pid").write_text(str(witness - 1))
other = subprocess.Popen(["sleep", "1000"])
if other.pid != witness:
    sys.exit("another process id")
sidecar.stdin.close()
status = sidecar.wait()
print(status, other.poll())
other.kill()
"""


def install_filter(*program):
    """Has this process's system calls judged by this filter, whose last instruction permits them."""
    program += ((0x06, 0, 0, 0x7FFF0000),)  # SECCOMP_RET_ALLOW
    code = b"".join(struct.pack("HBBI", *line) for line in program)

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))

    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(Program(len(program), code)), 0, 0):
        raise OSError(ctypes.get_errno(), "seccomp")


def refuse_close_range():
    """Refuses close_range with EPERM, like a sandbox that does not know it."""
    install_filter(
        (0x20, 0, 0, 0),  # load the system call's number
        (0x15, 0, 1, CLOSE_RANGE),  # another one: skip the next
        (0x06, 0, 0, 0x00050000 | errno.EPERM),  # SECCOMP_RET_ERRNO
    )


def refuse_shared_memory():
    """Refuses processes that share memory and are not threads, like QEMU's emulation of another processor."""
    install_filter(
        (0x20, 0, 0, 0),  # load the system call's number
        (0x15, 0, 3, CLONE.get(os.uname().machine)),  # another one: skip the next three
        (0x20, 0, 0, 16),  # load the flags
        (0x15, 0, 1, CLONE_VM | signal.SIGCHLD),  # others: skip the next
        (0x06, 0, 0, 0x00050000 | errno.EINVAL),  # SECCOMP_RET_ERRNO
    )


def permitted():
    try:
        return subprocess.run(["true"], preexec_fn=refuse_close_range).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False


@sidecar_only
class Helpers(Case):
    def witness(self, run):
        def find():
            for pid in run.family():
                try:
                    if Path(f"/proc/{pid}/comm").read_text().strip() == "sidecar-witness":
                        return pid
                except OSError:
                    pass

        return wait_until("the witness", find)

    @row("the wrapper keeps no copy of inherited descriptors")
    def test_witness_descriptors(self):
        """Two pipes and its signals. It has started before the worker does."""
        run = self.start(worker("idle"), stdin=subprocess.PIPE)
        run.fact("ready")
        files = Path(f"/proc/{self.witness(run)}/fd")
        kinds = sorted(os.readlink(file).partition(":")[0] for file in files.iterdir())
        self.assertEqual(kinds, ["anon_inode", "pipe", "pipe"])
        ends = {os.readlink(file) for file in files.iterdir()}
        for stream in (run.process.stdin, run.process.stdout, run.process.stderr):
            self.assertNotIn(os.readlink(f"/proc/self/fd/{stream.fileno()}"), ends)

    @row("the wrapper's second process takes little memory")
    def test_witness_memory(self):
        """Of variables it has a page of each of the program, the C library and the loader."""
        run = self.start(worker("idle"), stdin=subprocess.PIPE)
        run.fact("ready")
        maps = Path(f"/proc/{self.witness(run)}/smaps").read_text()
        mapping = r"^\w+-\w+ (\S+) [^\n]* (/\S*)$.*?^Anonymous: +(\d+)"
        mappings = re.findall(mapping, maps, re.MULTILINE | re.DOTALL)
        libraries = {Path(path).name for _, path, _ in mappings} - {Path(SIDECAR).name}
        if "libc.so.6" not in libraries or not all(name.startswith(LIBC) for name in libraries):
            self.skipTest(f"a static program, or other libraries than that of C: {libraries}")
        copied = {path: int(size) for access, path, size in mappings if "w" in access}
        self.assertLessEqual(max(copied.values()), resource.getpagesize() // 1024, copied)

    @row("a signal to all whose command line matches arrives once")
    def test_command_line(self):
        """As `pkill -f` does. The wrapper's command line ends with the worker's; the witness has the same."""
        name = uuid.uuid4().hex
        counter = self.start(worker("counter", name), Counter)
        witness = self.witness(counter)
        lines = {pid: command(pid)[1] for pid in counter.family()}
        self.assertEqual(lines[witness], lines[counter.pid])
        self.assertEqual(lines[witness][-len(lines[counter.worker]) :], lines[counter.worker])
        matching = sorted(pid for pid, line in lines.items() if name in " ".join(line))
        self.assertEqual(matching, sorted([counter.pid, witness, counter.worker]))

        def send():
            for pid in matching:
                os.kill(pid, signal.SIGTERM)

        for attempt in range(5):
            with self.subTest(attempt=attempt):
                self.assertEqual(counter.count_after(signal.SIGTERM, send)[0], 1)
        self.assertEqual(counter.end(), 7)

    @row("what the wrapper has beside it may be killed")
    def test_signals_without_the_witness(self):
        counter = self.start(None, Counter)
        witness = self.witness(counter)
        os.kill(witness, signal.SIGKILL)
        wait_until("the witness's end", lambda: not Path(f"/proc/{witness}").exists())
        for number in (signal.SIGTERM, signal.SIGUSR1):
            with self.subTest(signal=number):
                self.assertEqual(counter.count_after(number, lambda: counter.kill(number))[0], 1)
        self.assertEqual(counter.end(), 7)

    @row("what the wrapper has beside it may be killed")
    def test_end_of_the_linger_without_the_witness(self):
        """Whether a signal right after the worker's end was the unit's cannot be known then. It ends the wait."""
        prefix = [SIDECAR, "-q", "--linger", "600s", "--"]
        run = self.start(inline("report(pid=os.getpid()); wait_for('end')"), prefix=prefix)
        pid = run.fact("pid")
        witness = self.witness(run)
        os.kill(witness, signal.SIGKILL)
        wait_until("the witness's end", lambda: not Path(f"/proc/{witness}").exists())
        run.release("end")
        wait_until("the worker's end", lambda: not Path(f"/proc/{pid}").exists())
        run.kill(signal.SIGTERM)
        self.assertEqual(run.wait(), 0)

    @row("what the wrapper has beside it may be killed")
    def test_stopped_witness(self):
        counter = self.start(None, Counter)
        witness = self.witness(counter)
        os.kill(witness, signal.SIGSTOP)
        wait_until("the witness to be stopped", lambda: stat(witness)[0] == "T")
        self.assertEqual(counter.count_after(signal.SIGTERM, lambda: counter.group(signal.SIGTERM))[0], 1)
        self.assertEqual(counter.end(), 7)

    @row("what the wrapper has beside it may be killed")
    def test_signals_after_the_witness_was_stopped(self):
        """A witness that stays stopped would keep what is pending, and swallow later signals."""
        counter = self.start(None, Counter)
        witness = self.witness(counter)
        for number in (signal.SIGTERM, signal.SIGUSR1):
            os.kill(witness, signal.SIGSTOP)
            wait_until("the witness to be stopped", lambda: stat(witness)[0] == "T")
            for send in (counter.group, counter.kill, counter.kill, counter.group):
                with self.subTest(signal=number, to=send.__name__):
                    self.assertEqual(counter.count_after(number, lambda send=send: send(number))[0], 1)
        self.assertEqual(counter.end(), 7)

    @row("signals when all descriptors are used up")
    def test_signals_without_free_descriptors(self):
        with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as clients:
            ready = Path(folder, "ready")
            prefix = [SIDECAR, "-q", "--ready-file", str(ready), "--handshake-timeout", "600s", "--"]
            limit = 40

            def restrict():
                resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))

            counter = self.start(None, Counter, prefix=prefix, setup=restrict)
            address = ("127.0.0.1", int(ready.read_text().split()[0]))
            for _ in range(limit):
                clients.enter_context(socket.create_connection(address))
            wait_until("no descriptor left", lambda: len(os.listdir(f"/proc/{counter.pid}/fd")) == limit)
            for send in (counter.group, counter.kill) * 2:
                with self.subTest(to=send.__name__):
                    self.assertEqual(
                        counter.count_after(signal.SIGTERM, lambda send=send: send(signal.SIGTERM))[0], 1
                    )
            self.assertEqual(counter.end(), 7)

    @row("what the wrapper has beside it may be killed")
    @unittest.skipUnless(UNSHARE and os.geteuid() == 0, "choosing a process id is not permitted here")
    def test_reused_process_id_of_the_witness(self):
        """After the witness's end its process id may belong to another process, which is not killed."""
        command = [*UNSHARE, "python3", "-c", REUSED_ID, SIDECAR]
        status, stdout, stderr = self.run_to_end(command, prefix=[])
        self.assertEqual((status, stdout), (0, b"0 None\n"), stderr)

    @row("a sandbox that refuses close_range changes nothing")
    @unittest.skipUnless(permitted(), "seccomp filters are not permitted here")
    def test_sandbox(self):
        counter = self.start(None, Counter, setup=refuse_close_range)
        for attempt in range(3):
            with self.subTest(attempt=attempt):
                self.assertEqual(counter.count_after(signal.SIGTERM, lambda: counter.group(signal.SIGTERM))[0], 1)
        self.assertEqual(counter.end(), 7)

        run = self.start(inline(LEAVES), setup=refuse_close_range)
        run.fact("left")
        self.assertEqual(run.wait(), 5)
        run.release("go")
        self.assertEqual(run.process.stderr.readline(), b"late\n")

    @row("a sandbox that refuses the wrapper shared memory changes nothing")
    @unittest.skipUnless(permitted(), "seccomp filters are not permitted here")
    def test_own_memory(self):
        counter = self.start(None, Counter, setup=refuse_shared_memory)
        self.assertEqual(counter.count_after(signal.SIGTERM, lambda: counter.group(signal.SIGTERM))[0], 1)
        self.assertEqual(counter.end(), 7)
        for path, expected in (("/nowhere", 127), ("/etc/passwd", 126)):
            with self.subTest(path):
                run = self.start([path], setup=refuse_shared_memory)
                self.assertEqual(run.wait(), expected)


if __name__ == "__main__":
    unittest.main()
