#!/usr/bin/env python3
"""Draws the pictures of the terminal from real runs: make.py [--to FOLDER] [NAME...]

Each scene runs in a terminal of its own (tmux); its screen becomes an SVG, for light and for dark pages.
`top` shows all sidecars of the host, so let no others run. Needs tmux, Python 3.10 or later and the release
binary, or another one in $SIDECAR.
"""

import argparse
import contextlib
import os
import subprocess
import sys
from pathlib import Path

from svg import draw

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
WORKERS = ROOT / "fixtures" / "workers"
os.environ.setdefault("SIDECAR", str(ROOT / "target/release/telemetry-sidecar"))
sys.path.append(str(ROOT / "tests" / "screens"))

from screen import SIDECAR, Screen  # noqa: E402


@contextlib.contextmanager
def pool(commands):
    """Runs wrapped workers until the end of the block."""
    how = {"stdin": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": WORKERS}
    running = [subprocess.Popen([SIDECAR, "-q", "--", *command], **how) for command in commands]
    try:
        yield
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait()


def summary(screen):
    """The end of a training run."""
    screen.run(f"cp {WORKERS}/epochs.sh {screen.dir}; cd {screen.dir}; PATH=${{SIDECAR%/*}}:$PATH")
    screen.run("PS1='$ '; clear")
    screen.wait_for(r"^\$$")
    screen.run("telemetry-sidecar --record run.log -- sh epochs.sh")
    screen.wait_for(r"(?s)DESTINATION.*^\$$")
    return screen.coloured()


def top(screen):
    """Ten workers of a pool, live."""
    delays = ("0.02", "0.05", "0.1", "0.03", "0.04")
    commands = [["python3", "spans.py", "--requests", "100000", "--delay", delay] for delay in delays]
    for rate in ("50", "200", "400"):
        commands.append(["python3", "steady.py", "--count", "1000000", "--rate", rate])
    commands += [["sh", "epochs.sh", "100000"], ["sh", "training.sh", "100000"]]
    with pool(commands):
        screen.run("$SIDECAR top")
        # So long that rates and measurements have a course.
        screen.wait_for(r" 2\ds ")
        return screen.coloured()


# The function, and the columns and rows of its terminal.
SCENES = {"summary": (summary, 88, 24), "top": (top, 120, 36)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(SCENES)} (all)")
    parser.add_argument("--to", type=Path, default=HERE, metavar="FOLDER", help="write the pictures here")
    options = parser.parse_args()
    if not os.access(SIDECAR, os.X_OK):
        sys.exit(f"make.py: {SIDECAR} does not exist: cargo build --release")
    for name in options.names or SCENES:
        if name not in SCENES:
            parser.error(f"no picture {name}: {', '.join(SCENES)}")
        scene, columns, rows = SCENES[name]
        with Screen(columns, rows) as screen:
            text = scene(screen)
        path = options.to / f"{name}.svg"
        path.write_text(draw(text.split("\n"), columns, f"{scene.__doc__.rstrip('.')}, in a terminal"))
        print(path)


if __name__ == "__main__":
    main()
