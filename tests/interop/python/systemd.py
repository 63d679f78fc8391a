"""systemd as PID 1 of its own namespaces, on a copy-on-write view of this machine."""

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

from waiting import TIMEOUT

SYSTEMD = Path("/lib/systemd/systemd")

# /run, /tmp, /dev and what is written elsewhere are in memory and vanish with the namespaces. Of this machine systemd
# can change nothing but `shared` and control groups of its own: it has no network, no module, no clock, no new device.
ROOT = r"""
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$base"
mkdir "$base/upper" "$base/work" "$base/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$base/upper,workdir=$base/work" "$base/root"
cd "$base/root"
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount --rbind /sys sys
mount -o remount,bind,ro sys
mount -t tmpfs tmpfs dev
mkdir dev/shm
for device in null zero full random urandom tty; do
    touch "dev/$device"
    mount --bind "/dev/$device" "dev/$device"
done
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
mkdir tmp/shared
mount --bind "$shared" tmp/shared
rm -f etc/machine-id
echo 00000000000000000000000000000001 >etc/machine-id
cp tmp/shared/probe.* etc/systemd/system/
mkdir tmp/old
pivot_root . tmp/old
umount -l /tmp/old
exec setpriv --bounding-set=-mknod,-sys_module,-sys_time,-sys_boot,-syslog \
    env -i container=test PATH="$PATH" /lib/systemd/systemd --system --unit=probe.target
"""

PROBE_SERVICE = """\
[Service]
Type=oneshot
ExecStart=/bin/sh -ex /tmp/shared/script
StandardOutput=file:/tmp/shared/output
StandardError=inherit
ExecStopPost=systemctl exit --force 0
"""


def reason_not_to_boot():
    """Why systemd cannot be tried here; empty if it can."""
    if not SYSTEMD.exists():
        return "there is no systemd"
    if Path("/proc/1/comm").read_text().strip() == "systemd":
        return "systemd runs this machine: another one beside it would use its control groups"
    if os.getuid() != 0 or not shutil.which("unshare"):
        return "namespaces need root and unshare"
    return ""


def control_groups():
    """The control groups of this machine that have names as systemd's have, in all hierarchies."""
    kinds = {".slice", ".scope", ".service", ".socket", ".mount"}
    return {group for folder, _, _ in os.walk("/sys/fs/cgroup") if (group := Path(folder)).suffix in kinds}


def run(folder, script):
    """Boots, runs the script (sh -ex) with `folder`/shared as /tmp/shared, and returns its output."""
    shared = folder / "shared"
    (shared / "script").write_text(script)
    (shared / "probe.service").write_text(PROBE_SERVICE)
    (shared / "probe.target").write_text("[Unit]\nRequires=probe.service\nAllowIsolate=yes\n")
    (folder / "base").mkdir()
    groups_before = control_groups()
    unshare = "unshare --pid --mount --uts --ipc --net --cgroup --fork --kill-child --mount-proc".split()
    result = subprocess.run(
        [*unshare, "sh", "-c", ROOT],
        env={"base": str(folder / "base"), "shared": str(shared), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    for group in sorted(control_groups() - groups_before, reverse=True):  # children first
        with contextlib.suppress(OSError):  # in use: not one of these
            group.rmdir()
    output = shared / "output"
    return output.read_text() if output.exists() else f"systemd did not start: {result.stdout}{result.stderr}"
