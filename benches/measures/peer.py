"""The sidecar beside a gRPC stream inside the Python worker: `benches/peer/compare.py`."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from .processes import PROGRAMS, ROOT, Failed
from .rows import Table

PROGRAM = ROOT / "benches" / "peer" / "compare.py"
# Python with grpcio: that of the suite, or one of these.
ENVIRONMENTS = ("peer", "ci/venv")
# In seconds.
LIMIT = 900


def measure(options):
    with tempfile.TemporaryDirectory() as directory:
        found = Path(directory, "found.json")
        runs = "1" if options.scale < 1 else str(min(options.runs, 3))
        words = [python(), str(PROGRAM), "--sidecar", PROGRAMS["sidecar"], "--json", str(found)]
        words += ["--runs", runs, "--seconds", "4" if options.scale < 1 else "10"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=LIMIT)
        if done.returncode:
            raise Failed((done.stderr.strip().splitlines() or ["it failed"])[-1])
        conditions = json.loads(found.read_text())["conditions"]
    cells = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if line.startswith("|")]
    about = ", ".join(f"{key} {conditions[key]}" for key in ("python", "grpcio", "protobuf"))
    title = f"Beside a gRPC stream inside the worker ({about}; {count(runs)})"
    return [], [Table(title, ["", *cells[0][-2:]], cells[2:], key="peer")]


def count(runs):
    return "one run" if runs == "1" else f"medians of {runs} runs"


def python():
    places = [ROOT / "target" / name / "bin" / "python" for name in ENVIRONMENTS]
    for program in (sys.executable, *filter(Path.is_file, places)):
        if subprocess.run([program, "-c", "import grpc, grpc_tools"], capture_output=True).returncode == 0:
            return str(program)
    raise Failed("grpcio is not installed: benches/peer/compare.py says how")
