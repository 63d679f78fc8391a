"""How much later a worker reaches its main behind a wrapper, and how much later everything ends.

The worker reports when it reached its main; it is a native program, so that it adds little noise.
"""

import os
import shlex
import time

from .processes import EMIT, NAIVE, SIDECAR, in_turn, medians
from .rows import Row, Table


def measure(options):
    wrappers = {"exec": [], "sidecar": [SIDECAR, "-q", "--"], "naive": [NAIVE, "--"]}
    others = {shlex.split(words)[0]: shlex.split(words) for words in options.wrapper}
    runs = 50 if options.quick else 300
    found = in_turn(
        runs, {name: (lambda words=words: start(words)) for name, words in (wrappers | others).items()}
    )
    found = {name: medians(results) for name, results in found.items()}
    more = {name: {key: found[name][key] - found["exec"][key] for key in found[name]} for name in found}
    rows = [
        Row(
            "start-up: until the worker's main",
            "ms",
            found["sidecar"]["main"],
            found["naive"]["main"],
            found["exec"]["main"],
            "plain exec",
            remark=f"{runs} starts",
        ),
        Row(
            "start-up: the worker's main, later than plain exec",
            "ms",
            more["sidecar"]["main"],
            more["naive"]["main"],
            target=0.9,
        ),
        Row(
            "start-up: the end of it all, later than plain exec",
            "ms",
            more["sidecar"]["end"],
            more["naive"]["end"],
        ),
    ]
    if not others:
        return rows, []
    table = Table("Other wrappers: more than plain exec", ["", "until the worker's main", "until the end"])
    for name in ("sidecar", *others):
        table.rows.append([name, f"{more[name]['main']:.2f} ms", f"{more[name]['end']:.2f} ms"])
    return rows, [table]


def start(wrapper):
    """Measures milliseconds."""
    words = [*wrapper, EMIT, "--mark"]
    read_end, write_end = os.pipe()
    started = time.monotonic_ns()
    # This uses vfork, so the cost does not depend on the size of this process.
    process = os.posix_spawnp(words[0], words, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, write_end, 1)])
    os.close(write_end)
    with os.fdopen(read_end) as output:
        _, status = os.waitpid(process, 0)
        ended = time.monotonic_ns()
        reached = output.read()
    if status:
        raise SystemExit(f"{' '.join(words)}: status {status}")
    return {"main": (int(reached) - started) / 1e6, "end": (ended - started) / 1e6}
