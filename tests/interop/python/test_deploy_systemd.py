"""The template unit of deploy/systemd: systemd accepts it, and runs a worker with it."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

import systemd
from deploy import DEPLOY, text
from sidecar import BINARY
from waiting import TIMEOUT

UNIT = "systemd/telemetry-sidecar@.service"
INSTANCE = "telemetry-sidecar@trainer.service"
WORKER = Path(__file__).with_name("signalled_worker.py")
# The most that "systemd-analyze security" may rate it: ten times its figure, which is from 0 (safe) to 10.
EXPOSURE = 50


def analyze(*arguments):
    words = ["systemd-analyze", *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, timeout=TIMEOUT)


@pytest.fixture
def unit(tmp_path):
    """The unit as a file, with the path of the binary under test."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("there is no systemd-analyze")
    path = tmp_path / INSTANCE
    path.write_text(text(UNIT, {"ExecStart=telemetry-sidecar": f"ExecStart={BINARY}"}))
    return path


def test_systemd_accepts_the_unit(unit):
    result = analyze("verify", unit)
    assert (result.returncode, result.stderr) == (0, "")


def test_the_unit_is_hardened(unit):
    result = analyze("security", "--offline=true", f"--threshold={EXPOSURE}", "--no-pager", unit)
    assert result.returncode == 0, result.stdout


DROP_IN = """\
[Service]
Type=notify
ExecStopPost=sh -c 'echo ended: $$SERVICE_RESULT $$EXIT_CODE $$EXIT_STATUS'
"""

# As deploy/README.md installs it.
SCRIPT = """
install -m 755 /tmp/shared/telemetry-sidecar /usr/bin/
install -D -m 644 /tmp/shared/worker.py /opt/trainer/train.py
useradd --system worker
install -m 644 /tmp/shared/telemetry-sidecar@.service /etc/systemd/system/
install -D -m 600 /tmp/shared/trainer.env /etc/telemetry-sidecar/trainer.env
mkdir /etc/systemd/system/{instance}.d
cp /tmp/shared/drop-in.conf /etc/systemd/system/{instance}.d/
systemctl daemon-reload
systemctl start {instance}
systemctl show -P StatusText {instance}
systemctl show -P ActiveState {instance}
stat -c '%a %U %n' /run/telemetry-sidecar/trainer /run/telemetry-sidecar/trainer/grpc.sock
until telemetry-sidecar status unix:/run/telemetry-sidecar/trainer/grpc.sock >/tmp/shared/status &&
    grep -q 'telemetry lines  1 = 1 decoded' /tmp/shared/status; do sleep 0.05; done
until journalctl -u {instance} | grep -q 'child runs'; do sleep 0.05; done
systemctl stop {instance}
test ! -e /run/telemetry-sidecar/trainer
journalctl --flush --sync
journalctl -u {instance} -o cat --output-fields=MESSAGE >/tmp/shared/messages
journalctl -t trainer -o cat >/tmp/shared/identified
"""


@pytest.mark.skipif(bool(systemd.reason_not_to_boot()), reason=systemd.reason_not_to_boot())
def test_systemd_runs_a_worker(tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    shutil.copy(BINARY, shared / "telemetry-sidecar")
    shutil.copy(WORKER, shared / "worker.py")
    for name in ("telemetry-sidecar@.service", "trainer.env"):
        shutil.copy(DEPLOY / "systemd" / name, shared)
    (shared / "drop-in.conf").write_text(DROP_IN)

    output = systemd.run(tmp_path, SCRIPT.format(instance=INSTANCE))

    values = [line for line in output.splitlines() if not line.startswith("+")]
    # The unit is active once the worker, which is not the main process, has said so.
    assert values == [
        "works",
        "active",
        "755 worker /run/telemetry-sidecar/trainer",
        "600 worker /run/telemetry-sidecar/trainer/grpc.sock",
    ], output
    messages = (shared / "messages").read_text().splitlines()
    identified = (shared / "identified").read_text()
    [arguments] = [line for line in messages if line.startswith("arguments")]
    assert re.fullmatch(r"arguments \['--name', 'first run'\], user [1-9]\d*", arguments)
    # Worker and child get the signal, the worker once. All they print is in the journal, without telemetry.
    for line in ("child runs", "child received TERM", "worker received TERM", "worker ends", "ended: success exited 0"):
        assert messages.count(line) == 1, messages
        assert line in identified
    assert not [line for line in messages if "TELEMETRY" in line or "again" in line]
