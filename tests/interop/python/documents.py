"""The code blocks of a document, and a terminal in which their commands run.

A comment before a block says what a test does with it:

    <!-- run -->                the lines with `$ ` are typed, and what follows each is compared with its output
    <!-- run: terminal 2 -->    the same in another terminal
    <!-- run: exact -->         numbers are compared as well
    <!-- run: 500 as 20 -->     with another number in the commands
    <!-- run: keep -->          the last command goes on running; its output so far has to begin as shown
    <!-- run: rest -->          the block is all that such a command has printed when it has ended
    <!-- file: NAME -->         the block is written to this file
    <!-- not run: REASON -->    nothing

A block of `sh` without `$ ` is a script whose output is not compared. `^C` at the start of a block is a key press.
"""

import itertools
import os
import pty
import re
import select
import shlex
import signal
import struct
import subprocess
import sys
import termios
import textwrap
import time
from dataclasses import dataclass
from fcntl import ioctl
from pathlib import Path

from waiting import TIMEOUT

SHELLS = ("console", "sh")

# Brings up the loopback interface of a new network namespace, which then has the address 127.0.0.1.
LOOPBACK = """
import fcntl, socket, struct
IFF_UP, SIOCSIFFLAGS = 1, 0x8914
fcntl.ioctl(socket.socket(), SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))
"""

# What documents have in place of the folder in which a test runs their commands.
HOME = "/home/you"


@dataclass
class Block:
    language: str
    text: str
    line: int
    directive: str = ""

    @property
    def is_command(self):
        return self.language in SHELLS

    def words(self, name):
        """The text behind `NAME:` of the directive, "" if there is none, or None if it is another one."""
        found = re.fullmatch(rf"{name}(?:: *(.*))?", self.directive)
        return found and (found[1] or "")


def blocks(path):
    """The fenced blocks of a Markdown file, each with the comment before it."""
    found, directive, block, lines = [], "", None, []
    for number, line in enumerate(Path(path).read_text().splitlines(), 1):
        if fence := re.match(r"\s*```(\w*)", line):
            if block is None:
                block, lines = Block(fence[1], "", number, directive), []
            else:
                block.text = textwrap.dedent("\n".join(lines))
                found.append(block)
                block, directive = None, ""
        elif block is not None:
            lines.append(line)
        elif comment := re.match(r"\s*<!-- (.*) -->$", line):
            directive = comment[1]
        elif line.strip():
            directive = ""
    assert block is None, f"{path}:{block.line}: the block has no end"
    return found


def steps(text):
    """The commands of a transcript, each with the lines that it prints."""
    found = []
    lines = iter(text.splitlines())
    for line in lines:
        if line.startswith("$ "):
            command = line[2:]
            while command.endswith("\\"):
                command += "\n" + next(lines)
            found.append((command, []))
        elif line == "^C":
            found.append(("\x03", []))
        elif line.strip() or found:
            assert found, f"output before a command: {line}"
            found[-1][1].append(line)
    return found


UNIT = r"(?: ?(?:ns|µs|ms|s|m|h|d|B|KB|MB|GB|KiB|MiB|GiB|%)\b|%)?"


def shape(line):
    """A line without what differs from run to run: numbers, with their units, and the width of columns."""
    if re.fullmatch(r"\d+", line.strip()):
        return line.strip()
    line = re.sub(r"[▁▂▃▄▅▆▇█]+", "~", line)
    line = re.sub(rf"\d[\d.,:]*(?:e[-+]\d+)?{UNIT}", "0", line)
    return re.sub(r"(?:0 )+0\b", "0", " ".join(line.split()))


def exact(line):
    return " ".join(line.split())


def differs(expected, actual, whole=True, shape=shape):
    """Returns why these lines are not those of the document, or "". A line `…` stands for any lines."""
    patterns = []
    for line in expected:
        if line.strip() == "…":
            patterns.append(r"(?:[^\n]*\n)*?")
        else:
            patterns.append(re.escape(shape(line)).replace("…", "[^\n]*") + r"\n")
    text = "".join(shape(line) + "\n" for line in actual if line.strip())
    pattern = "".join(p for p in patterns if p != r"\n")
    if re.fullmatch(pattern, text) if whole else re.match(pattern, text):
        return ""
    return "\n".join(["the document has", *expected, "", "the command printed", *actual])


class Terminals:
    """Shells in terminals of 110 columns, in a folder of their own. Documents list and end sidecars, and have fixed ports,
    so the shells see no processes but their own, and have ports of their own, which takes root.
    """

    def __init__(self, folder, environment):
        self.folder, self.environment = folder, environment
        self.open = {}
        command = ["unshare", "--pid", "--net", "--fork", "--mount-proc", "--kill-child"]
        command += ["bash", "-c", '"$@" && echo && sleep infinity & wait', "bash", sys.executable, "-c", LOOPBACK]
        self.holder = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.is_alone = bool(self.holder.stdout.readline())
        if self.is_alone:
            children = f"/proc/{self.holder.pid}/task/{self.holder.pid}/children"
            self.inside = ["nsenter", "-t", Path(children).read_text().split()[0], "--pid", "--net", "--mount"]

    def __getitem__(self, name):
        if name not in self.open:
            self.open[name] = Terminal(self.inside, self.folder, self.environment)
        return self.open[name]

    def close(self):
        for terminal in self.open.values():
            terminal.close()
        self.holder.kill()
        self.holder.wait()
        self.holder.stdout.close()


class Terminal:
    PROMPT = re.compile(r"<prompt (\d+)>$")

    def __init__(self, inside, folder, environment):
        self.master, slave = pty.openpty()
        ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 110, 0, 0))
        flags = termios.tcgetattr(slave)
        flags[3] &= ~termios.ECHO
        termios.tcsetattr(slave, termios.TCSANOW, flags)
        command = [*inside, "setsid", "--ctty", "--wait", "bash", "--norc", "--noprofile", "--noediting", "-i"]
        self.shell = subprocess.Popen(
            command,
            cwd=folder,
            env=environment | {"PS1": "<prompt $?>", "PS2": "", "TERM": "xterm-256color", "LANG": "C.UTF-8"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        self.output = ""
        self.kept = False
        self.read_until(self.PROMPT.search)
        # Entering a namespace leaves the folder.
        self.run(f"cd {shlex.quote(str(folder))}")

    def read_until(self, found):
        """Reads until this function of the output returns something, and returns that."""
        deadline = time.monotonic() + TIMEOUT
        while not (result := found(self.output)):
            ready, _, _ = select.select([self.master], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"gave up waiting for the end of a command; its output:\n{self.output}"
            self.output += os.read(self.master, 65536).decode(errors="replace").replace("\r\n", "\n")
        return result

    def lines(self):
        """What was printed, as the screen shows it at the end: without colours, and bars in their last state."""
        text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07", "", self.output)
        shown = (line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
        return [line.rstrip() for line in shown if line.strip()]

    def type(self, text):
        self.output = ""
        os.write(self.master, text.encode())

    def run(self, command):
        """Runs a command, and returns its output and exit status. One that was kept has to end by itself before."""
        if self.kept and command != "\x03":
            self.rest()
        self.type("\x03" if command == "\x03" else command + "\n")
        status = self.read_until(self.PROMPT.search)[1]
        return self.rest(), int(status)

    def rest(self):
        """Waits for the end of the command that was kept, and returns all its output."""
        self.read_until(self.PROMPT.search)
        self.kept = False
        self.output = self.output[: self.output.rindex("<prompt ")]
        return self.lines()

    def keep(self, command, expected):
        """Starts a command and waits for the first lines that it prints."""
        self.type(command + "\n")
        self.kept = True
        self.read_until(lambda _: not differs(expected, self.lines(), whole=False))

    def close(self):
        os.close(self.master)
        try:
            self.shell.wait(5)
        except subprocess.TimeoutExpired:
            self.shell.send_signal(signal.SIGKILL)
            self.shell.wait()


def run(document, terminals, folder):
    """Does what a document's comments say."""
    for block in blocks(document):
        where = f"{document}:{block.line}"
        if name := block.words("file"):
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text + "\n")
            if block.text.startswith("#!"):
                path.chmod(0o755)
        if (how := block.words("run")) is None:
            continue
        number = re.search(r"terminal (\d+)", how)
        terminal = terminals[number[1] if number else "1"]
        text = block.text
        if replaced := re.search(r"(\S+) as (\S+)", how):
            text = re.sub(rf"\b{replaced[1]}\b", replaced[2], text)
        if not text.startswith(("$ ", "^C")):
            printed, status = terminal.run(f"({text}\n)")
            assert status == 0, f"{where}: exit status {status}\n" + "\n".join(printed)
            continue
        transcript = steps(text)
        for position, (command, expected) in enumerate(transcript, 1):
            if "keep" in how and position == len(transcript):
                terminal.keep(command, expected)
                continue
            printed = terminal.rest() if "rest" in how else terminal.run(command)[0]
            printed = [line.replace(str(folder), HOME) for line in printed]
            problem = differs(expected, printed, shape=exact if "exact" in how else shape)
            assert not problem, f"{where}: $ {command}\n{problem}"


def commands(paths):
    """The blocks with commands of these documents, each with its place."""
    pairs = itertools.chain.from_iterable(((path, block) for block in blocks(path)) for path in paths)
    return [(f"{path}:{block.line}", block) for path, block in pairs if block.is_command]
