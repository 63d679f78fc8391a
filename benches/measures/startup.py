"""How much later a worker reaches its main behind a wrapper, and how much later everything ends.

The worker reports when it reached its main; it is a native program, so that it adds little noise. The whole
run of `true`, and of a worker that sleeps for a millisecond, is compared with GNU `timeout`, which also waits
for its command. Wrappers have /dev/null as their stderr.
"""

import os
import shlex
import time

from .processes import EMIT, Failed, in_turn, medians, quiet, wrappers
from .rows import Table, compared

TIMEOUT = {"timeout": ["timeout", "1000"]}
LOADING = (
    "`timeout` is one small program. The sidecar is a larger one to load, and starts a server and a second "
    "process, which shows which signals are sent to the group."
)


def measure(options):
    runs = 50 if options.quick else max(100, options.scaled(300))
    own = {name: quiet(name) for name in wrappers()}
    rows, tables = until_main(runs, own, options)
    rows += whole_run(
        runs, {**own, **TIMEOUT}, ["true"], "`true`", target_ratio=1.0, goal=True, bound=LOADING
    )
    return rows + whole_run(runs, {**own, **TIMEOUT}, ["sleep", "0.001"], "a worker of 1 ms"), tables


def until_main(runs, own, options):
    others = {shlex.split(words)[0]: shlex.split(words) for words in options.wrapper}
    measures = {"exec": [], **own, **others}
    found = in_turn(
        runs,
        {name: (lambda words=words: start([*words, EMIT, "--mark"])) for name, words in measures.items()},
    )
    found = {name: medians(results) for name, results in found.items()}
    more = later(found)
    what = "start-up: the worker's main, later than plain exec"
    rows = [
        compared(
            "start-up: until the worker's main",
            "ms",
            "main",
            found,
            "exec",
            "plain exec",
            remark=f"{runs} starts",
        ),
        compared(what, "ms", "main", more, target=0.9),
        compared("start-up: the end of it all, later than plain exec", "ms", "end", more),
    ]
    if not others:
        return rows, []
    table = Table("Other wrappers: more than plain exec", ["", "until the worker's main", "until the end"])
    for name in ("sidecar", *others):
        table.rows.append([name, f"{more[name]['main']:.2f} ms", f"{more[name]['end']:.2f} ms"])
    return rows, [table]


def whole_run(runs, prefixes, command, title, **how):
    """Returns the row of a command's whole run, later than without a wrapper."""
    measures = {"exec": [], **prefixes}
    found = in_turn(
        runs, {name: (lambda words=words: start([*words, *command])) for name, words in measures.items()}
    )
    more = later({name: medians(results) for name, results in found.items()})
    what = f"whole run of {title}: extra time"
    return [compared(what, "ms", "end", more, "timeout", "GNU `timeout`", **how)]


def later(found):
    """Returns the figures, less those of the plain exec."""
    plain = found["exec"]
    return {name: {key: found[name][key] - plain[key] for key in plain} for name in found}


def start(words):
    """Measures milliseconds until the end and, if the command prints that, until its main."""
    read_end, write_end = os.pipe()
    actions = [
        (os.POSIX_SPAWN_DUP2, write_end, 1),
        (os.POSIX_SPAWN_OPEN, 2, "/dev/null", os.O_WRONLY, 0),
    ]
    started = time.monotonic_ns()
    # This uses vfork, so the cost does not depend on the size of this process.
    process = os.posix_spawnp(words[0], words, os.environ, file_actions=actions)
    os.close(write_end)
    with os.fdopen(read_end) as output:
        _, status = os.waitpid(process, 0)
        ended = time.monotonic_ns()
        reached = output.read()
    if status:
        raise Failed(f"{words}: status {status}")
    found = {"end": (ended - started) / 1e6}
    return found | ({"main": (int(reached) - started) / 1e6} if reached else {})
