"""Leaves orphans, and reports which process adopts them and whether they are reaped."""

import os
import sys

from common import is_released, report, wait_for

ORPHANS = 10


def parent_and_state(pid):
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return int(fields[1]), fields[0]


def zombies():
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                if parent_and_state(name)[1] == "Z":
                    found.append(int(name))
            except OSError:
                pass
    return found


if (middle := os.fork()) == 0:
    for _ in range(ORPHANS):
        if os.fork() == 0:
            while os.getppid() != 1:
                pass
            report(parent=os.getppid())
            wait_for("end")
            os._exit(0)
    os._exit(0)
os.waitpid(middle, 0)
report(ready=os.getpid())
while not is_released("go"):
    report(zombies=len(zombies()))
    wait_for("again")
    os.unlink(f"{os.environ['TRANSPARENCY_FOLDER']}/again")
sys.exit(7)
