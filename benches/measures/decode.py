"""One line to one frame, on one core: the results of `cargo bench --bench decode`, run without Cargo."""

import json
import shutil
import subprocess

from .processes import ROOT, TARGET, Failed
from .rows import Row

SHAPES = {
    "One": ("257 bytes, one shape", 80),
    "Cycling": ("257 bytes, eight shapes in turn", 80),
    "Unseen": ("257 bytes, a new shape each time", 170),
    "Tiny": ("76 bytes, one shape", None),
    "Escapes": ("1 KB with escapes", None),
}


BOUND = "The compiler or its profile is not the one that the ceilings were measured with."


def measure(options):
    rounds = str(5 if options.quick else 31)
    rows = [as_row(found, "ns") for found in bench("--rounds", rounds)]
    if shutil.which("valgrind"):
        rows += [as_row(found, "instructions") for found in bench("--instructions")]
    else:
        options.notes.append("instructions of the decoder: valgrind is not installed")
    return rows, []


def bench(*words):
    # Cargo appends a hash to the name; the newest file is the last build.
    programs = [path for path in (TARGET / "deps").glob("decode-*") if not path.suffix]
    if not programs:
        raise Failed("not built: cargo bench --no-run --bench decode")
    command = [max(programs, key=lambda path: path.stat().st_mtime), "--json", *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def as_row(found, unit):
    shape = found["shape"]
    title, target = SHAPES[shape]
    counted = unit == "instructions"
    limit = ceilings().get(shape) if counted else target
    return Row(
        f"decode a line, {title}{': instructions' if counted else ''}",
        unit,
        found["sidecar"],
        found["value"],
        found["typed"],
        "serde into a struct, prost",
        target=limit,
        goal=counted and limit is not None,
        bound=BOUND,
    )


def ceilings():
    """Returns the ceilings that CI checks, by shape."""
    lines = (ROOT / "benches" / "ceilings.txt").read_text().splitlines()
    words = [line.split() for line in lines if line and not line.startswith("#")]
    return {shape: int(most) for shape, most in words}
