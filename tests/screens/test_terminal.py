"""`top` leaves the terminal as it was, however it ends, and shows only what terminal and user want."""

import os
import re
import signal

import pytest

from screen import Screen, wait_until
from workers import Worker


@pytest.fixture
def worker():
    with Worker() as worker:
        yield worker


def start(screen, worker):
    """Writes something that must be there afterwards, and starts `top`."""
    screen.run("stty -a > $HOME/before; echo what was there before")
    screen.wait("what was there before\nprompt$")
    screen.run(f"$SIDECAR top {worker.address}")
    screen.wait("WORKERS", "1 worker", without=["what was there before", "connecting"])


def expect_as_before(screen):
    """The screen, the cursor, the modes and the keys are those of before."""
    screen.wait("what was there before", "prompt$", without=["WORKERS"])
    assert screen.tmux("display-message", "-p", "#{alternate_on} #{cursor_flag}").split() == ["0", "1"]
    screen.run("stty -a | cmp - $HOME/before && echo the same modes")
    screen.wait("\nthe same modes")


@pytest.fixture
def screen(tmp_path):
    with Screen(HOME=str(tmp_path)) as screen:
        yield screen


@pytest.mark.parametrize(("how", "status"), [("q", 0), ("C-c", 130)])
def test_a_key_ends_it(screen, worker, how, status):
    start(screen, worker)
    screen.keys(how)
    screen.wait_for_end()
    expect_as_before(screen)
    screen.run("clear")
    start(screen, worker)
    screen.keys(how)
    screen.wait("what was there before", without=["WORKERS"])
    screen.wait_for_end()
    screen.run("echo status $?")
    screen.wait(f"\nstatus {status}")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT])
def test_a_signal_ends_it(screen, worker, number):
    start(screen, worker)
    os.kill(screen.pid(), number)
    screen.wait("what was there before", without=["WORKERS"])
    screen.wait_for_end()
    screen.run("echo status $?")
    screen.wait(f"\nstatus {128 + number}")
    expect_as_before(screen)


@pytest.mark.parametrize("how", ["key", "signal"])
def test_it_is_stopped_and_continued(screen, worker, how):
    start(screen, worker)
    for _ in range(2):
        if how == "key":
            screen.keys("C-z")
        else:
            os.kill(screen.pid(), signal.SIGTSTP)
        screen.wait("Stopped")
        expect_as_before(screen)
        screen.run("clear; echo what was there before; fg")
        screen.wait("WORKERS", "1 worker", "q quit", without=["what was there before"])
    worker.emit("after.fg")
    screen.wait("after.fg")
    screen.keys("q")
    screen.wait_for_end()
    expect_as_before(screen)


def test_a_stop_that_cannot_be_caught_is_repaired(screen, worker):
    start(screen, worker)
    pid = screen.pid()
    os.kill(pid, signal.SIGSTOP)
    screen.wait("Stopped")
    screen.run("fg")
    screen.wait("q quit", "1 worker")
    worker.emit("after.stop")
    screen.wait("after.stop", without=["Stopped"])
    screen.keys("q")
    screen.wait_for_end()
    screen.wait("prompt$", without=["WORKERS"])
    screen.run("stty -a | cmp - $HOME/before && echo the same modes")
    screen.wait("\nthe same modes")


def test_a_terminal_that_vanishes_ends_it(screen, worker):
    start(screen, worker)
    pid = screen.pid()
    screen.tmux("kill-server")
    wait_until("its end", lambda: not os.path.exists(f"/proc/{pid}"))


def test_a_terminal_that_vanishes_ends_it_even_if_hangups_are_ignored(screen, worker):
    screen.run("trap '' HUP")
    start(screen, worker)
    pid = screen.pid()
    screen.tmux("kill-server")
    wait_until("its end", lambda: not os.path.exists(f"/proc/{pid}"))


@pytest.mark.parametrize(("name", "text"), [("dumb", "TERM=dumb: this terminal"), ("", "TERM is not set")])
def test_a_dumb_terminal_is_refused(worker, name, text):
    with Screen(width=100, TERM=name) as screen:
        screen.run(f"$SIDECAR top {worker.address}; echo status $?")
        screen.wait(text, "use --once", "status 125")


def test_keys_after_a_long_paste(screen, worker):
    start(screen, worker)
    # More than one read takes.
    screen.type("x" * 4000)
    screen.keys("q")
    screen.wait_for_end()
    expect_as_before(screen)


def test_an_unknown_terminal_is_taken_for_an_ordinary_one(worker):
    with Screen(TERM="nosuchterm") as screen:
        screen.run(f"$SIDECAR top {worker.address}")
        screen.wait("WORKERS", "1 worker")
        screen.keys("q")
        screen.wait("prompt$", without=["WORKERS"])


# Not the colour of the terminal itself, 39.
COLOUR = re.compile("\x1b\\[(.*;)?3[0-8]")


def test_colours(worker):
    for environment, coloured in [({}, True), ({"NO_COLOR": "1"}, False)]:
        with Screen(**environment) as screen:
            screen.run(f"$SIDECAR top {worker.address}")
            screen.wait("1 worker", without=["connecting"])
            worker.emit("call.exception", {"duration": 1})
            screen.wait("call.exception", "1 error")
            assert (COLOUR.search(screen.coloured()) is not None) == coloured, screen.coloured()


def test_a_locale_that_is_not_utf_8_gets_ascii(worker):
    with Screen(LANG="C") as screen:
        screen.run(f"$SIDECAR top {worker.address}")
        screen.wait("1 worker", "= WORKERS", "- EVENTS", without=["connecting"])
        worker.emit("é.stop", {"duration": 1500, "x": 1})
        screen.wait("1.5 us", "\\u{e9}.stop")
        assert screen.text().isascii(), screen.text()
