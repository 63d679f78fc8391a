"""A real terminal for tests: a tmux session with a server of its own, keys and the text of its pane.

Nothing waits for a fixed time: `wait` looks at the pane until a text is there, and fails with the pane if it
does not come.
"""

import os
import re
import shlex
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SIDECAR = os.environ.get("SIDECAR", str(ROOT / "target/debug/telemetry-sidecar"))

# The limit of any single wait. Normal waits are far shorter; the machine may be busy.
TIMEOUT = 60


def wait_until(what, get, condition=bool):
    """Waits for a value that satisfies a condition, and returns it."""
    deadline = time.monotonic() + TIMEOUT
    while True:
        value = get()
        if condition(value):
            return value
        assert time.monotonic() < deadline, f"gave up waiting: {what}; last:\n{value}"
        time.sleep(0.02)


class Screen:
    """A terminal of this size in which a shell runs."""

    def __init__(self, width=80, height=24, **environment):
        self.dir = tempfile.mkdtemp(prefix="screen")
        self.socket = f"{self.dir}/tmux"
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        kept |= {"LANG": "C.UTF-8", "PS1": "prompt$ ", "HISTFILE": "", "SIDECAR": SIDECAR}
        variables = [f"{key}={value}" for key, value in (kept | environment).items()]
        command = ["env", "-i", *variables]
        if "TERM" not in environment:
            command.append("TERM=screen-256color")
        command += ["bash", "--norc", "--noprofile", "-i"]
        self.tmux(
            *("new-session", "-d", "-x", str(width), "-y", str(height), shlex.join(command)),
            # The server outlives the client that starts it, and takes its environment.
            env=kept | {"TERM": "xterm"},
        )
        try:
            self.wait("prompt$")
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.tmux("kill-server", check=False)
        shutil.rmtree(self.dir, ignore_errors=True)

    def tmux(self, *words, check=True, env=None):
        command = ["tmux", "-S", self.socket, "-f", "/dev/null", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, env=env)
        assert not check or done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def run(self, line):
        """Types a line for the shell."""
        self.type(line)
        self.keys("Enter")

    def type(self, text):
        """Types characters."""
        self.tmux("send-keys", "-l", text)

    def keys(self, *names):
        """Presses keys by tmux's names: Enter, Escape, Tab, Up, C-c."""
        self.tmux("send-keys", *names)

    def resize(self, width, height):
        self.tmux("resize-window", "-x", str(width), "-y", str(height))

    def text(self):
        """The pane, without spaces at the ends of lines."""
        return self.tmux("capture-pane", "-p").rstrip("\n")

    def coloured(self):
        """The pane with its escape sequences."""
        return self.tmux("capture-pane", "-p", "-e")

    def lines(self):
        return self.text().split("\n")

    def wait(self, *texts, without=()):
        """Waits until all these texts are in the pane, and none of the others. Returns the pane."""

        def is_there(text):
            return all(part in text for part in texts) and not any(part in text for part in without)

        return wait_until(f"{texts} without {without}", self.text, is_there)

    def wait_for(self, pattern):
        """Waits until a regular expression matches a part of the pane, and returns the match."""
        return wait_until(pattern, lambda: re.search(pattern, self.text(), re.M) or self.text(), is_match)

    def children(self):
        """The process ids of what the shell has started."""
        shell = int(self.tmux("display-message", "-p", "#{pane_pid}"))
        return Path(f"/proc/{shell}/task/{shell}/children").read_text().split()

    def pid(self, name="telemetry-sidec"):
        """The process id of the program of this name that runs in the foreground."""

        def child():
            pids = self.children()
            named = [pid for pid in pids if Path(f"/proc/{pid}/comm").read_text().strip() == name]
            return int(named[0]) if named else None

        return wait_until(name, child)

    def wait_for_end(self):
        """Waits until the program in the foreground has ended. What is typed before it may be discarded."""
        wait_until("the end of the program", self.children, lambda pids: not pids)


def is_match(value):
    return isinstance(value, re.Match)
