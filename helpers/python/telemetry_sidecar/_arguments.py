"""What a test gives to the fixtures, checked: an argument of the wrong kind is an error of one line that
shows what to write instead, not one of subprocess, or a wait for an event that cannot come."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping as AnyMapping
from pathlib import Path
from typing import Any, Iterable, List, Mapping, Optional, Sequence, Union

from ._event import PREFIX, Event

StrPath = Union[str, "os.PathLike[str]"]

_EXAMPLE = '["python", "worker.py"]'

# Options that the fixtures set themselves, and what a test has of them.
_SET = {"--export-jsonl": "events", "--ready-file": "address"}

# Of a value in a message, in characters.
_MAX_SHOWN = 60


def words(command: Sequence[StrPath]) -> List[str]:
    """The command of a worker."""
    __tracebackhide__ = True
    if isinstance(command, (str, bytes, os.PathLike)):
        raise TypeError(
            f"the command must be a list of words, such as {_EXAMPLE}, not {_shown(command)}; "
            'a shell runs a line of text: ["sh", "-c", LINE]'
        )
    if isinstance(command, (AnyMapping, set, frozenset)) or not isinstance(command, Iterable):
        raise TypeError(f"the command must be a list of words, such as {_EXAMPLE}, not {_shown(command)}")
    found = []
    # Not a comprehension, which is a frame of its own in the test's report.
    for number, word in enumerate(command):
        found.append(_word(f"command[{number}]", word))
    if not found:
        raise ValueError(f"the command is empty; it must be a list of words, such as {_EXAMPLE}")
    return found


def options(given: Sequence[str]) -> List[str]:
    """Options of the program."""
    __tracebackhide__ = True
    found = []
    for option in given:
        if isinstance(option, (list, tuple)):
            raise TypeError(f"each option is an argument of its own, not in a list: write *{_shown(option)}")
        word = _word("an option", option)
        name = word.partition("=")[0]
        if name in _SET:
            raise ValueError(f"{name} is set by the fixture: use {_SET[name]} of what it returns")
        found.append(word)
    return found


def named(names: Sequence[str], given: Sequence[str]) -> List[str]:
    """Those of the options that have these names, with their values."""
    found: List[str] = []
    for number, option in enumerate(given):
        name, has_value, _ = option.partition("=")
        if name in names:
            found += [option] if has_value else given[number : number + 2]
    return found


def check_folder(folder: Path) -> None:
    """Raises FileNotFoundError or FileExistsError unless a process can have this folder for its files."""
    __tracebackhide__ = True
    if not folder.is_dir():
        raise FileNotFoundError(f"the folder for the sidecar's files does not exist: '{folder}'")
    if (folder / "stderr").exists():
        raise FileExistsError(f"another sidecar has this folder for its files, make one for each: '{folder}'")


def check_cwd(cwd: Optional[StrPath]) -> None:
    """Raises an error unless a worker can have this working directory."""
    __tracebackhide__ = True
    if cwd is not None and not os.path.isdir(_word("cwd", cwd)):
        raise NotADirectoryError(f"cwd: '{os.fsdecode(cwd)}' is not a directory")


def environment(env: Optional[Mapping[str, str]]) -> Mapping[str, str]:
    """The environment of a worker, this process's unless it is given."""
    __tracebackhide__ = True
    if env is None:
        return os.environ
    if not isinstance(env, AnyMapping):
        raise TypeError(f"env must be a dict, such as {{**os.environ, 'A': 'b'}}, not {_shown(env)}")
    for name, value in env.items():
        _word(f"a name in env, {_shown(name)},", name)
        _word(f"env[{name!r}]", value)
    return env


def stdin(given: Any) -> Any:
    """The stdin of a worker."""
    __tracebackhide__ = True
    if given is None or isinstance(given, int) or hasattr(given, "fileno"):
        return given
    raise TypeError(
        f"stdin must be a file, a descriptor, subprocess.PIPE or DEVNULL, not {_shown(given)}; "
        "with stdin=subprocess.PIPE write to sidecar.process.stdin"
    )


def seconds(timeout: Any) -> float:
    """A timeout."""
    __tracebackhide__ = True
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise TypeError(f"the timeout must be a number of seconds, not {_shown(timeout)}")
    if not 0 <= timeout < 1e9:
        raise ValueError(f"the timeout must be a number of seconds from 0 to 1e9, not {timeout}")
    return timeout


def signal_number(number: Any) -> int:
    """A signal."""
    __tracebackhide__ = True
    if isinstance(number, bool) or not isinstance(number, int):
        raise TypeError(f"the signal must be a number, such as signal.SIGINT, not {_shown(number)}")
    if number not in signal.valid_signals():
        raise ValueError(f"there is no signal {number}")
    return number


def name(event: Any, others: str = "") -> str:
    """The name of an event."""
    __tracebackhide__ = True
    if isinstance(event, Event):
        raise TypeError(f"write the name of the event, {event.name!r}{others}, not an Event")
    if not isinstance(event, str):
        raise TypeError(f"the name of an event must be text{others}, not {_shown(event)}")
    return event


def count(number: Any) -> int:
    """How many events are waited for."""
    __tracebackhide__ = True
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise ValueError(f"the count of events must be at least 1, not {_shown(number)}")
    return number


def log_path(log: Any, file: Path) -> str:
    """The absolute path of a log. One that is given as events and lines is written to this file."""
    __tracebackhide__ = True
    if isinstance(log, str) and (log.startswith(PREFIX.decode()) or "\n" in log):
        raise ValueError(f"the log must be a path or a list; put the text into a list: [{_shown(log)}]")
    if isinstance(log, (str, os.PathLike)):
        # A test may change its working directory before it looks at the events.
        return os.path.abspath(os.fsdecode(log))
    if isinstance(log, (Event, bytes, AnyMapping)) or not isinstance(log, Iterable):
        raise TypeError(
            'the log must be a path, or a list of events and lines, such as [Event("a.stop")], '
            f"not {_shown(log)}"
        )
    lines = []
    for number, line in enumerate(log):
        lines.append(_line(f"log[{number}]", line))
    file.write_bytes(b"".join(lines))
    return str(file)


def _line(where: str, line: Any) -> bytes:
    __tracebackhide__ = True
    if isinstance(line, Event):
        try:
            return line.to_line()
        except (TypeError, ValueError) as error:
            raise ValueError(f"{where}: {error}") from None
    if isinstance(line, (bytes, bytearray)):
        return bytes(line).rstrip(b"\n") + b"\n"
    if isinstance(line, str):
        return line.rstrip("\n").encode(errors="surrogateescape") + b"\n"
    raise TypeError(f'{where} must be an Event, such as Event("a.stop"), or a line, not {_shown(line)}')


def _word(where: str, word: Any) -> str:
    __tracebackhide__ = True
    if not isinstance(word, (str, bytes, os.PathLike)):
        raise TypeError(f"{where} must be text or a path, not {_shown(word)}: write str(…)")
    return os.fsdecode(word)


def _shown(value: Any) -> str:
    """The value in a message, with its type if that does not show."""
    shown = repr(value)
    if len(shown) > _MAX_SHOWN:
        shown = shown[:_MAX_SHOWN] + "…"
    is_plain = value is None or isinstance(value, (str, bytes, int, float, list, tuple, dict))
    return shown if is_plain else f"{shown} ({type(value).__name__})"
