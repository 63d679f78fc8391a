"""A wrapper whose stderr is a terminal gives the worker one as well. It changes no byte and takes no key."""

import contextlib
import errno
import fcntl
import os
import re
import select
import shutil
import struct
import subprocess
import termios
import time
import unittest

from harness import SIDECAR, SOON, W, needs_wrapper, row, sidecar_only, wait_until
from running import Case, inline

ALL_BYTES = bytes(range(256))
# The user without privileges that every Linux system has.
NOBODY = 65534
# Root of a container, which may not mount anything, with or without /dev/ptmx.
CONTAINER = """
[ $0 = hidden ] && mount --bind /dev/null /dev/ptmx
echo 0 >/proc/sys/user/max_user_namespaces
exec setpriv --bounding-set -sys_admin --inh-caps -sys_admin "$@"
"""


def container(name):
    return ["unshare", "--map-root-user", "--mount", "sh", "-ec", CONTAINER, name]


def has_containers():
    with contextlib.suppress(OSError):
        return subprocess.run([*container("shown"), "true"], stderr=subprocess.DEVNULL).returncode == 0


def resize(terminal, lines, columns):
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))


def without_output_processing():
    """The terminal shows bytes as they are, so that they can be compared."""
    settings = termios.tcgetattr(2)
    settings[1] &= ~termios.OPOST
    termios.tcsetattr(2, termios.TCSANOW, settings)


def options(*words):
    return [SIDECAR, "-q", *words, "--"]


def shown(run):
    """All that the terminal has shown, up to the end of the last process that has it."""
    data = []

    def ended():
        while select.select([run.master], [], [], 0)[0]:
            try:
                data.append(os.read(run.master, 65536))
            except OSError:
                return True

    wait_until("the end of what the terminal shows", ended)
    return b"".join(data)


@row("a terminal as stderr: isatty, size, settings")
class Same(Case):
    def test_size_and_settings(self):
        """Output processing is off in the worker's, because the real terminal does it."""
        code = """
import termios
settings = termios.tcgetattr(2)
settings[1] |= termios.OPOST
settings[-1] = [str(character) for character in settings[-1]]
report(stderr=[os.isatty(2), os.get_terminal_size(2), settings])
"""

        def setup():
            resize(2, 33, 121)
            settings = termios.tcgetattr(2)
            settings[3] ^= termios.TOSTOP | termios.ECHOE
            settings[-1][termios.VERASE] = b"\b"
            termios.tcsetattr(2, termios.TCSANOW, settings)

        runs = {"terminal": True, "setup": setup}
        direct, wrapped = self.start(inline(code), prefix=[], **runs), self.start(inline(code), **runs)
        self.assertEqual(direct.fact("stderr"), wrapped.fact("stderr"))
        self.assertEqual(wrapped.fact("stderr")[:2], [True, [121, 33]])

    def test_newlines(self):
        """They are processed once."""
        self.assertEqual(shown(self.start(["sh", "-c", "echo text >&2"], terminal=True)), b"text\r\n")

    def test_opened_by_its_path(self):
        """As scripts do it."""
        run = self.start(["sh", "-c", "echo one >/dev/stderr; echo two >&2"], terminal=True)
        self.assertEqual(shown(run), b"one\r\ntwo\r\n")

    @unittest.skipUnless(os.geteuid() == 0, "only root can drop privileges")
    def test_opened_after_dropping_privileges(self):
        drop = f"os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY}); "
        code = drop + "os.write(os.open('/dev/stderr', os.O_WRONLY | os.O_NOCTTY), b'text')"
        run = self.start(inline(code), terminal=True, setup=lambda: os.fchown(2, NOBODY, NOBODY))
        self.assertEqual(shown(run), b"text")
        run = self.start(inline(code), terminal=True, setup=lambda: os.fchmod(2, 0o600))
        self.assertIn(b"PermissionError", shown(run))


@row("a terminal as stderr: no byte changed or lost")
class Bytes(Case):
    def test_all_bytes(self):
        """The worker ends at once after its last write."""
        code = "os.write(2, bytes(range(256)) * 4096); os._exit(5)"
        for attempt in range(5):
            with self.subTest(attempt=attempt):
                run = self.start(inline(code), terminal=True, setup=without_output_processing)
                self.assertTrue(shown(run) == ALL_BYTES * 4096)
                self.assertEqual(run.wait(), 5)

    def test_last_bytes_with_a_grandchild(self):
        """A process that still has stderr keeps it from ending. Even so nothing is missing."""
        code = """
if os.fork():
    os.write(2, bytes(range(256)) * 200)
    os._exit(5)
wait_for("go")
os.write(2, b"late")
"""
        # The terminal hangs up when the leader of its session ends, so that is another process.
        wait = 'while ! [ -e "$TRANSPARENCY_FOLDER/end" ]; do sleep 0.01; done'
        session = f'trap "" HUP; "$@"; echo status $?; {wait}'
        for attempt in range(5):
            with self.subTest(attempt=attempt):
                command = ["sh", "-c", session, "sh", *W, *inline(code)]
                run = self.start(command, prefix=[], terminal=True, setup=without_output_processing)
                seen = run.expect("status 5\n")
                self.assertEqual(seen.count("\x7f"), 200)
                run.release("go")
                run.expect("late")
                run.release("end")
                self.assertEqual(run.wait(), 0)
                run.nothing_left()

    def test_chatty_grandchild(self):
        """It does not hold the exit."""
        code = """
if os.fork():
    os._exit(6)
while True:
    os.write(2, b"chatter\\n" * 1000)
"""
        run = self.start(inline(code), terminal=True)

        def ended():
            if select.select([run.master], [], [], 0)[0]:
                with contextlib.suppress(OSError):
                    os.read(run.master, 65536)
            return run.process.poll() is not None

        began = time.monotonic()
        wait_until("the exit", ended)
        self.assertLess(time.monotonic() - began, SOON)
        self.assertEqual(run.wait(), 6)

    def test_closed_and_opened_again(self):
        """Closing stderr is not the end of the stream."""
        code = """
again = os.open("/proc/self/fd/2", os.O_WRONLY | os.O_NOCTTY)
os.write(2, b"one ")
os.close(2)
os.write(again, b"two ")
os.close(again)
report(closed=1)
wait_for("go")
"""
        run = self.start(inline(code), terminal=True)
        run.expect("one two ")
        run.fact("closed")
        run.release("go")
        self.assertEqual(run.wait(), 0)

    @sidecar_only
    def test_telemetry(self):
        """It is removed."""
        code = 'printf "a\\nTELEMETRY:{\\"event\\": \\"x\\"}\\nb" >&2'
        self.assertEqual(shown(self.start(["sh", "-c", code], terminal=True)), b"a\r\nb")


@row("a terminal as stderr: keys are the real terminal's")
class Keys(Case):
    PAGER = """
try:
    keys = os.open(os.ttyname(2), os.O_RDONLY | os.O_NOCTTY)
except OSError:
    keys = os.open("/dev/tty", os.O_RDONLY)
report(ready=1)
report(keys=os.read(keys, 100).decode())
"""

    def test_pager(self):
        """It opens the terminal that has stderr's name, or /dev/tty."""
        run = self.start(inline(self.PAGER), terminal=True, stdin=subprocess.DEVNULL)
        run.fact("ready")
        run.type("a key\n")
        self.assertEqual(run.fact("keys"), "a key\n")

    @unittest.skipUnless(shutil.which("less"), "needs less")
    def test_less(self):
        run = self.start(["sh", "-c", "seq 1000 | less"], terminal=True, env={"TERM": "vt100", "LESS": ""})
        run.expect("\r\n10\r\n")
        run.type("G")
        run.expect("\r\n1000\r\n")
        run.type("q")
        self.assertEqual(run.wait(), 0)

    @sidecar_only
    def test_reading_stderr_fails(self):
        """Nothing could be read, so this must not wait."""
        code = """
try:
    os.read(2, 1)
except OSError as error:
    report(error=error.errno)
"""
        self.assertEqual(self.start(inline(code), terminal=True).fact("error"), errno.EBADF)

    def test_echo(self):
        """What is typed appears once."""
        run = self.start(inline("report(ready=1); os.write(2, os.read(0, 100))"), terminal=True)
        run.fact("ready")
        run.type("typed\n")
        self.assertEqual(shown(run), b"typed\r\n" * 2)


@row("a terminal as stderr: its new size is there when SIGWINCH has come")
class Size(Case):
    CODE = """
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGWINCH])
report(ready=1)
while True:
    signal.sigwait([signal.SIGWINCH])
    report(size=os.get_terminal_size(2))
"""

    def sizes_arrive(self, run):
        run.fact("ready")
        for lines in range(30, 60, 3):
            resize(run.master, lines, 100)
            # The first report may be of the old size; then a second one follows.
            wait_until("the new size", lambda: run.facts("size")[-1:] == [[100, lines]])

    def test_worker(self):
        run = self.start(inline(self.CODE), terminal=True)
        self.sizes_arrive(run)

    def test_child_of_the_worker(self):
        script = 'trap "" HUP; "$@"; exit 0'
        self.sizes_arrive(self.start(["sh", "-c", script, "sh", *inline(self.CODE)], terminal=True))

    @needs_wrapper
    def test_changed_in_the_background(self):
        """No signal reports it in the background. It is right when the worker has written something."""
        code = """
os.setpgid(0, 0)
report(ready=1)
wait_for("write")
os.write(2, b"text")
wait_for("go")
report(last=os.get_terminal_size(2))
"""
        run = self.start(inline(code), terminal=True)
        run.fact("ready")
        resize(run.master, 50, 90)
        run.release("write")
        run.expect("text")
        run.release("go")
        self.assertEqual(run.fact("last"), [90, 50])


@sidecar_only
@row("--stderr")
class Option(Case):
    REPORT = """
report(terminal=os.isatty(2), size=os.isatty(2) and os.get_terminal_size(2))
os.write(2, b"a\\nb")
"""

    def test_pipe_on_a_terminal(self):
        run = self.start(inline(self.REPORT), prefix=options("--stderr", "pipe"), terminal=True)
        self.assertEqual(shown(run), b"a\r\nb")
        self.assertEqual(run.facts("terminal"), [False])

    def test_terminal_on_a_pipe(self):
        for columns, lines, size in (("", "x", [80, 24]), ("132", "50", [132, 50])):
            with self.subTest(columns=columns, lines=lines):
                env = {"COLUMNS": columns, "LINES": lines}
                run = self.start(inline(self.REPORT), prefix=options("--stderr", "pty"), env=env)
                self.assertEqual(run.finish(), (0, b"", b"a\nb"))
                self.assertEqual((run.facts("terminal"), run.facts("size")), ([True], [size]))

    def test_variable(self):
        run = self.start(inline(self.REPORT), terminal=True, env={"TELEMETRY_SIDECAR_STDERR": "pipe"})
        self.assertEqual(run.wait(), 0)
        self.assertEqual(run.facts("terminal"), [False])

    @unittest.skipUnless(has_containers(), "needs user namespaces")
    def test_container(self):
        """The worker gets a pipe without /dev/ptmx, or if a pager would wait for keys at the terminal."""
        for name, reason in (("hidden", "no pseudo-terminal"), ("shown", "a pager would wait for keys")):
            with self.subTest(ptmx=name):
                prefix = [*container(name), *options("-v")]
                run = self.start(inline(self.REPORT), prefix=prefix, terminal=True)
                output = shown(run).decode()
                self.assertEqual(run.wait(), 0, output)
                self.assertEqual(run.facts("terminal"), [False])
                self.assertIn(f"the worker's stderr is a pipe: {reason}", output)

    @unittest.skipUnless(has_containers(), "needs user namespaces")
    def test_terminal_that_cannot_be_had(self):
        """Nothing runs."""
        prefix = [*container("hidden"), *options("--stderr", "pty")]
        run = self.start(inline(self.REPORT), prefix=prefix)
        status, _, stderr = run.finish()
        self.assertEqual((status, run.facts("terminal")), (125, []))
        message = rb"telemetry-sidecar: --stderr pty: no pseudo-terminal: .*\n"
        self.assertTrue(re.fullmatch(message, stderr), stderr)


if __name__ == "__main__":
    unittest.main()
