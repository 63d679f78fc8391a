"""Stops and continues, as seen by a parent that waits for both."""

import os
import signal
import unittest

from counting import Counter
from harness import SOON, goes_on, row, state, wait_until
from running import Case, Run, inline, worker

STOPPING = (signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)
CONTINUED = ("continued", signal.SIGCONT)


class Stopping(Case):
    def begin(self, command, kind=Run):
        """A group leader in the test's session. Its parent could continue the group, so it can be stopped."""
        return self.start(command, kind, group="group")

    def continue_to(self, run):
        """Continues it, and returns the next change. The continuing is reported if there is time."""
        run.kill(signal.SIGCONT)
        seen = run.next_status()
        return run.next_status() if seen == CONTINUED else seen

    @row("a worker that stops itself is seen stopped, by the same signal")
    def test_stops_itself(self):
        for number in STOPPING:
            with self.subTest(signal=number):
                run = self.begin(["sh", "-c", f"kill -{number} $$; exit 3"])
                self.assertEqual(run.next_status(), ("stopped", number))
                self.assertEqual(self.continue_to(run), ("exited", 3))

    @row("a worker that stops itself is seen stopped, by the same signal")
    def test_stops_itself_again_and_again(self):
        run = self.begin(["sh", "-c", "for i in 1 2 3 4 5; do kill -STOP $$; done; exit 3"])
        status = run.next_status()
        for _ in range(5):
            self.assertEqual(status, ("stopped", signal.SIGSTOP))
            status = self.continue_to(run)
        self.assertEqual(status, ("exited", 3))

    @row("a worker that stops itself is seen stopped, by the same signal")
    def test_stops_in_its_handler(self):
        """Like an editor, which restores the terminal and then stops."""
        code = """
def handle(*_):
    report(handled=1)
    os.kill(os.getpid(), signal.SIGSTOP)
signal.signal(signal.SIGTSTP, handle)
report(ready=1)
wait_for("go")
os._exit(7)
"""
        run = self.begin(inline(code))
        run.fact("ready")
        run.kill(signal.SIGTSTP)
        self.assertEqual(run.next_status(), ("stopped", signal.SIGSTOP))
        self.assertEqual(run.facts("handled"), [1])
        run.release("go")
        self.assertEqual(self.continue_to(run), ("exited", 7))

    @row("a worker that stops itself is seen stopped, by the same signal")
    def test_in_a_session_of_its_own(self):
        """No process could continue it there, so only SIGSTOP stops it."""
        for number in STOPPING[1:]:
            with self.subTest(signal=number):
                run = self.start(["sh", "-c", f"kill -{number} $$; exit 3"])
                self.assertEqual(run.next_status(), ("exited", 3))
        run = self.start(["sh", "-c", "kill -STOP $$; exit 3"])
        self.assertEqual(run.next_status(), ("stopped", signal.SIGSTOP))
        self.assertEqual(self.continue_to(run), ("exited", 3))

    @row("TSTP and CONT to the wrapper alone stop and continue both")
    def test_wrapper_alone(self):
        run = self.begin(worker("idle"))
        pid = run.fact("ready")
        for number in STOPPING[1:] * 2:
            with self.subTest(signal=number):
                run.kill(number)
                self.assertEqual(run.next_status(), ("stopped", number))
                wait_until("the worker stopped", lambda: state(pid) == "T")
                run.kill(signal.SIGCONT)
                self.assertEqual(run.next_status(), CONTINUED)
                wait_until("the worker continued", lambda: goes_on(pid))
        run.release("go")
        self.assertEqual(run.next_status(), ("exited", 7))

    @row("STOP and CONT to the group")
    def test_group(self):
        run = self.begin(worker("idle"))
        pid = run.fact("ready")
        for number in STOPPING * 2:
            with self.subTest(signal=number):
                os.killpg(run.pid, number)
                self.assertEqual(run.next_status(), ("stopped", number))
                wait_until("the worker stopped", lambda: state(pid) == "T")
                os.killpg(run.pid, signal.SIGCONT)
                self.assertEqual(run.next_status(), CONTINUED)
                wait_until("the worker continued", lambda: goes_on(pid))
        run.release("go")
        self.assertEqual(run.next_status(), ("exited", 7))

    @row("STOP and CONT to the group")
    def test_continuing_is_seen_once(self):
        run = self.begin(None, Counter)
        for _ in range(5):
            os.killpg(run.pid, signal.SIGSTOP)
            self.assertEqual(run.next_status(), ("stopped", signal.SIGSTOP))
            count, _ = run.count_after(signal.SIGCONT, lambda: run.group(signal.SIGCONT))
            self.assertEqual(count, 1)
            self.assertEqual(run.next_status(), CONTINUED)

    @row("TSTP to the wrapper alone leaves running what handles it")
    def test_handled(self):
        run = self.begin(None, Counter)
        for number in STOPPING[1:]:
            with self.subTest(signal=number):
                self.assertEqual(run.count_after(number, lambda: run.kill(number))[0], 1)
                self.assertTrue(goes_on(run.pid))
        run.release("go")
        self.assertEqual(run.next_status(), ("exited", 7))

    @row("signals while stopped arrive when it goes on")
    def test_signals_while_stopped(self):
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
            with self.subTest(signal=number):
                run = self.begin(worker("idle"))
                run.fact("ready")
                run.kill(signal.SIGTSTP)
                self.assertEqual(run.next_status(), ("stopped", signal.SIGTSTP))
                run.kill(number)
                self.assertEqual(self.continue_to(run), ("killed", number))

    @row("SIGKILL of the wrapper: the worker goes too")
    def test_killed_while_stopped(self):
        run = self.begin(worker("idle"))
        pid = run.fact("ready")
        run.kill(signal.SIGTSTP)
        self.assertEqual(run.next_status(), ("stopped", signal.SIGTSTP))
        run.kill(signal.SIGKILL)
        self.assertEqual(run.next_status(), ("killed", signal.SIGKILL))
        wait_until("the worker's end", lambda: state(pid) == "-", SOON)


if __name__ == "__main__":
    unittest.main()
