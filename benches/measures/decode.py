"""One line to one frame, on one core: the results of `cargo bench --bench decode`, run without Cargo."""

import json
import shutil
import subprocess

from .processes import TARGET
from .rows import Row

SHAPES = {
    "One": ("257 bytes, one shape", 80),
    "Cycling": ("257 bytes, eight shapes in turn", 80),
    "Unseen": ("257 bytes, a new shape each time", 170),
    "Tiny": ("76 bytes, one shape", None),
    "Escapes": ("1 KB with escapes", None),
}


def measure(options):
    rounds = str(5 if options.quick else 31)
    rows = [row for found in bench("--rounds", rounds) for row in [as_row(found, "ns")]]
    if shutil.which("valgrind"):
        rows += [as_row(found, "instructions") for found in bench("--instructions")]
    return rows, []


def bench(*words):
    # Cargo appends a hash to the name; the newest file is the last build.
    programs = [path for path in (TARGET / "deps").glob("decode-*") if not path.suffix]
    command = [max(programs, key=lambda path: path.stat().st_mtime), "--json", *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def as_row(found, unit):
    title, target = SHAPES[found["shape"]]
    return Row(
        f"decode a line, {title}{': instructions' if unit == 'instructions' else ''}",
        unit,
        found["sidecar"],
        found["value"],
        found["typed"],
        "serde into a struct, prost",
        target=target if unit == "ns" else None,
    )
