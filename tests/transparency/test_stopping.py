"""Stops and continues, as seen by a parent that waits for both."""

import itertools
import os
import random
import signal
import time
import unittest

from counting import Counter
from harness import LONG, SOON, goes_on, row, state, wait_until
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

    @row("STOP and CONT to the group")
    def test_a_stop_right_after_continuing(self):
        """It discards the SIGCONT of those who have not handled it yet, and lasts."""
        run = self.begin(worker("idle"))
        unit = self.unit(run, run.fact("ready"))
        for number in STOPPING * (50 if LONG else 8):
            with self.subTest(signal=number):
                os.killpg(run.pid, signal.SIGCONT)
                time.sleep(random.choice((0, 0.0002, 0.0005, 0.001)))
                os.killpg(run.pid, number)
                # What runs beside the wrapper has no need to stop.
                self.all_lasting("stopped", lambda: all(state(pid) == "T" for pid in unit[:2]))
        os.killpg(run.pid, signal.SIGCONT)
        run.release("go")
        self.assertEqual(run.wait(), 7)

    def unit(self, run, worker):
        """Wrapper, worker, and what the wrapper has beside it."""
        return [run.pid, worker, *(pid for pid in run.family() if pid not in (run.pid, worker))]

    @row("STOP and CONT in any order leave nothing stopped")
    def test_stopped_group_continued_alone(self):
        """CONT reaches the wrapper alone. It continues the worker, and what it has beside it works afterwards."""
        run = self.start(None, Counter)
        for _ in range(3):
            run.group(signal.SIGSTOP)
            wait_until("all stopped", lambda: all(state(pid) == "T" for pid in run.family()))
            self.assertEqual(run.count_after(signal.SIGCONT, lambda: run.kill(signal.SIGCONT))[0], 1)
            wait_until("all running", lambda: all(goes_on(pid) for pid in run.family()))
            for send in (run.group, run.kill, run.group, run.kill):
                self.assertEqual(run.count_after(signal.SIGTERM, lambda send=send: send(signal.SIGTERM))[0], 1)
        self.assertEqual(run.end(), 7)

    @row("STOP and CONT in any order leave nothing stopped")
    def test_each_in_turn(self):
        """As a kill of a control group does, in every order, and with pauses."""
        run = self.start(worker("idle"))
        unit = self.unit(run, run.fact("ready"))
        orders = list(itertools.product(itertools.permutations(unit), repeat=2))
        for stop_order, continue_order in orders if LONG else random.sample(orders, min(len(orders), 12)):
            for gap in (0, 0.0001, 0.003):
                names = [[unit.index(pid) for pid in order] for order in (stop_order, continue_order)]
                with self.subTest(orders=names, gap=gap):
                    self.signal_in_turn(stop_order, signal.SIGSTOP, gap)
                    self.signal_in_turn(continue_order, signal.SIGCONT, gap)
                    self.all_run(unit)
        run.release("go")
        self.assertEqual(run.wait(), 7)

    def signal_in_turn(self, pids, number, gap):
        for pid in pids:
            os.kill(pid, number)
            time.sleep(gap)

    def all_run(self, pids):
        self.all_lasting("running", lambda: all(map(goes_on, pids)))

    def all_lasting(self, what, condition):
        """Waits until it holds for longer than the wrapper takes to decide about a signal."""
        since = None

        def lasting():
            nonlocal since
            since = (since or time.monotonic()) if condition() else None
            return since and time.monotonic() > since + 0.1

        wait_until(f"all {what}", lasting)

    @row("STOP and CONT in any order leave nothing stopped")
    def test_one_after_the_other(self):
        """STOP to any one of them, then CONT to the same one, the group, or the wrapper if that continues it."""
        run = self.start(worker("idle"))
        unit = self.unit(run, run.fact("ready"))
        for pid in unit:
            for target in {pid, -run.pid}:
                with self.subTest(process=unit.index(pid), target="group" if target < 0 else "process"):
                    os.kill(pid, signal.SIGSTOP)
                    wait_until("it stopped", lambda pid=pid: state(pid) == "T")
                    os.kill(target, signal.SIGCONT)
                    self.all_run(unit)
        run.release("go")
        self.assertEqual(run.wait(), 7)

    @row("STOP and CONT in any order leave nothing stopped")
    def test_worker_alone(self):
        """The wrapper, which has stopped with the worker, continues with it, and sees its death."""
        for number in (signal.SIGCONT, signal.SIGKILL):
            with self.subTest(signal=number):
                run = self.begin(worker("idle"))
                pid = run.fact("ready")
                os.kill(pid, signal.SIGSTOP)
                self.assertEqual(run.next_status(), ("stopped", signal.SIGSTOP))
                os.kill(pid, number)
                status = run.next_status()
                if status == CONTINUED:
                    run.release("go")
                    status = run.next_status()
                self.assertEqual(status, ("exited", 7) if number == signal.SIGCONT else ("killed", number))

    @row("STOP and CONT in any order leave nothing stopped")
    def test_at_random(self):
        run = self.start(worker("idle"))
        unit = self.unit(run, run.fact("ready"))
        for _ in range(200 if LONG else 40):
            for number in random.choices((signal.SIGSTOP, signal.SIGTSTP, signal.SIGCONT), k=6):
                os.kill(random.choice([*unit, -run.pid]), number)
                time.sleep(random.choice((0, 0.0001, 0.001)))
            os.killpg(run.pid, signal.SIGCONT)
            self.all_run(unit)
        run.release("go")
        self.assertEqual(run.wait(), 7)

    @row("a stop in the first milliseconds is seen, and ends")
    def test_early(self):
        """Ctrl-Z while the wrapper starts the worker. With the long path it takes long to find the command."""
        long_path = {"PATH": "/n:" * 40000 + os.environ["PATH"]}
        for attempt, env in enumerate([{}, long_path] * (5 if LONG else 1)):
            for step in range(20):
                with self.subTest(attempt=attempt, step=step):
                    run = self.start(["env", *worker("idle")], group="group", env=env)
                    time.sleep(step * (0.003 if env else 0.0003))
                    os.killpg(run.pid, signal.SIGTSTP)
                    self.assertEqual(run.next_status(), ("stopped", signal.SIGTSTP))
                    os.killpg(run.pid, signal.SIGCONT)
                    run.release("go")
                    self.assertEqual(run.next_status(), CONTINUED)
                    self.assertEqual(run.next_status(), ("exited", 7))
                    run.close()

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
