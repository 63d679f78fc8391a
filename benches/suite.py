#!/usr/bin/env python3
"""Compares the cost of the sidecar with its references, as Markdown tables, and draws a picture.

    benches/suite.py                               everything; about an hour
    benches/suite.py --reduced                     a quarter of the size, 3 runs; about 15 minutes
    benches/suite.py --quick                       a tenth of the size, 3 runs; not for quoting
    benches/suite.py --only goals --quick          the table of goals, and what it is measured by
    benches/suite.py --only latency --runs 9       one section; repeatable
    benches/suite.py --before OLD-BINARY           another sidecar in the same run
    benches/suite.py --json figures.json           stores the figures
    benches/suite.py --from figures.json --only load --json figures.json      replaces those of a section
    benches/suite.py --from figures.json --write   tables and picture of the documentation from stored figures
    benches/suite.py --from figures.json --check   fails if the documentation has other figures

Builds the release binary and the programs in benches/ first. Runs of the compared programs alternate, and the
tables have medians. Ratios hold on other machines, times do not. Run it as a user without privileges: root is
exempt from pipe limits. With CARGO_TARGET_DIR set, programs are built and found there.

A section that cannot be measured is a note below the tables: `relay` needs HAProxy, `collector` an
OpenTelemetry Collector (benches/collector/README.md), `peer` grpcio (benches/peer/compare.py).
Needs Linux and Python 3.10 or later with its standard library; counts instructions if valgrind is installed.
"""

import argparse
import json
import platform
import subprocess
import sys
import time
from pathlib import Path

from measures import collector, decode, docs, exporters, growth, latency, load, memory, observed, passthrough
from measures import peer, processes, relay, rows, side_by_side, startup, stream, vitals, worker

# Those with goals come first.
SECTIONS = {
    "latency": latency.measure,
    "worker": worker.measure,
    "startup": startup.measure,
    "memory": memory.measure,
    "load": load.measure,
    "passthrough": passthrough.measure,
    "stream": stream.measure,
    "decode": decode.measure,
    "relay": relay.measure,
    "collector": collector.measure,
    "exporters": exporters.measure,
    "observed": observed.measure,
    "vitals": vitals.measure,
    "growth": growth.measure,
    "peer": peer.measure,
    # Without rows: the bars of the picture.
    "picture": None,
}
GOALS = list(SECTIONS)[: list(SECTIONS).index("collector") + 1]


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, help="runs of each measure (7; with --reduced or --quick 3)")
    parser.add_argument("--reduced", action="store_true", help="a quarter of the size")
    parser.add_argument("--quick", action="store_true", help="a tenth of the size")
    parser.add_argument(
        "--only", action="append", choices=["goals", *SECTIONS], help="this section; repeatable"
    )
    parser.add_argument("--sidecar", type=Path, metavar="PATH", help="measure this binary")
    parser.add_argument("--before", type=Path, metavar="PATH", help="measure this binary as well")
    parser.add_argument("--collector", type=Path, metavar="PATH", help="the OpenTelemetry Collector")
    parser.add_argument(
        "--wrapper", action="append", default=[], metavar="WORDS", help="start-up of 'tini -s --', too"
    )
    parser.add_argument("--no-build", action="store_true", help="take the programs that are there")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--from", type=Path, dest="source", help="take the figures from here")
    parser.add_argument("--write", action="store_true", help="write the documentation's figures")
    parser.add_argument("--check", action="store_true", help="compare the documentation's figures")
    options = parser.parse_args()
    small = options.quick or options.reduced
    options.runs = options.runs or (3 if small else 7)
    options.scale = 0.1 if options.quick else 0.25 if options.reduced else 1
    options.scaled = lambda count: max(1, int(count * options.scale))
    # At a steady rate the runs are shortened by less.
    options.seconds = lambda full: max(1.5, full * options.scale**0.5)
    return options


def build():
    # The binary is built last, as released: built with examples or benchmarks it also has their features.
    for what in (
        ["build", "--release", "--examples"],
        ["bench", "--no-run", "--bench", "decode"],
        ["build", "--release", "--bins"],
    ):
        subprocess.run(["cargo", *what, "--locked", "--quiet"], cwd=processes.ROOT, check=True)


def machine():
    """Describes the machine in one line."""
    cpu = platform.machine()
    cores = 0
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.split(":", 1)[1].strip()
        cores += line.startswith("processor")
    kernel = ".".join(platform.release().split(".")[:2])
    return f"{cores} cores of {cpu}, Linux {kernel}"


def measure(options):
    if not options.no_build:
        build()
    for name in ("sidecar", "before"):
        if path := getattr(options, name):
            processes.PROGRAMS[name] = str(path.resolve())
    found = {"where": machine(), "runs": options.runs, "scale": options.scale}
    if others := stored(options):
        if any(others[key] != found[key] for key in found):
            raise SystemExit(f"{options.source} is of another machine, size or number of runs")
        found = others
    found = {"rows": [], "tables": [], "panels": [], "notes": []} | found
    # What a section leaves out, it says here.
    options.notes = found["notes"]
    chosen = options.only or list(SECTIONS)
    if "goals" in chosen:
        chosen = [*GOALS, *(name for name in chosen if name not in ("goals", *GOALS))]
    for name in chosen:
        started = time.monotonic()
        forget(found, name)
        try:
            add(found, name, options)
        except Exception as failure:
            # The other sections are worth having.
            found["notes"].append(f"{name}: {described(failure)}")
            processes.kill_what_runs()
        print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr)
        if options.json:
            # Written after each section, so that a later failure loses no results.
            options.json.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    return found


def stored(options):
    return json.loads(options.source.read_text()) if options.source else None


def forget(found, section):
    """Removes what was stored of a section."""
    for kind in ("rows", "tables"):
        found[kind] = [one for one in found[kind] if one["section"] != section]
    found["notes"][:] = [note for note in found["notes"] if not note.startswith(f"{section}: ")]


def described(failure):
    """Returns an exception in one line; an unexpected one with its type."""
    return str(failure) if isinstance(failure, processes.Failed) else repr(failure)


def add(found, name, options):
    if name == "picture":
        found["panels"] = side_by_side.measure(options)
        return
    more, tables = SECTIONS[name](options)
    for one in (*more, *tables):
        one.section = name
    order = list(SECTIONS).index
    found["rows"] = sorted(found["rows"] + rows.to_json(more), key=lambda row: order(row["section"]))
    found["tables"] += [vars(table) for table in tables]


def print_tables(found):
    measured = rows.from_json(found["rows"])
    before = any(row.before is not None for row in measured)
    print(f"{docs.where(found)}.\n")
    if any(row.goal for row in measured):
        print(f"{rows.goals_table(measured, before)}\n\n{rows.missed(measured)}\n")
    if measured:
        print(rows.main_table(measured, before))
    for table in found["tables"]:
        print(f"\n{rows.Table(**table).text()}")
    for note in found["notes"]:
        print(f"\nNot measured: {note}")


def main():
    options = parse()
    found = measure(options) if options.only or not options.source else stored(options)
    if not options.check:
        print_tables(found)
    if options.write:
        docs.write(found)
    if options.check and (old := docs.outdated(found)):
        raise SystemExit(f"other figures than in {options.source}: {', '.join(old)}; run it with --write")


if __name__ == "__main__":
    main()
