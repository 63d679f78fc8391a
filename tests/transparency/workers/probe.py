"""Reports everything that a process can see about how it was started."""

import ctypes
import os
import resource
from pathlib import Path

from common import report

libc = ctypes.CDLL(None)
SELF = Path("/proc/self")
# The inherited values of prctl. The signal on the parent's death is not: a wrapper has to set it.
PRCTL = {"dumpable": 3, "keep capabilities": 7, "securebits": 27, "timer slack": 30, "no new privs": 39}
STATUS = """
Umask Uid Gid Groups Threads SigPnd ShdPnd SigBlk SigIgn SigCgt CapInh CapPrm CapEff CapBnd CapAmb NoNewPrivs
Seccomp Seccomp_filters Speculation_Store_Bypass Cpus_allowed Mems_allowed THP_enabled untag_mask
""".split()


def read(name):
    try:
        return (SELF / name).read_bytes().decode("latin-1")
    except OSError as error:
        return f"errno {error.errno}"


status = dict(line.split(":\t", 1) for line in read("status").splitlines() if ":\t" in line)
facts = {
    "arguments": read("cmdline").split("\0"),
    "environment": read("environ").split("\0"),
    "working directory": os.getcwd(),
    "root": os.readlink(SELF / "root"),
    "program": os.readlink(SELF / "exe"),
    "niceness": os.getpriority(os.PRIO_PROCESS, 0),
    "scheduler": [os.sched_getscheduler(0), os.sched_getparam(0).sched_priority],
    "affinity": sorted(os.sched_getaffinity(0)),
    "limits": {
        name: resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name.startswith("RLIMIT_")
    },
    "session": os.getsid(0),
    "group": os.getpgid(0),
    "terminal": read("stat").rpartition(")")[2].split()[4],
    "namespaces": {name: os.readlink(SELF / "ns" / name) for name in sorted(os.listdir(SELF / "ns"))},
}
for name in ("oom_score_adj", "cgroup", "coredump_filter", "personality", "loginuid", "sessionid", "autogroup"):
    facts[name] = read(name)
facts.update({name: status.get(name) for name in STATUS})
facts.update({name: libc.prctl(number, 0, 0, 0, 0) for name, number in PRCTL.items()})
report(facts=facts)
