"""The worker of a systemd service: process ids in the environment name it, and it has the service's sockets."""

import os
import shutil
import socket
import sys
import unittest

from harness import W, needs_wrapper, row, wait_until
from running import MARK, Case, inline

VARIABLES = ("LISTEN_PID", "WATCHDOG_PID", "SYSTEMD_EXEC_PID")
# Sets the variables to its own id, as systemd does, and executes the command.
SET = f"""
import os, sys
for name in {VARIABLES}:
    os.environ[name] = sys.argv[1] or str(os.getpid())
os.execvp(sys.argv[2], sys.argv[2:])
"""
REPORT = f"report(ids={{name: os.environ.get(name) for name in {VARIABLES}}}, own=str(os.getpid()))"
# Answers a connection to the socket that it was given.
SERVER = """
import socket
names = ("LISTEN_PID", "LISTEN_FDS")
report(listen=[os.environ.get(name) for name in names], own=str(os.getpid()))
listener = socket.socket(fileno=3)
connection, _ = listener.accept()
connection.sendall(b"served")
connection.close()
"""


class Systemd(Case):
    def set(self, value, command):
        return self.start(command, prefix=[sys.executable, "-S", "-c", SET, value, *W])

    @row("LISTEN_PID, WATCHDOG_PID and SYSTEMD_EXEC_PID name the worker")
    def test_ids(self):
        run = self.set("", inline(REPORT))
        self.assertEqual(run.wait(), 0)
        own = run.fact("own")
        self.assertEqual(run.fact("ids"), dict.fromkeys(VARIABLES, own))

    @row("LISTEN_PID, WATCHDOG_PID and SYSTEMD_EXEC_PID name the worker")
    def test_ids_of_others(self):
        """They are as they were."""
        for value in ("1", "", "0000000000", f"{os.getpid()}", "text"):
            with self.subTest(value=value):
                run = self.set(value or " ", inline(REPORT))
                self.assertEqual(run.wait(), 0)
                self.assertEqual(run.fact("ids"), dict.fromkeys(VARIABLES, value or " "))

    @row("LISTEN_PID, WATCHDOG_PID and SYSTEMD_EXEC_PID name the worker")
    @needs_wrapper
    @unittest.skipUnless(shutil.which("systemd-socket-activate"), "needs systemd-socket-activate")
    def test_socket_activation(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        passed = ["-E", "TRANSPARENCY_FOLDER", "-E", MARK]
        activate = ["systemd-socket-activate", "-l", f"127.0.0.1:{port}", *passed, "--"]
        run = self.start(inline(SERVER), prefix=[*activate, *W])

        def connected():
            try:
                return socket.create_connection(("127.0.0.1", port))
            except ConnectionRefusedError:
                return None

        with wait_until("its socket", connected) as connection:
            self.assertEqual(connection.recv(100), b"served")
        self.assertEqual(run.fact("listen"), [run.fact("own"), "1"])


if __name__ == "__main__":
    unittest.main()
