#!/usr/bin/env python3
"""Compares the cost of the sidecar with its references, as one Markdown table, and draws a picture.

    benches/suite.py                               everything except growth and relay; slow
    benches/suite.py --quick                       few runs of a tenth of the size; not for quoting
    benches/suite.py --only latency --runs 9       one section; repeatable
    benches/suite.py --only growth                 tables of growth: line length, share, subscribers, patterns
    benches/suite.py --only relay                  relayed gRPC calls, beside HAProxy and nginx
    benches/suite.py --only picture --svg picture.svg   the ways to run a worker, side by side
    benches/suite.py --json figures.json           stores the figures
    benches/suite.py --from figures.json --svg picture.svg     table and picture from stored figures

Builds the release binary and the programs in benches/ first. Runs of the compared programs alternate, and the
table has medians. Ratios hold on other machines, times do not. Run it as a user without privileges: root is
exempt from pipe limits. With CARGO_TARGET_DIR set, programs are built and found there.
Needs Linux and Python 3.10 or later with its standard library; counts instructions if valgrind is installed.
"""

import argparse
import json
import platform
import subprocess
import sys
from pathlib import Path

from measures import decode, exporters, latency, load, memory, observed, passthrough, plot, relay, rows
from measures import side_by_side, startup, stream, vitals, worker
from measures.processes import ROOT

SECTIONS = {
    "passthrough": passthrough.measure,
    "decode": decode.measure,
    "stream": stream.measure,
    "worker": worker.measure,
    "latency": latency.measure,
    "startup": startup.measure,
    "memory": memory.measure,
    "load": load.measure,
    "exporters": exporters.measure,
    "observed": observed.measure,
    "vitals": vitals.measure,
    "relay": relay.measure,
    # Without rows: the bars of the picture.
    "picture": None,
    "growth": lambda options: ([], list(stream.growth(options))),
}
# Read separately; growth is slow, relay needs HAProxy and nginx.
NOT_BY_DEFAULT = {"growth", "relay"}


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, help="runs of each measure (7; with --quick 3)")
    parser.add_argument("--quick", action="store_true", help="little of everything")
    parser.add_argument("--only", action="append", choices=SECTIONS, help="this section; repeatable")
    parser.add_argument(
        "--wrapper", action="append", default=[], metavar="WORDS", help="start-up of 'tini -s --', too"
    )
    parser.add_argument("--no-build", action="store_true", help="take the programs that are there")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--svg", type=Path, help="draw the picture here")
    parser.add_argument("--from", type=Path, dest="source", help="take the figures from here")
    options = parser.parse_args()
    options.runs = options.runs or (3 if options.quick else 7)
    options.scale = 0.1 if options.quick else 1
    options.scaled = lambda count: max(1, int(count * options.scale))
    return options


def build():
    # The binary is built last, as released: built with examples or benchmarks it also has their features.
    for what in (
        ["build", "--release", "--examples"],
        ["bench", "--no-run", "--bench", "decode"],
        ["build", "--release", "--bins"],
    ):
        subprocess.run(["cargo", *what, "--locked", "--quiet"], cwd=ROOT, check=True)


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
    found = {"where": machine(), "runs": options.runs, "quick": options.quick}
    found |= {"rows": [], "tables": [], "panels": []}
    for name in options.only or [name for name in SECTIONS if name not in NOT_BY_DEFAULT]:
        print(f"{name} ...", file=sys.stderr)
        if name == "picture":
            found["panels"] = side_by_side.measure(options)
        else:
            more, tables = SECTIONS[name](options)
            found["rows"] += rows.to_json(more)
            found["tables"] += [vars(table) for table in tables]
        if options.json:
            # Written after each section, so that a later failure loses no results.
            write(options.json, found)
    return found


def write(path, found):
    path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")


def main():
    options = parse()
    found = json.loads(options.source.read_text()) if options.source else measure(options)
    if options.json:
        write(options.json, found)
    measured = rows.from_json(found["rows"])
    size = ", a tenth of the size" if found["quick"] else ""
    where = f"{found['where']}, medians of {found['runs']} runs in turn{size}"
    print(f"{where}.\n")
    if measured:
        print(rows.main_table(measured))
    for table in found["tables"]:
        print(f"\n{rows.Table(**table).text()}")
    if options.svg and not found["panels"]:
        raise SystemExit("no figures for the picture: add --only picture")
    if options.svg:
        options.svg.write_text(plot.draw(found["panels"], where))


if __name__ == "__main__":
    main()
