"""Compares the transparency of wrappers: runs tests/transparency with each and prints a Markdown table.

    apt-get install tini dumb-init catatonit     # Debian; GNU timeout is preinstalled
    cargo build --release
    python3 benches/wrappers/compare.py          # --help lists the options

It takes about four minutes for each wrapper, because it waits for missing results. Each cell is ok, FAIL,
or n/a if a row does not apply to that wrapper. The failures and their details follow the table. `no wrapper`
is the command itself: its failures would be errors of the test.
Needs Linux and Python 3.10 or later with its standard library; the rows of PID 1 need permission to create
namespaces.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TESTS = ROOT / "tests" / "transparency"
# In the order of the table.
MODULES = """
test_exit_status test_exec_failures test_single_signals test_group_signals test_unit_signals test_terminal
test_job_control test_stopping test_inheritance test_lifetime test_descriptors test_environment test_data
test_grandchildren test_as_pid1
""".split()
SIDECAR = "telemetry-sidecar"
NOTHING = "no wrapper"
WRAPPERS = {
    SIDECAR: None,
    "tini": "tini -s --",
    "dumb-init": "dumb-init --",
    "catatonit": "catatonit --",
    "timeout": "timeout 1000",
    NOTHING: "env",
}
OK, FAIL, NOT_APPLICABLE = "ok", "FAIL", "n/a"
# The time that a failing row waits for a missing result, in seconds.
TIMEOUT = 5


class Rows(unittest.TestResult):
    """Writes every outcome to a file at once, so that a row that hangs loses only its own outcome."""

    def __init__(self, file):
        super().__init__()
        self.file = file

    def note(self, test, outcome, error=None, part=""):
        method = getattr(type(test), getattr(test, "_testMethodName", ""), None)
        title = getattr(method, "row", None) or getattr(type(test), "row", None) or str(test)
        # The observed difference, without its context.
        detail = str(error[1]).strip().partition("\n")[0].partition(";")[0][:120] if error else ""
        name = f"{test.id().partition('.')[2]} {part}".strip()
        self.file.write(json.dumps({"row": title, "outcome": outcome, "test": name, "detail": detail}) + "\n")
        self.file.flush()

    def addSuccess(self, test):  # noqa: N802, here and below: named by unittest
        self.note(test, OK)

    def addFailure(self, test, err):  # noqa: N802
        self.note(test, FAIL, err)

    def addError(self, test, err):  # noqa: N802
        self.note(test, FAIL, err)

    def addSkip(self, test, reason):  # noqa: N802
        self.note(test, NOT_APPLICABLE)

    def addSubTest(self, test, subtest, err):  # noqa: N802
        if err:
            self.note(test, FAIL, err, subtest._subDescription())


def collect(module, path):
    """Runs one file of rows in a separate process."""
    sys.path.insert(0, str(TESTS))
    sys.dont_write_bytecode = True
    with open(path, "w") as file:
        tests = unittest.defaultTestLoader.loadTestsFromName(module)
        import harness

        for title in harness.ROWS:
            file.write(json.dumps({"row": title, "outcome": None}) + "\n")
        tests.run(Rows(file))


def outcomes(words, modules, sidecar):
    """Returns every outcome of one wrapper."""
    environment = {**os.environ, "SIDECAR": str(sidecar), "TRANSPARENCY_TIMEOUT": str(TIMEOUT)}
    environment.pop("SIDECAR_WRAPPER", None)
    if words is not None:
        environment["SIDECAR_WRAPPER"] = words
    found = []
    for module in modules:
        with tempfile.NamedTemporaryFile("r") as file:
            command = [sys.executable, __file__, "--collect", module, file.name]
            status = subprocess.run(command, env=environment, cwd=TESTS, stdout=subprocess.DEVNULL).returncode
            found += map(json.loads, file)
        if status:
            row = f"{module} runs to its end"
            found.append({"row": row, "outcome": FAIL, "test": module, "detail": f"{status}"})
    return found


def cell(found, row):
    seen = {one["outcome"] for one in found if one["row"] == row}
    return next((outcome for outcome in (FAIL, OK) if outcome in seen), NOT_APPLICABLE)


def prefixes(wrappers, sidecar):
    return {
        name: [str(sidecar), "-q", "--"] if words is None else [] if name == NOTHING else words.split()
        for name, words in wrappers.items()
    }


def start_up(wrappers, sidecar, times):
    """Returns median milliseconds from spawn to the worker's first byte on stdout; wrappers alternate."""
    measured = {name: [] for name in wrappers}
    for _ in range(times):
        for name, prefix in prefixes(wrappers, sidecar).items():
            began = time.perf_counter()
            command = [*prefix, "/bin/echo"]
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
                process.stdout.read(1)
                measured[name].append((time.perf_counter() - began) * 1000)
    return {name: statistics.median(values) for name, values in measured.items()}


def version(name, sidecar):
    words = [str(sidecar) if name == SIDECAR else name, "--version"]
    ran = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    lines = ran.stdout.splitlines()
    return lines[0] if lines else name


def print_table(results, starts):
    names = list(results)
    print(f"| | {' | '.join(names)} |")
    print(f"| --- |{' --- |' * len(names)}")
    for row in dict.fromkeys(one["row"] for found in results.values() for one in found):
        print(f"| {row} | {' | '.join(cell(found, row) for found in results.values())} |")
    if starts:
        base = starts.get(NOTHING, 0)
        title = "start-up, ms more than plain exec" if base else "start-up, ms"
        cells = (f"{starts[name] - base:.1f}" if name in starts else "" for name in names)
        print(f"| {title} | {' | '.join(cells)} |")


def print_failures(results):
    for name, found in results.items():
        failed = [one for one in found if one["outcome"] == FAIL]
        print(f"\n{name} fails {len({one['row'] for one in failed})} rows{':' if failed else '.'}\n")
        for row in dict.fromkeys(one["row"] for one in failed):
            ones = [one for one in failed if one["row"] == row]
            more = f", and {len(ones) - 1} more" if len(ones) > 1 else ""
            print(f"- {row}: `{ones[0]['test']}`: {ones[0]['detail']}{more}")


def main():
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=plain)
    binary = ROOT / "target" / "release" / SIDECAR
    parser.add_argument("--sidecar", type=Path, default=binary, help="the sidecar's binary")
    parser.add_argument("--only", action="append", choices=WRAPPERS, help="this wrapper; repeatable")
    example = "another wrapper, such as 'my-init --'"
    parser.add_argument("--wrapper", action="append", default=[], metavar="COMMAND", help=example)
    parser.add_argument("--module", action="append", choices=MODULES, help="these rows; repeatable")
    parser.add_argument("--starts", type=int, default=100, help="how often start-up is measured; 0 for never")
    parser.add_argument("--json", type=Path, help="write every outcome here")
    parser.add_argument("--collect", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.collect:
        return collect(*arguments.collect)

    only = arguments.only
    wrappers = {name: words for name, words in WRAPPERS.items() if not only or name in only}
    wrappers.update({words.split()[0]: words for words in arguments.wrapper})
    sidecar = arguments.sidecar.resolve()
    for name, words in list(wrappers.items()):
        if not shutil.which(str(sidecar) if words is None else words.split()[0]):
            print(f"{name} is not there and is left out", file=sys.stderr)
            del wrappers[name]
    results = {}
    for name, words in wrappers.items():
        print(f"{name} ...", file=sys.stderr)
        results[name] = outcomes(words, arguments.module or MODULES, sidecar)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))
    print_table(results, start_up(wrappers, sidecar, arguments.starts) if arguments.starts else {})
    versions = ", ".join(version(name, sidecar) for name in wrappers if name != NOTHING)
    print(f"\nLinux {platform.release()}; {versions}")
    print_failures(results)
    return None


if __name__ == "__main__":
    sys.exit(main())
