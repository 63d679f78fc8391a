"""The worker has the descriptors that the wrapper inherited, unchanged; the wrapper keeps none of them."""

import contextlib
import fcntl
import itertools
import os
import select
import shutil
import subprocess
import tempfile
import time
import unittest

from harness import IS_STATIC, SIDECAR, SOON, TIMEOUT, W, needs_wrapper, row, sidecar_only, wait_until
from running import Case, inline, worker


# The user without privileges that every Linux system has.
NOBODY = 65534


# In place of the C library's function: leaves a file open, without close-on-exec.
LEAK = """
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **result) {
    static struct sockaddr_in address = {.sin_family = AF_INET};
    static struct addrinfo info = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM, .ai_addrlen = sizeof address};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    info.ai_addr = (struct sockaddr *)&address;
    open(getenv("LEAKED"), O_WRONLY | O_CREAT, 0600);
    *result = &info;
    return 0;
}

void freeaddrinfo(struct addrinfo *info) {}
"""


def ends(descriptor, limit=SOON):
    """Whether a pipe's other side is seen closed within the limit, reading what comes before."""
    deadline = time.monotonic() + limit
    while select.select([descriptor], [], [], max(0, deadline - time.monotonic()))[0]:
        if not os.read(descriptor, 65536):
            return True
    return False


@row("closed by the worker: peers see it at once")
class Closing(Case):
    def test_stdout(self):
        run = self.start(inline("os.write(1, b'text'); os.close(1); report(closed=1); wait_for('go'); os._exit(7)"))
        run.fact("closed")
        self.assertTrue(ends(run.process.stdout.fileno()))
        run.release("go")
        self.assertEqual(run.wait(), 7)

    def test_stdin(self):
        run = self.start(inline("os.close(0); report(closed=1); wait_for('go'); os._exit(7)"), stdin=subprocess.PIPE)
        run.fact("closed")

        def broken():
            try:
                os.write(run.process.stdin.fileno(), b"x")
            except BrokenPipeError:
                return True

        wait_until("EPIPE", broken, SOON)
        run.release("go")
        self.assertEqual(run.wait(), 7)

    def test_others(self):
        """A pipe in each direction on other descriptors."""
        code = """
reader, writer = map(int, ARGUMENTS)
os.write(writer, os.read(reader, 4))
os.close(writer); os.close(reader)
report(closed=1)
wait_for("go")
"""
        their_read, our_write = os.pipe()
        our_read, their_write = os.pipe()
        run = self.start(inline(code, their_read, their_write), pass_fds=[their_read, their_write])
        os.close(their_read)
        os.close(their_write)
        os.write(our_write, b"text")
        run.fact("closed")
        self.assertEqual(os.read(our_read, 4), b"text")
        self.assertTrue(ends(our_read))
        with self.assertRaises(BrokenPipeError):
            os.write(our_write, b"x")
        run.release("go")
        self.assertEqual(run.wait(), 0)
        os.close(our_read)
        os.close(our_write)

    def test_after_its_end(self):
        """The worker's end closes them too, no later than the wrapper's end."""
        reader, writer = os.pipe()
        run = self.start(["sh", "-c", f"echo text >&{writer}"], pass_fds=[writer])
        os.close(writer)
        self.assertTrue(ends(reader, TIMEOUT))
        os.close(reader)
        self.assertEqual(run.wait(), 0)


class Same(Case):
    def descriptors(self, **options):
        run = self.start(worker("descriptors"), **options)
        self.assertEqual(run.wait(), 0, run.process.stderr and run.process.stderr.read())
        return {number: rest for number, *rest in run.fact("descriptors")}

    def same(self, **options):
        direct, wrapped = self.descriptors(prefix=[], **options), self.descriptors(**options)
        stderr, own = wrapped.pop(2, None), direct.pop(2, None)
        self.assertEqual(direct, wrapped)
        # The sidecar's pipe is blocking and without close-on-exec. Other wrappers leave stderr as it is.
        if stderr != own:
            self.assertTrue(stderr and stderr[0].startswith("pipe:"), stderr)
            self.assertEqual(stderr[1:], [os.O_WRONLY, 0])

    @row("descriptors closed in the parent stay closed in the worker")
    def test_closed(self):
        for count in range(4):
            for closed in itertools.combinations((0, 1, 2), count):
                with self.subTest(closed=closed):
                    inherited = {"stdin": None, "stdout": None, "stderr": None}
                    self.same(setup=lambda: [closing(number) for number in closed], **inherited)

    @row("descriptors closed in the parent stay closed in the worker")
    def test_closed_in_a_shell(self):
        """A program that opens the directory gets the lowest free descriptor."""
        script = 'exec "$@" <&-'
        listings = [
            self.run_to_end(["sh", "-c", script, "sh", *prefix, "ls", "/proc/self/fd"], prefix=[], stderr=2)
            for prefix in ([], W)
        ]
        self.assertEqual(*listings)
        self.assertEqual(listings[0][:2], (0, b"0\n1\n2\n"))

    @row("inherited descriptors are the same, and no others")
    def test_open(self):
        folder = os.open("/", os.O_RDONLY)
        null = os.open("/dev/null", os.O_RDWR | os.O_APPEND)
        reader, writer = os.pipe()
        high = fcntl.fcntl(writer, fcntl.F_DUPFD, 700)
        os.set_blocking(reader, False)
        passed = [folder, null, reader, high]
        # Python closes what is not passed.
        self.same(stdin=null, stdout=writer, pass_fds=passed)
        for descriptor in [*passed, writer]:
            os.close(descriptor)

    @row("inherited descriptors are the same, and no others")
    @sidecar_only
    @unittest.skipUnless(shutil.which("cc"), "needs a C compiler")
    @unittest.skipIf(IS_STATIC, "a static binary loads no library")
    def test_left_open_by_a_library(self):
        """The worker does not have a descriptor that the resolution of a name leaves open."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        library = f"{folder.name}/leak.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-xc", "-", "-o", library], input=LEAK, check=True, text=True)
        leaked = f"{folder.name}/leaked"
        reader, writer = os.pipe()
        high = fcntl.fcntl(writer, fcntl.F_DUPFD, 100)
        passed = [reader, writer, high]
        run = self.start(
            worker("descriptors"),
            prefix=[SIDECAR, "-q", "--listen", "localhost:0", "--"],
            env={"LD_PRELOAD": library, "LEAKED": leaked},
            pass_fds=passed,
        )
        self.assertEqual(run.wait(), 0)
        self.assertTrue(os.path.exists(leaked), "the library has been called")
        self.assertEqual([number for number, *_ in run.fact("descriptors")], sorted([0, 1, 2, *passed]))
        for descriptor in passed:
            os.close(descriptor)

    @row("O_NONBLOCK is never changed on inherited descriptors")
    def test_blocking(self):
        for blocking in (True, False):
            with self.subTest(blocking=blocking):
                pipes = [os.pipe() for _ in range(4)]
                theirs = [pipes[0][0], *(write for _, write in pipes[1:])]
                for descriptor in theirs:
                    os.set_blocking(descriptor, blocking)
                before = [fcntl.fcntl(descriptor, fcntl.F_GETFL) for descriptor in theirs]
                stdin, stdout, stderr, other = theirs
                code = "report(ready=1); os.write(2, b'some text\\n'); wait_for('go')"
                run = self.start(inline(code), stdin=stdin, stdout=stdout, stderr=stderr, pass_fds=[other])
                run.fact("ready")
                self.assertEqual(os.read(pipes[2][0], 100), b"some text\n")
                during = [fcntl.fcntl(descriptor, fcntl.F_GETFL) for descriptor in theirs]
                run.release("go")
                self.assertEqual(run.wait(), 0)
                after = [fcntl.fcntl(descriptor, fcntl.F_GETFL) for descriptor in theirs]
                self.assertEqual((during, after), (before, before))
                for descriptor in itertools.chain(*pipes):
                    os.close(descriptor)

    @row("a stderr inherited non-blocking loses nothing")
    @sidecar_only
    def test_stderr_inherited_non_blocking(self):
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        run = self.start(["sh", "-c", "seq 200000 >&2; exit 7"], stderr=writer)
        os.close(writer)
        # The pipe is full, so writes are refused.
        wait_until("full pipes", lambda: run.is_stuck(reader))
        with open(reader, "rb") as stream:
            self.assertEqual(stream.read(), b"".join(b"%d\n" % number for number in range(1, 200001)))
        self.assertEqual(run.wait(), 7)

    @row("a worker that drops its privileges can open /dev/stderr")
    @unittest.skipUnless(os.geteuid() == 0, "only root can drop privileges")
    def test_stderr_is_opened_after_dropping_privileges(self):
        """Whether it may depends on mode and owner of the wrapper's stderr, as without the wrapper."""
        code = f"""
os.setgroups([])
os.setgid({NOBODY})
os.setuid({NOBODY})
try:
    os.write(os.open("/dev/stderr", os.O_WRONLY), b"opened\\n")
except PermissionError:
    os.write(2, b"refused\\n")
"""
        for mode, owner, expected in ((0o600, 0, b"refused\n"), (0o622, 0, b"opened\n"), (0o600, NOBODY, b"opened\n")):
            with self.subTest(mode=oct(mode), owner=owner):
                reader, writer = os.pipe()
                os.fchown(writer, owner, owner)
                os.fchmod(writer, mode)
                run = self.start(inline(code), stderr=writer)
                os.close(writer)
                with open(reader, "rb") as stream:
                    self.assertEqual(stream.read(), expected)
                self.assertEqual(run.wait(), 0)

    @row("the wrapper keeps no copy of inherited descriptors")
    @needs_wrapper
    def test_wrapper_closes_its_copies(self):
        pipes = [os.pipe() for _ in range(3)]
        run = self.start(worker("idle"), stdin=pipes[0][0], stdout=pipes[1][1], pass_fds=[pipes[2][0], pipes[2][1]])
        theirs = {os.readlink(f"/proc/self/fd/{pipe[0]}") for pipe in pipes}
        pid = run.fact("ready")
        self.assertEqual(theirs & set(open_files(pid).values()), theirs)

        def keepers():
            others = [other for other in run.family() if other != pid]
            return {other: kept for other in others if (kept := theirs & set(open_files(other).values()))}

        try:
            # The wrapper may close them a moment after the worker's start.
            wait_until("the wrapper to close them", lambda: not keepers(), SOON)
        except AssertionError:
            self.fail(f"kept by {keepers()}; the wrapper is {run.pid}, stdin, stdout and others are {theirs}")
        run.release("go")
        self.assertEqual(run.wait(), 7)
        for descriptor in itertools.chain(*pipes):
            os.close(descriptor)


def open_files(pid):
    found = {}
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            found[int(name)] = os.readlink(f"/proc/{pid}/fd/{name}")
    return found


def closing(number):
    with contextlib.suppress(OSError):
        os.close(number)


if __name__ == "__main__":
    unittest.main()
