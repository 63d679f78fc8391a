"""Under an interactive shell: background, Ctrl-Z, jobs, fg, bg, and the exit status."""

import os
import re
import shlex
import shutil
import time
import unittest
from pathlib import Path

from harness import GRACE, W, goes_on, row, stat, state, wait_until
from running import Case, worker

CTRL_C, CTRL_BACKSLASH, CTRL_D, CTRL_Z = "\x03", "\x1c", "\x04", "\x1a"


def is_witness(pid):
    try:
        return Path(f"/proc/{pid}/comm").read_text().startswith("sidecar-witness")
    except OSError:
        return False


@unittest.skipUnless(shutil.which("bash"), "needs bash")
class JobControl(Case):
    def setUp(self):
        self.shell = self.start(
            ["bash", "--norc", "--noprofile", "--noediting", "-i"], prefix=[], terminal=True, env={"PS1": "", "PS2": ""}
        )
        self.command = shlex.join([*W, *worker("idle")])
        self.asked = 0
        self.ask("true")

    def ask(self, command):
        """Runs a command in the shell, and returns what it prints."""
        self.asked += 1
        # The terminal echoes what is typed. That does not contain the text that is waited for.
        self.shell.type(f"{command}; echo an''swer={self.asked}=\n")
        return self.shell.expect(f"answer={self.asked}=")

    def status(self):
        return int(re.search(r"status=(\d+)=", self.ask("echo sta''tus=$?="))[1])

    def foreground(self):
        return os.tcgetpgrp(self.shell.master)

    def begin(self, command):
        """Starts a job; the worker's pid."""
        before = len(self.shell.facts("ready"))
        self.shell.type(f"{command}\n")
        wait_until("the worker", lambda: len(self.shell.facts("ready")) > before)
        return self.shell.facts("ready")[-1]

    def until_shell(self):
        wait_until("the shell in the foreground", lambda: self.foreground() == self.shell.pid)

    def stop(self, pid):
        self.shell.type(CTRL_Z)
        self.until_shell()
        wait_until("the worker stopped", lambda: state(pid) == "T")

    @row("started in the background: the terminal's foreground group is untouched")
    def test_background(self):
        pid = self.begin(f"{self.command} &")
        ends = time.monotonic() + GRACE
        while time.monotonic() < ends:
            self.assertEqual(self.foreground(), self.shell.pid)
        self.assertRegex(self.ask("jobs"), "Running")
        self.assertTrue(goes_on(pid))
        self.shell.release("go")
        self.shell.type("wait %1\n")
        self.assertEqual(self.status(), 7)

    @row("Ctrl-Z stops both; fg and bg resume both")
    def test_stop_and_resume(self):
        pid = self.begin(self.command)
        group = stat(pid)[2]
        self.assertEqual(self.foreground(), group)
        self.stop(pid)
        self.assertEqual(self.status(), 148)
        self.assertRegex(self.ask("jobs"), r"\[1\]\+ +Stopped")
        for _ in range(2):
            self.ask("bg")
            wait_until("the worker resumed", lambda: goes_on(pid))
            self.assertRegex(self.ask("jobs"), r"\[1\]\+ +Running")
            self.assertEqual(self.foreground(), self.shell.pid)
            self.shell.type("fg\n")
            wait_until("the job in the foreground", lambda: self.foreground() == group)
            self.stop(pid)
            self.assertRegex(self.ask("jobs"), r"\[1\]\+ +Stopped")
        self.shell.type("fg\n")
        wait_until("the worker resumed", lambda: goes_on(pid))
        self.shell.release("go")
        self.until_shell()
        self.assertEqual(self.status(), 7)
        self.assertNotRegex(self.ask("jobs"), "Stopped|Running")

    @row("Ctrl-Z stops both; fg and bg resume both")
    def test_stopped_job_is_killed(self):
        pid = self.begin(self.command)
        self.stop(pid)
        self.ask("kill %1")
        wait_until("the worker's end", lambda: stat(pid) is None)
        wait_until("the job's end", lambda: re.search("Running|Stopped", self.ask("jobs")) is None)

    @row("Ctrl-C and Ctrl-\\ arrive once")
    def test_status_after_keys(self):
        for key, status in ((CTRL_C, 130), (CTRL_BACKSLASH, 131)):
            with self.subTest(status=status):
                pid = self.begin(self.command)
                self.shell.type(key)
                wait_until("the worker's end", lambda: stat(pid) is None)
                self.until_shell()
                self.assertEqual(self.status(), status)

    @row("a background job that reads the terminal is seen stopped")
    def test_reading_in_the_background(self):
        self.shell.type(f"{shlex.join([*W, 'cat'])} &\n")

        def job():
            # The witness does not read the terminal, so it does not stop.
            members = [pid for pid in self.shell.family() if pid != self.shell.pid and not is_witness(pid)]
            return members if members and all(state(pid) == "T" for pid in members) else None

        members = wait_until("the job stopped", job)
        wait_until("the shell to report it", lambda: "Stopped" in self.ask("jobs"))
        self.shell.type("fg\n")
        wait_until("the job in the foreground", lambda: self.foreground() == stat(members[0])[2])
        self.shell.type("so''me text\n")
        # Once as the echo, once as output of cat.
        self.shell.expect("so''me text")
        self.shell.expect("so''me text")
        self.shell.type(CTRL_D)
        self.until_shell()
        self.assertEqual(self.status(), 0)


if __name__ == "__main__":
    unittest.main()
