#!/usr/bin/env python3
"""How much later a worker's main starts behind a wrapper than behind a plain exec, and how much later it all ends.

    benches/startup.py [--runs N] [WRAPPER ...]

Builds the sidecar and compares it, in turn, with no wrapper and with any others given, each as one word such as
"tini --". Prints medians. The worker is bash, which says when it runs to the microsecond.
"""

import argparse
import pathlib
import shlex
import statistics
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
WORKER = ["bash", "--norc", "-c", "echo $EPOCHREALTIME"]


def run(wrapper):
    """Milliseconds from the start to the worker's first command, and to the end."""
    started = time.time()
    output = subprocess.run([*wrapper, *WORKER], stdout=subprocess.PIPE, check=True).stdout
    ended = time.time()
    return (float(output) - started) * 1000, (ended - started) * 1000


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--runs", type=int, default=300)
    arguments.add_argument("wrappers", nargs="*", metavar="WRAPPER")
    options = arguments.parse_args()

    subprocess.run(["cargo", "build", "--release", "--quiet"], cwd=ROOT, check=True)
    sidecar = f"{ROOT}/target/release/telemetry-sidecar -q --"
    wrappers = {"none": [], "telemetry-sidecar": shlex.split(sidecar)}
    wrappers |= {shlex.split(wrapper)[0]: shlex.split(wrapper) for wrapper in options.wrappers}

    times = {name: [] for name in wrappers}
    for _ in range(options.runs):
        for name, wrapper in wrappers.items():
            times[name].append(run(wrapper))

    medians = {name: [statistics.median(column) for column in zip(*rows)] for name, rows in times.items()}
    print("| wrapper | worker starts after | more than none | all ends after | more than none |")
    print("| --- | --- | --- | --- | --- |")
    for name, (start, end) in medians.items():
        more_start, more_end = start - medians["none"][0], end - medians["none"][1]
        print(f"| {name} | {start:.2f} ms | {more_start:.2f} ms | {end:.2f} ms | {more_end:.2f} ms |")


if __name__ == "__main__":
    main()
