"""Real servers for the exporters: started on free loopback ports, awaited, and never left behind."""

import os
import shutil
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

from waiting import TIMEOUT, wait_until


def program(variable, default):
    """The program that an environment variable names, or that is in the PATH. One that is missing fails the test."""
    name = os.environ.get(variable, default)
    found = shutil.which(name)
    assert found, f"there is no {name}; {variable} may name one"
    return str(Path(found).resolve())


def free_ports(count, kind=socket.SOCK_STREAM):
    """Ports free a moment ago, all different."""
    sockets = [socket.socket(socket.AF_INET, kind) for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def fetch(url, headers=None):
    """(status, headers, body) of a GET, or None if nothing listens."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers or {}), timeout=TIMEOUT) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read().decode()
    except (urllib.error.URLError, ConnectionError):
        return None


class Server:
    """A child process that does not outlive the `with`; its output is in `folder`/log.

    A port found free may be taken before the server binds it: then it ends, and is started again on other ports.
    """

    TRIES = 3

    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)

    def command(self):
        """Chooses ports, writes configuration, returns the command line."""
        raise NotImplementedError

    def is_ready(self):
        raise NotImplementedError

    def __enter__(self):
        for _ in range(self.TRIES):
            command = [str(word) for word in self.command()]
            with open(self.folder / "log", "wb") as log:
                self.process = subprocess.Popen(
                    command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
                )
            try:
                wait_until("the server to be ready", lambda: self.is_ready() or not self.is_alive())
                if self.is_alive():
                    return self
            except BaseException:
                self.__exit__()
                raise
        raise AssertionError(self.output())

    def is_alive(self):
        return self.process.poll() is None

    def output(self):
        return (self.folder / "log").read_text(errors="replace")

    def __exit__(self, *_):
        if self.is_alive():
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
