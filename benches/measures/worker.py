"""How fast a real Python worker prints events flat out, for each destination of its stderr."""

import json
import subprocess
import sys
from pathlib import Path

from .processes import Process, medians_in_turn, run_wrapped
from .rows import Row

SCRIPT = Path(__file__).with_name("python_worker.py")


def measure(options):
    count = options.scaled(300_000)
    words = [sys.executable, str(SCRIPT), str(count)]

    def alone():
        return speed(count, json.loads(Process(words, stderr=subprocess.DEVNULL).finish()[0]))

    def behind_cat():
        worker = Process(words, stderr=subprocess.PIPE)
        cat = Process(["cat"], stdin=worker.popen.stderr, stdout=subprocess.DEVNULL)
        worker.popen.stderr.close()
        report = json.loads(worker.finish()[0])
        cat.finish()
        return speed(count, report)

    def wrapped(wrapper):
        return speed(count, run_wrapped(wrapper, words).worker)

    found = medians_in_turn(
        options.runs,
        {
            "alone": alone,
            "cat": behind_cat,
            "sidecar": lambda: wrapped("sidecar"),
            "naive": lambda: wrapped("naive"),
        },
    )
    rates = {name: result["rate"] for name, result in found.items()}
    row = Row(
        "a Python worker's speed, flat out, one client",
        "per_s",
        rates["sidecar"],
        rates["naive"],
        rates["alone"],
        "to /dev/null",
        target_ratio=0.88,
        more_is_better=True,
        remark=f"behind `cat`: {rates['cat'] / rates['alone']:.2f} ×",
    )
    return [row], []


def speed(count, report):
    return {"rate": count / (report["end_ns"] - report["start_ns"]) * 1e9}
